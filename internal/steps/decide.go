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

// justNow is how old the first look of a step may be for its first decision.
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
	containers := e.found
	if e.foundAt.IsZero() || time.Since(e.foundAt) > justNow {
		var err error
		if containers, err = e.Docker.ProjectContainersBut(ctx, e.project.Name(), busy); err != nil {
			return plan.RolloutDecision{}, fmt.Errorf("list the containers of the project %s: %w", e.project.Name(), err)
		}
	}
	e.foundAt = time.Time{} // what is done from now on changes them
	e.see(containers)
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

func (e *executor) see(containers []docker.Container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = map[string]docker.Container{}
	for _, c := range containers {
		e.seen[c.ID] = c
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
