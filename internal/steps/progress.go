// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
)

// tellEvery is how often the progress of a step is written, and how long it has to take at
// least: each time is a write to the API.
const tellEvery = time.Second

// progress records how far the step is, unless it was recorded a moment ago; what is
// notable is recorded in any case.
func (s *run) progress(p v1alpha1.StepProgress, notable bool) {
	s.mu.Lock()
	now := s.Clock.Now()
	due := notable || now.Sub(s.told) >= tellEvery
	if due {
		s.told = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	step := s.Step
	s.record(func(st *v1alpha1.UpdateRequestStatus) {
		for i := range st.Steps {
			if st.Steps[i].Name == step {
				st.Steps[i].Progress = &p
			}
		}
	})
}

// backupGauge measures a backup by the one that was made before it.
type backupGauge struct {
	// before and saved are bytes by the name of the artifact.
	before, saved map[string]int64
}

func newBackupGauge(backups []v1alpha1.Backup) *backupGauge {
	g := &backupGauge{before: map[string]int64{}, saved: map[string]int64{}}
	var last *v1alpha1.Backup
	for i := range backups {
		if at := backups[i].Status.CompletedAt; at != nil && (last == nil || last.Status.CompletedAt.Before(at)) {
			last = &backups[i]
		}
	}
	if last != nil {
		for _, a := range last.Status.Artifacts {
			g.before[a.Name] = a.Bytes
		}
	}
	return g
}

// at is the progress of the whole backup. Its total is what is saved already, and
// what the rest took the last time; without a last time, it is not known.
func (g *backupGauge) at(p backup.Progress) v1alpha1.StepProgress {
	g.saved[p.Artifact] = p.Written
	out := v1alpha1.StepProgress{Unit: v1alpha1.ProgressBytes, Message: fmt.Sprintf("%s, %d of %d", p.Artifact, p.Index, p.Total)}
	for _, n := range g.saved {
		out.Done += n
	}
	if len(g.before) == 0 {
		return out
	}
	all := maps.Clone(g.before)
	for name, n := range g.saved {
		if name != p.Artifact || p.Done {
			all[name] = n
		} else {
			all[name] = max(n, all[name])
		}
	}
	for _, n := range all {
		out.Total += n
	}
	out.Estimated = true
	return out
}

// imageGauge adds up the steps of builds and the layers of pulls that go on at the
// same time.
type imageGauge struct {
	tell func(v1alpha1.StepProgress, bool)

	mu     sync.Mutex
	images map[string][2]int // done and total, by service
}

func (s *run) imageGauge() *imageGauge {
	return &imageGauge{tell: s.progress, images: map[string][2]int{}}
}

// expect names a service whose image will be built or pulled.
func (g *imageGauge) expect(service string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.images[service] = [2]int{0, 1}
}

// of is what tells of one image.
func (g *imageGauge) of(service string) func(done, total int) {
	g.expect(service)
	return func(done, total int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.images[service] = [2]int{done, total}
		g.tell(g.sum(), false)
	}
}

func (g *imageGauge) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.images) > 0
}

func (g *imageGauge) sum() v1alpha1.StepProgress {
	out := v1alpha1.StepProgress{Unit: v1alpha1.ProgressSteps}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(g.images)) {
		n := g.images[name]
		out.Done, out.Total = out.Done+int64(n[0]), out.Total+int64(n[1])
		if n[0] < n[1] {
			parts = append(parts, fmt.Sprintf("%s %d of %d", name, n[0], n[1]))
		}
	}
	out.Message = limitTo(strings.Join(parts, ", "), 500)
	return out
}
