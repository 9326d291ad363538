// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/forecast"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// forecastDisk adds to the plan what is expected to be written: the backup, and the
// images of those services that want says are to be built or pulled. It is told, and
// no more: a forecast that is wrong does not hold an update back.
func (p *preflightRun) forecastDisk(ctx context.Context, up *v1alpha1.UpdatePlan, want []wanted, backups func() ([]v1alpha1.Backup, error)) error {
	var saved, images []v1alpha1.DiskNeed
	if len(up.Backup) > 0 {
		before, err := backups()
		if err != nil {
			return err
		}
		saved = append(saved, forecast.Backup(before))
	}
	for _, how := range []string{imageBuild, imagePull} {
		if need := p.imageNeed(ctx, how, want); need != nil {
			images = append(images, *need)
		}
	}
	up.Disk = onDisks(p.w.dir, p.engine.DockerRootDir, saved, images)
	for _, d := range up.Disk {
		if needed := forecast.Needed(d.Needs); needed > d.Free {
			p.tell(v1alpha1.CheckResult{Name: "DiskForecast", Result: warning, Message: fmt.Sprintf(
				"the update is expected to write %s to the disk with %s, where %s are free: make room before it begins",
				measure.Bytes(needed), d.Path, measure.Bytes(d.Free))})
		}
	}
	return nil
}

// backups lists those of the application, once.
func (p *preflightRun) backups(ctx context.Context) func() ([]v1alpha1.Backup, error) {
	return sync.OnceValues(func() ([]v1alpha1.Backup, error) { return p.Store.Backups(ctx, p.Application) })
}

// imageNeed is what building or pulling takes; nil if nothing is built or pulled.
// Before anything was measured, it is at most as much as the images that run now.
func (p *preflightRun) imageNeed(ctx context.Context, how string, want []wanted) *v1alpha1.DiskNeed {
	var running int64
	unknown, some := false, false
	for _, d := range want {
		if d.how != how || d.builtBy != "" {
			continue
		}
		some = true
		i := slices.IndexFunc(p.containers, func(c docker.Container) bool { return c.Service == d.Name && c.Running() })
		if i < 0 {
			unknown = true
			continue
		}
		img, err := p.Docker.ImageContent(ctx, p.containers[i].ImageID)
		if err != nil {
			unknown = true
			continue
		}
		running += img.Size
	}
	if !some {
		return nil
	}
	need := forecast.Build(p.releases)
	if how == imagePull {
		need = forecast.Pull(p.releases)
	}
	if need.Bytes == nil && !unknown {
		need.Bytes, need.Basis = &running, "at most as much as the images that run now"
	}
	return &need
}

// onDisks puts needs together by file system. One that cannot be seen, as the
// engine's from inside a container, is left out.
func onDisks(dir, root string, saved, images []v1alpha1.DiskNeed) []v1alpha1.DiskForecast {
	var out []v1alpha1.DiskForecast
	add := func(path string, needs []v1alpha1.DiskNeed) {
		if d, err := observe.DiskAt(path); err == nil {
			out = append(out, v1alpha1.DiskForecast{Path: path, Free: d.Free, Needs: needs})
		}
	}
	if observe.SameFilesystem(dir, root) {
		add(dir, append(saved, images...))
		return out
	}
	add(dir, saved)
	add(root, images)
	return out
}

// tell adds a result to those of the checks.
func (p *preflightRun) tell(result v1alpha1.CheckResult) {
	p.say("%-8s %s: %s", result.Result, result.Name, result.Message)
	p.record(func(st *v1alpha1.UpdateRequestStatus) {
		if !slices.ContainsFunc(st.Checks, func(c v1alpha1.CheckResult) bool { return c.Name == result.Name }) {
			st.Checks = append(st.Checks, result)
		}
	})
}

// diskMeter measures by how much the engine's disk fills.
type diskMeter struct {
	root string
	free int64
}

// meter begins to measure; where the disk cannot be seen, it measures 0.
func (s *run) meter(ctx context.Context) *diskMeter {
	root := s.engineRoot.Load()
	if root == nil { // the daemon was started anew since
		info, err := s.Docker.Info(ctx)
		if err != nil {
			return &diskMeter{}
		}
		root = &info.DockerRootDir
	}
	m := &diskMeter{root: *root}
	m.taken()
	return m
}

// taken is what was written since the last call. What others write or remove
// meanwhile counts too.
func (m *diskMeter) taken() int64 {
	d, err := observe.DiskAt(m.root)
	if m.root == "" || err != nil {
		return 0
	}
	before := m.free
	m.free = d.Free
	return max(0, before-d.Free)
}
