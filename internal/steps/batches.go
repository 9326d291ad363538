// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// batches are how the containers of one service are replaced.
type batches struct {
	// parallelism is how many at once, 0 for all.
	parallelism int
	// delay is the pause between two groups, monitor how long each is watched.
	delay, monitor time.Duration
	action         v1alpha1.FailureAction
	ratio          float64
}

// batches are, the narrowest setting first: the Application's for the service, x-fairlead
// and deploy.update_config (deploy.rollback_config for going back to a release) of the Compose file, the
// Application's for all.
func (s *run) batches(svc compose.Service) batches {
	b := batches{action: v1alpha1.FailureRollback}
	b.set(s.Application.Spec.Rollout.RolloutBatches)
	if c, _ := s.deployConfig(svc); c != nil {
		if c.Parallelism != nil {
			b.parallelism = int(*c.Parallelism)
		}
		b.delay, b.monitor = orSet(c.Delay, b.delay), orSet(c.Monitor, b.monitor)
		if c.MaxFailureRatio > 0 {
			b.ratio = c.MaxFailureRatio
		}
		switch c.FailureAction {
		case "rollback":
			b.action = v1alpha1.FailureRollback
		case "pause":
			b.action = v1alpha1.FailurePause
		case "continue":
			b.action = v1alpha1.FailureContinue
		}
	}
	x := svc.Extension
	if x.Parallelism != nil {
		b.parallelism = int(*x.Parallelism)
	}
	b.delay, b.monitor = orSet(x.Delay, b.delay), orSet(x.Monitor, b.monitor)
	if x.MaxFailureRatio != nil {
		b.ratio = *x.MaxFailureRatio
	}
	if x.FailureAction != "" {
		b.action = v1alpha1.FailureAction(x.FailureAction)
	}
	for _, sr := range s.Application.Spec.Rollout.Services {
		if sr.Name == svc.Name {
			b.set(sr.RolloutBatches)
		}
	}
	return b
}

// deployConfig is the section of the Compose file that the request goes by, and its name.
func (s *run) deployConfig(svc compose.Service) (*compose.UpdateConfig, string) {
	if s.Request.Spec.RollbackTo != nil && svc.RollbackConfig != nil {
		return svc.RollbackConfig, "rollback_config"
	}
	return svc.UpdateConfig, "update_config"
}

func (b *batches) set(r v1alpha1.RolloutBatches) {
	if r.Parallelism != nil {
		b.parallelism = int(*r.Parallelism)
	}
	if r.Delay != nil {
		b.delay = r.Delay.Duration
	}
	if r.Monitor != nil {
		b.monitor = r.Monitor.Duration
	}
	if r.FailureAction != "" {
		b.action = r.FailureAction
	}
	if ratio, err := strconv.ParseFloat(r.MaxFailureRatio, 64); err == nil {
		b.ratio = ratio
	}
}

func orSet(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// size is how many containers of a service are replaced at once, 0 for all.
func (b batches) size(svc compose.Service) int {
	if svc.OneShot || b.parallelism >= svc.Replicas {
		return 0
	}
	return b.parallelism
}

// tolerate is how many new containers of a service may fail.
func (b batches) tolerate(svc compose.Service) int {
	ratio := b.ratio
	if b.action == v1alpha1.FailureContinue {
		ratio = 1
	}
	if svc.OneShot {
		return 0
	}
	return plan.Tolerated(svc.Replicas, ratio)
}

// words tell people how a service is replaced, where that is not all at once.
func (b batches) words(svc compose.Service) string {
	var parts []string
	if n := b.size(svc); n > 0 {
		text := fmt.Sprintf("%d of %d containers at once", n, svc.Replicas)
		if pause := max(b.delay, b.monitor); pause > 0 {
			text += fmt.Sprintf(", each group watched for %s", pause)
		}
		parts = append(parts, text)
	}
	if n := b.tolerate(svc); n > 0 {
		parts = append(parts, fmt.Sprintf("%d may fail", n))
	}
	if b.action == v1alpha1.FailurePause {
		parts = append(parts, "if it fails, everything is left as it is")
	}
	return strings.Join(parts, "; ")
}

// pauses marks a failure whose service, or for "" the Application, asks for everything to be left
// as it is.
func (s *run) pauses(t *failure.Terminal, svc compose.Service) *failure.Terminal {
	t.Paused = s.batches(svc).action == v1alpha1.FailurePause
	return t
}

// settleGroup watches the new containers of a service before the next ones are replaced. One
// that fails is told to the plan.
func (e *executor) settleGroup(ctx context.Context, a plan.Action) error {
	svc, _ := e.project.Service(a.Service)
	b := e.batches(svc)
	if pause := max(b.delay, b.monitor); pause > 0 {
		e.say("%s: watching for %s (%s)", a.Service, pause, a.Reason)
		bad, err := e.soakEach(ctx, a.Serve[a.Service], pause, func(string) bool { return e.target(a.Service).Tolerate == 0 })
		if err != nil {
			return err
		}
		for id, u := range bad {
			e.markFailed(a.Service, id, u.Reason)
		}
		if len(bad) > 0 {
			return nil // the plan decides on them, and has the others watched again if it goes on
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settled[a.Service] = a.Count
	return nil
}

// markFailed lets the plan know that a container failed.
func (e *executor) markFailed(service, id, reason string) {
	e.mu.Lock()
	e.failed[id] = reason
	e.mu.Unlock()
	e.health(service, "unhealthy: "+limitTo(reason, 1000))
	if e.target(service).Tolerate == 0 {
		return
	}
	e.say("%s: %s failed: %s", service, Short12(id), reason)
	e.bear(service, id)
}

// bear records that a container failed and the update goes on.
func (s *run) bear(service, id string) {
	s.record(func(st *v1alpha1.UpdateRequestStatus) {
		u := serviceOf(st, service)
		if short := Short12(id); !slices.Contains(u.FailedContainers, short) {
			u.FailedContainers = append(u.FailedContainers, short)
		}
	})
}

// soakEach watches containers for a time and returns those that did not stay well, and why. The first for which
// enough is true ends it.
func (s *run) soakEach(ctx context.Context, ids []string, d time.Duration, enough func(id string) bool) (map[string]*health.Unhealthy, error) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	bad := map[string]*health.Unhealthy{}
	stopped := false
	var g errgroup.Group
	for _, id := range ids {
		g.Go(func() error {
			err := s.Prober.Soak(watching, []string{id}, d)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			u := health.AsUnhealthy(err)
			switch {
			case u != nil:
				bad[id] = u
				if enough(id) {
					stopped = true
					cancel()
				}
				return nil
			case stopped:
				return nil
			default:
				return err
			}
		})
	}
	err := g.Wait()
	return bad, err
}
