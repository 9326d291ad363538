// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// justNow is how old a look may be to be decided by: the first one of a step, and one at a container that nothing
// was done to since.
const justNow = 500 * time.Millisecond

// decide looks at what is there and asks the plan what can be done now.
func (e *executor) decide(ctx context.Context, inFlight map[string]plan.Action) (plan.RolloutDecision, error) {
	if e.first != nil {
		if err := e.first(); err != nil {
			return plan.RolloutDecision{}, err
		}
	}
	// What an action works on need not be looked at, and the engine would not
	// answer before the action ends.
	busy := map[string]docker.Container{}
	for _, a := range inFlight {
		if c, ok := e.lookup(a.Container.ID); ok {
			busy[c.ID] = c
		}
	}
	containers, at := e.found, e.foundAt
	if at.IsZero() || time.Since(at) > justNow {
		var err error
		at = time.Now()
		if containers, err = e.Docker.ProjectContainersBut(ctx, e.project.Name(), busy, e.recent(at)); err != nil {
			return plan.RolloutDecision{}, fmt.Errorf("list the containers of the project %s: %w", e.project.Name(), err)
		}
	}
	e.foundAt = time.Time{} // what is done from now on changes them
	e.see(containers, busy, at)
	in := e.in
	in.Targets = slices.Clone(in.Targets)
	in.Containers = markSelf(observe.Facts(containers, e.releases, e.requestID, e.touched), e.own)
	e.mu.Lock()
	for i := range in.Targets {
		in.Targets[i].Settled = e.settled[in.Targets[i].Name]
	}
	in.Broken = maps.Clone(e.broken)
	for i := range in.Containers {
		c := &in.Containers[i]
		_, starting := inFlight[plan.Action{Verb: plan.VerbStart, Service: c.Service, Container: *c}.Key()]
		e.lapse(c)
		// What is being started is not known well enough to be called ready.
		c.Ready = (c.Ready || e.ready[c.ID]) && !starting
		c.Failed, c.Started = e.failed[c.ID], e.started[c.ID]
	}
	e.mu.Unlock()
	e.gatewayFacts(&in, containers)
	d := plan.Rollout(in)
	e.foresee(in, d)
	return d, nil
}

// recent are the containers that need not be looked at again. Those that are ready always are: they must not have ended
// since, and the engine's list may say for a moment that they run.
func (e *executor) recent(now time.Time) map[string]docker.Container {
	out := map[string]docker.Container{}
	for id, at := range e.seenAt {
		if c, ok := e.lookup(id); ok && now.Sub(at) <= justNow && !e.isReady(id) {
			out[id] = c
		}
	}
	return out
}

// see keeps what a look that began at a time has found. Of those that are busy it found little.
func (e *executor) see(containers []docker.Container, busy map[string]docker.Container, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.seenAt
	e.seen, e.seenAt = map[string]docker.Container{}, map[string]time.Time{}
	for _, c := range containers {
		e.seen[c.ID] = c
		if _, unknown := busy[c.ID]; unknown {
			continue
		}
		e.seenAt[c.ID] = at
		if earlier, ok := before[c.ID]; ok && at.Sub(earlier) <= justNow {
			e.seenAt[c.ID] = earlier // it may not have been looked at again
		}
	}
}

// touch forgets what was known of the containers that an action may have changed, now that it is over.
func (e *executor) touch(a plan.Action) {
	switch a.Verb {
	case plan.VerbHandOver, plan.VerbOpen, plan.VerbClose:
		e.seenAt = nil
	default:
		delete(e.seenAt, a.Container.ID)
	}
	if a.Verb == plan.VerbRetire {
		if e.retired == nil {
			e.retired = map[string]time.Time{}
		}
		e.retired[a.Service] = time.Now()
	}
}

// lapse notices that a container which had been ready exited while others were
// waited for: it is started once more, and fails the second time.
func (e *executor) lapse(c *plan.Container) {
	if !e.ready[c.ID] || c.State != plan.StateExited && c.State != plan.StateDead {
		return
	}
	delete(e.ready, c.ID)
	delete(e.started, c.ID)
	if e.lapsed[c.ID] {
		e.failed[c.ID] = fmt.Sprintf("exited with code %d after it had been ready", c.ExitCode)
	}
	e.lapsed[c.ID] = true
}

func (e *executor) markReady(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ready[id] = true
}

func (e *executor) isReady(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ready[id]
}

func (e *executor) lookup(id string) (docker.Container, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.seen[id]
	return c, ok
}
