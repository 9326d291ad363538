// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/downtime"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// watched does work while the ports that a model publishes are probed from outside,
// and adds what was seen to the status. containers are those of the application, nil where they are not known.
func (s *run) watched(ctx context.Context, project *compose.Project, containers []docker.Container, work func() error) error {
	if s.Request.Spec.RestoreFrom != nil {
		return work() // the application was down on purpose before this
	}
	p := s.outside(ctx, project, containers)
	if ctx.Err() != nil {
		return work() // it was cancelled before it began
	}
	past := s.sights.of(s.Request.UID)
	w := downtime.Start(ctx, p.targets, past.standing)
	defer w.End() // in a panic too
	err := work()
	seen := w.End()
	for _, address := range seen.Silent {
		of := p.ports[address]
		p.omit(of[0], of[1], silentPort)
	}
	lost := past.lost || past.missed && len(seen.Late) > 0
	if lost {
		p.omit("", "", cutOff)
	}
	standing := downtime.Standing{}
	maps.Copy(standing, past.standing) // what this step could not ask too
	maps.Copy(standing, seen.Standing)
	if err == nil && s.Step != v1alpha1.StepRollout {
		standing.End() // nothing is replaced any more
	}
	s.sights.keep(s.Request.UID, sight{standing: standing, settled: past.settled.Merge(seen.Settled), lost: lost})
	total := past.settled.Merge(seen.Result)
	s.mu.Lock()
	before := s.Request.Status.Unmeasured
	p.keep(before)
	s.mu.Unlock()
	s.record(func(st *v1alpha1.UpdateRequestStatus) {
		st.Unmeasured = p.unmeasured
		if seen.Probes > 0 {
			st.Downtime = &v1alpha1.DowntimeStatus{
				LongestGap: round(total.LongestGap), Probes: total.Probes, Failed: total.Failed, Slowest: round(total.Slowest), Target: total.Target,
			}
		}
	})
	if len(p.unmeasured) > 0 && !slices.Equal(before, p.unmeasured) {
		s.say("not measured from outside: %s", unmeasuredText(p.unmeasured))
	}
	if seen.Probes == 0 {
		return err
	}
	if seen.Failed > 0 {
		s.say("seen from outside: %s did not answer for %s (%d of %d probes failed)", seen.Target, round(seen.LongestGap), seen.Failed, seen.Probes)
	} else {
		s.say("seen from outside: all of %d probes were answered, the slowest in %s", seen.Probes, round(seen.Slowest))
	}
	return err
}

// outside finds what is to be asked. What cannot be found is not measured, and is no reason to fail.
func (s *run) outside(ctx context.Context, project *compose.Project, containers []docker.Container) *probing {
	from, err := s.vantage(ctx, project.Name())
	open := slices.ContainsFunc(project.Services(), func(svc compose.Service) bool { return len(fixedPorts(svc)) < len(svc.Ports) })
	var have []boxes.Box
	if open && err == nil && s.Gateways != nil {
		have, err = s.Gateways.List(ctx, project.Name())
	}
	if open && err == nil && containers == nil {
		containers, err = observe.Containers(ctx, s.Docker, project.Name())
	}
	if err != nil {
		return &probing{unmeasured: []v1alpha1.UnmeasuredPorts{{Reason: notAsked}}}
	}
	return s.probing(project.Services(), containers, have, from)
}

// before is what a daemon that carried out no step of the request yet knows of those before.
func (s *run) before() sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := sight{settled: beforeNow(s.Request.Status.Downtime)}
	for _, st := range s.Request.Status.Steps {
		switch {
		case st.Name != v1alpha1.StepRollout && st.Name != v1alpha1.StepVerify && st.Name != v1alpha1.StepRollback, st.State == v1alpha1.StepSkipped:
		case st.Name != s.Step:
			out.missed = true
			// What is not replaced to the end may be away, and nobody looked.
			out.lost = out.lost || st.State != v1alpha1.StepSucceeded
		case st.Attempt > 1:
			out.missed, out.lost = true, true
		}
	}
	return out
}

// sight is what the watches of one request leave to the next one.
type sight struct {
	standing downtime.Standing
	// settled is what was seen so far, without what had no answer at the end.
	settled downtime.Result
	// lost says that there was a time in which containers were replaced and nobody looked.
	lost bool
	// missed says that it is not known how the targets stood at the end of the step before.
	missed bool
	// look is what one step leaves to the next.
	look look
}

// sights are kept in memory: after a restart of the daemon it is known that they are lost. The zero value is ready.
type sights struct {
	mu sync.Mutex
	by map[types.UID]sight
}

// leave has the next step go on from what there was just now.
func (v *sights) leave(request types.UID, seen look) {
	kept := v.of(request)
	kept.look = seen
	v.keep(request, kept)
}

// left is what the step before has left, once.
func (v *sights) left(request types.UID) look {
	kept := v.of(request)
	seen := kept.look
	if !seen.at.IsZero() {
		kept.look = look{}
		v.keep(request, kept)
	}
	return seen
}

// meet is told of each step of a request before it begins, with what is known of those before if this process did not carry them out.
func (v *sights) meet(request types.UID, before sight) {
	v.mu.Lock()
	_, met := v.by[request]
	v.mu.Unlock()
	if !met {
		v.keep(request, before)
	}
}

func (v *sights) of(request types.UID) sight {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.by[request]
}

func (v *sights) keep(request types.UID, left sight) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by == nil {
		v.by = map[types.UID]sight{}
	}
	v.by[request] = left
}

// forget ends what is kept of a request, and reports whether there was something.
func (v *sights) forget(request types.UID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	left, met := v.by[request]
	left.standing.End()
	delete(v.by, request)
	return met
}

func round(d time.Duration) string { return d.Round(time.Millisecond).String() }

// beforeNow is what earlier steps saw.
func beforeNow(st *v1alpha1.DowntimeStatus) downtime.Result {
	if st == nil {
		return downtime.Result{}
	}
	r := downtime.Result{Probes: st.Probes, Failed: st.Failed, Target: st.Target}
	// They were written by this program.
	r.LongestGap, _ = time.ParseDuration(st.LongestGap)
	r.Slowest, _ = time.ParseDuration(st.Slowest)
	return r
}

// downtimeText is what is known of the downtime, for people.
func downtimeText(st *v1alpha1.UpdateRequestStatus) string {
	var parts []string
	if d := st.Downtime; d != nil {
		parts = append(parts, fmt.Sprintf("longest gap %s, %d of %d probes failed, slowest answer %s (%s)", d.LongestGap, d.Failed, d.Probes, d.Slowest, d.Target))
	}
	if len(st.Unmeasured) > 0 {
		parts = append(parts, "not measured: "+unmeasuredText(st.Unmeasured))
	}
	return strings.Join(parts, "; ")
}

func unmeasuredText(of []v1alpha1.UnmeasuredPorts) string {
	var parts []string
	for _, u := range of {
		where := strings.TrimSpace(u.Service + " " + u.Ports)
		if where != "" {
			where += ": "
		}
		parts = append(parts, where+u.Reason)
	}
	return strings.Join(parts, "; ")
}
