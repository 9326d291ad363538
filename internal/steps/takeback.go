// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// listenAgain is the pause before a gateway that stopped to tell of changes is asked anew.
const listenAgain = 200 * time.Millisecond

// behind reports whether a service of the request is behind a gateway, or was before it.
func (s *run) behind() bool {
	return s.Gateways != nil && slices.ContainsFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Gateway })
}

// backAtOnce sends the traffic back to the old containers that still run, as soon as a step failed for good: the
// rollback, which does so too, begins with other work. It returns the step's own error.
func (s *run) backAtOnce(ctx context.Context, err error) error {
	if t := failure.AsTerminal(err); t == nil || t.Paused || ctx.Err() != nil || !s.behind() || s.Request.Spec.RestoreFrom != nil {
		return err
	}
	if s.rec.Begun(ctx) != nil {
		return err
	}
	if backErr := s.takeBack(ctx); backErr != nil {
		s.say("the traffic cannot be sent back before the rollback: %v", backErr)
	}
	return err
}

func (s *run) takeBack(ctx context.Context) error {
	releases, err := s.Store.Releases(ctx, s.Application)
	if err != nil {
		return err
	}
	previous := release.Find(releases, s.Request.Status.PreviousRelease)
	if previous == nil || previous.Spec.ComposePath == "" {
		return nil // nothing ran before, or nobody knows how
	}
	project, _, err := readModel(previous.Spec.ComposePath)
	if err != nil {
		return err
	}
	containers, err := observe.Containers(ctx, s.Docker, project.Name())
	if err != nil {
		return err
	}
	e := s.undoing(project, previous, releases, containers)
	e.begin()
	if err := e.setUpGateways(ctx); err != nil || e.gw == nil {
		return err
	}
	decision, err := e.decide(ctx, nil)
	if err != nil {
		return err
	}
	for _, a := range decision.Actions {
		if a.Verb == plan.VerbSwitch {
			return e.gateway(ctx, a)
		}
	}
	return nil // there is nothing to go back to without starting it first
}

// heeded does work that watches new containers, and breaks it off as soon as a gateway says of one of
// them that it does not answer any more. work is given what there was before it.
func (s *run) heeded(ctx context.Context, project *compose.Project, work func(ctx context.Context, seen look) error) error {
	if !s.behind() {
		return work(ctx, look{})
	}
	seen, err := s.lookAround(ctx, project.Name())
	if err != nil {
		return err
	}
	names := map[string]string{}
	for _, c := range seen.containers {
		i := slices.IndexFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Name == c.Service })
		if i < 0 || !c.Running() {
			continue
		}
		u := s.Request.Status.Services[i]
		if svc, ok := project.Service(u.Name); !ok || s.batches(svc).tolerate(svc) > 0 {
			continue // one that leaves the pool is borne; the watch counts them
		}
		if (u.Action == v1alpha1.ActionReplace || u.Action == v1alpha1.ActionCreate) && !s.keptWarm(c, u) {
			names[c.ID] = c.Name
		}
	}
	working, cancel := context.WithCancelCause(ctx)
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel(nil)
	for _, b := range seen.gateways {
		c := s.Gateways.Client(b.Name)
		listening.Go(func() {
			heed(working, c, names, cancel)
		})
	}
	err = work(working, seen)
	if u := health.AsUnhealthy(context.Cause(working)); u != nil && ctx.Err() == nil {
		t := &failure.Terminal{Reason: v1alpha1.ReasonHealthCheckFailed, Message: "after the rollout: " + u.Error(), Err: u}
		for _, c := range seen.containers {
			if c.Name == u.Container {
				s.keepLog(ctx, c)
				svc, _ := project.Service(c.Service)
				t = s.pauses(t, svc)
			}
		}
		return t
	}
	return err
}

// changeSource tells of targets whose health changes.
type changeSource interface {
	Changes(ctx context.Context, f func(gatewayapi.TargetChange)) error
}

// heed cancels with health.Unhealthy when a gateway says so of a container with a name, and listens
// until ctx ends.
func heed(ctx context.Context, from changeSource, names map[string]string, cancel context.CancelCauseFunc) {
	for ctx.Err() == nil {
		err := from.Changes(ctx, func(change gatewayapi.TargetChange) {
			name, known := names[change.Target]
			if !known || change.Health != gatewayapi.TargetUnhealthy || !change.Proven {
				return
			}
			cancel(&health.Unhealthy{Container: name, Reason: fmt.Sprintf("the gateway cannot reach the service %s in it any more: %s", change.Service, change.Error)})
		})
		if errors.Is(err, context.Canceled) {
			return
		}
		select {
		case <-time.After(listenAgain):
		case <-ctx.Done():
		}
	}
}
