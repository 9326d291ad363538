// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/selfswap"
)

// ownStopTimeout is what a daemon has at least to stop in order: longer than it
// gives its parts.
const ownStopTimeout = 45 * time.Second

// Self finds the container that this process runs in.
type Self interface {
	// Find returns its ID, and "" if there is none.
	Find(ctx context.Context) (string, error)
}

// Quiescer brings the daemon's other work to its end before the daemon is
// replaced.
type Quiescer interface {
	// Quiesce lets no more work begin and waits until that on other requests than
	// the given one ended, or until it has waited for long enough: what is cut off
	// then is resumed by the next daemon. resume lets work begin again, in case
	// that the daemon stays. An error is that of ctx.
	Quiesce(ctx context.Context, request types.NamespacedName) (resume func(), err error)
}

// ownContainer is the ID of the container that this process runs in, "" if in
// none.
func (s *run) ownContainer(ctx context.Context) (string, error) {
	if s.Self == nil {
		return "", nil
	}
	return s.Self.Find(ctx)
}

// facts are what the plan decides from when no request touched anything yet.
func (s *run) facts(ctx context.Context, containers []docker.Container, releases []v1alpha1.Release) ([]plan.Container, error) {
	own, err := s.ownContainer(ctx)
	if err != nil {
		return nil, err
	}
	return markSelf(observe.Facts(containers, releases, "", untouched), own), nil
}

func markSelf(facts []plan.Container, own string) []plan.Container {
	for i := range facts {
		facts[i].Self = own != "" && facts[i].ID == own
	}
	return facts
}

// settleSwaps waits for helpers that swap the daemon of this application, and
// takes over what became of them: a handover that failed is not tried again.
func (e *executor) settleSwaps(ctx context.Context) error {
	var err error
	if e.own, err = e.ownContainer(ctx); err != nil || e.own == "" {
		return err
	}
	swaps, err := selfswap.List(ctx, e.Docker, map[string]string{v1alpha1.LabelApplication: applicationLabel(e.Application)})
	if err != nil {
		return fmt.Errorf("list helper containers: %w", err)
	}
	for _, s := range swaps {
		keep, err := e.settleSwap(ctx, s)
		if err != nil {
			return err
		}
		if keep {
			continue
		}
		// Volumes that it shares with the daemon are not its own.
		if err := e.Docker.Remove(context.WithoutCancel(ctx), s.ID, false); err != nil {
			return fmt.Errorf("remove the helper container %s: %w", s.Name, err)
		}
	}
	return nil
}

func (e *executor) settleSwap(ctx context.Context, s selfswap.Swap) (keep bool, err error) {
	if !s.Begun() {
		return false, nil
	}
	verdict, err := selfswap.Await(ctx, e.Docker, s)
	if err != nil {
		return true, err
	}
	if s.Labels[v1alpha1.LabelRequest] != e.labels[v1alpha1.LabelRequest] {
		return false, nil // of another request, or of the way that led here
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case s.Params.To.ID == e.own && verdict.Replaced:
		e.say("the daemon was replaced: it runs in %s now", Short12(e.own))
		e.ready[e.own] = true
		return false, nil
	case s.Params.To.ID == e.own, verdict.Replaced:
		// Somebody took a hand in it. What runs counts: its gate, or another
		// handover, decides.
		return false, nil
	}
	e.swapFailed = verdict.Reason
	if verdict.Trouble != "" {
		e.swapFailed += "; the container before it was not ready in time either: " + verdict.Trouble
	}
	e.failed[s.Params.To.ID] = e.swapFailed
	return true, nil
}

// handOver lets the container take the place of the one that this daemon runs
// in: a helper does, which stops this process. It returns only when it was not
// replaced.
func (e *executor) handOver(ctx context.Context, a plan.Action) error {
	if e.swapFailed != "" {
		return &health.Unhealthy{Container: a.Container.Name, Reason: e.swapFailed}
	}
	own, ok := e.lookup(e.own)
	if !ok {
		return fmt.Errorf("the daemon's own container %s is gone", Short12(e.own))
	}
	e.say("%s: %s is next; waiting for the work on other requests to end", a.Service, a.Container.Name)
	resume, err := e.Others.Quiesce(ctx, types.NamespacedName{Namespace: e.Request.Namespace, Name: e.Request.Name})
	if err != nil {
		return err
	}
	defer resume()
	restart, _ := e.restartOf(a.Service)
	t := e.timings(a.Service)
	p := selfswap.Params{
		Helper:      "fairlead-swap-" + e.labels[v1alpha1.LabelRequest],
		From:        selfswap.Party{ID: own.ID, Restart: own.RestartPolicy},
		To:          selfswap.Party{ID: a.Container.ID, Restart: restart},
		Name:        e.target(a.Service).ContainerName,
		StopTimeout: max(t.stop, ownStopTimeout), Health: e.policy(a),
	}
	labels := map[string]string{
		v1alpha1.LabelApplication: e.labels[v1alpha1.LabelApplication], v1alpha1.LabelRequest: e.labels[v1alpha1.LabelRequest],
	}
	e.say("%s: handing over to %s by the helper container %s (%s)", a.Service, a.Container.Name, p.Helper, a.Reason)
	e.health(a.Service, "taking over")
	keep := context.WithoutCancel(ctx)
	if err := selfswap.Launch(keep, e.Docker, p, labels); err != nil {
		return err
	}
	return e.awaitOwnEnd(ctx, labels)
}

// awaitOwnEnd waits until this daemon is told to stop, or the helper gives up
// before that.
func (e *executor) awaitOwnEnd(ctx context.Context, labels map[string]string) error {
	swaps, err := selfswap.List(ctx, e.Docker, labels)
	if err != nil {
		return err
	}
	if len(swaps) != 1 {
		return fmt.Errorf("there are %d helper containers instead of one", len(swaps))
	}
	verdict, err := selfswap.Await(ctx, e.Docker, swaps[0])
	if err != nil {
		return err
	}
	return &health.Unhealthy{Container: swaps[0].Params.To.ID, Reason: verdict.Reason}
}
