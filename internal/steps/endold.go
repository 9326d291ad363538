// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// endsEarly reports whether old containers may end without anything to be written of it first, as of hooks.
func (s *run) endsEarly(project *compose.Project) bool {
	return s.keepsWarm() && s.Request.Spec.RestoreFrom == nil && len(s.Application.Spec.Hooks) == 0 &&
		!slices.ContainsFunc(project.Services(), func(svc compose.Service) bool { return len(svc.PreStop) > 0 })
}

// endOld begins to end the old containers that were kept for a way back, and does not wait. seen is what there was just
// now, if that is known, and listed the releases.
func (s *run) endOld(project *compose.Project, seen look, listed listing) {
	if !s.endsEarly(project) {
		return
	}
	held, err := claim.Shared(s.Application.Spec.Compose.Directory) // longer than the step has it
	if err != nil {
		return
	}
	log, err := updatelog.Open(s.Request.Status.LogFile)
	if err != nil {
		log = updatelog.Lost(s.Request.Status.LogFile, err)
	}
	work := s.Work
	work.Step, work.Request = v1alpha1.StepCleanUp, s.Request.DeepCopy()
	ctx, cancel := context.WithCancel(context.Background())
	own := &run{Deps: s.Deps, Work: work, rec: nowhere{}, log: log, clones: s.clones, sights: s.sights, engineRoot: s.engineRoot, endings: s.endings}
	e := &ending{request: s.Request.UID, cancel: cancel, died: make(chan struct{}), done: make(chan struct{})}
	s.endings.begin(s.application(), e)
	go func() {
		defer close(e.done)
		defer func() { _, _ = log.Close(), held.Release() }()
		watch, over := context.WithCancel(ctx)
		defer over()
		e.err = own.together(func() error {
			return own.settle(ctx, func() ([]v1alpha1.Release, error) { return listed(ctx) }, seen, old{last: func(containers []docker.Container) (stops func(id string)) {
				d := deathsOf(containers)
				go own.watchDeaths(watch, d, e.died)
				return func(id string) { d.stop(id, own.Clock.Now()) }
			}})
		})
	}()
}

// old is told how far the end of old containers is. What is nil is not told.
type old struct {
	// begun is called when the first are drained and ended.
	begun func()
	// last is called with those that run if nothing is left to do when they have ended. What it returns is called before
	// the engine is asked to end one.
	last func(containers []docker.Container) (stops func(id string))
}

// foresee tells of old containers that are about to be ended.
func (e *executor) foresee(in plan.RolloutInput, d plan.RolloutDecision) {
	if e.old.begun == nil && e.old.last == nil {
		return
	}
	var ending []docker.Container
	in.Containers = slices.Clone(in.Containers)
	for _, a := range d.Actions {
		if a.Verb != plan.VerbRetire {
			continue
		}
		c, _ := e.lookup(a.Container.ID)
		c.ID = a.Container.ID
		ending = append(ending, c)
		for i := range in.Containers {
			if c := &in.Containers[i]; c.ID == a.Container.ID {
				c.State, c.Ready = plan.StateExited, false
			}
		}
	}
	if len(ending) == 0 {
		return
	}
	if last := e.old.last; last != nil && len(ending) == len(d.Actions) && plan.Rollout(in).Done { // no name to be passed on, say
		e.old.last = nil
		e.stops = last(ending)
	}
	if begun := e.old.begun; begun != nil {
		e.old.begun = nil
		begun()
	}
}
