// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// timings of one service's replacement.
type timings struct {
	health    time.Duration
	healthSet bool
	// minHealthy is nil where nothing is set.
	minHealthy *time.Duration
	drain      time.Duration
	drainSet   bool
	stop       time.Duration
	stopSet    bool
}

// timings are, the narrowest setting first: the Application's for the service,
// the Compose file's, the Application's for all.
func (e *executor) timings(service string) timings {
	t := timings{health: defaultHealthTimeout, stop: defaultStopTimeout}
	set := func(into *time.Duration, d *metav1.Duration) bool {
		if d != nil {
			*into = d.Duration
		}
		return d != nil
	}
	apply := func(r v1alpha1.RolloutTimings) {
		t.healthSet = set(&t.health, r.HealthTimeout) || t.healthSet
		if r.MinHealthy != nil {
			t.minHealthy = &r.MinHealthy.Duration
		}
		t.drainSet = set(&t.drain, r.DrainTimeout) || t.drainSet
		t.stopSet = set(&t.stop, r.StopTimeout) || t.stopSet
	}
	svc, _ := e.project.Service(service)
	if svc.StopGracePeriod != nil {
		t.stop, t.stopSet = *svc.StopGracePeriod, true
	}
	apply(e.Application.Spec.Rollout.RolloutTimings)
	x := svc.Extension
	apply(v1alpha1.RolloutTimings{
		HealthTimeout: positive(x.HealthTimeout), MinHealthy: positive(x.MinHealthy),
		DrainTimeout: positive(x.DrainTimeout), StopTimeout: positive(x.StopTimeout),
	})
	for _, s := range e.Application.Spec.Rollout.Services {
		if s.Name == service {
			apply(s.RolloutTimings)
		}
	}
	return t
}

// policy is when the container of an action counts as ready.
func (e *executor) policy(a plan.Action) health.Policy {
	t := e.timings(a.Service)
	timeout := t.health
	if c, ok := e.lookup(a.Container.ID); ok && !t.healthSet {
		timeout = max(timeout, slowStart(c.Healthcheck))
	}
	return health.Policy{
		Timeout: timeout, MinHealthy: orNever(t.minHealthy, 0), MinRunning: orNever(t.minHealthy, defaultMinRunning), Listens: e.gw.listens(a.Service),
	}
}

// slowStart is how long the engine takes at most to call a container unhealthy that
// never was healthy, if its healthcheck says that starting takes time; 0 otherwise.
func slowStart(h *docker.Healthcheck) time.Duration {
	if h == nil || h.StartPeriod <= 0 {
		return 0
	}
	return h.StartPeriod + time.Duration(h.Retries)*(h.Interval+h.Timeout)
}

func positive(d time.Duration) *metav1.Duration {
	if d <= 0 {
		return nil
	}
	return &metav1.Duration{Duration: d}
}

// orNever turns a setting into what package health takes: there zero means its
// own default, and a negative time none.
func orNever(set *time.Duration, otherwise time.Duration) time.Duration {
	d := otherwise
	if set != nil {
		d = *set
	}
	if d == 0 {
		return -1
	}
	return d
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func asError[E error](err error, target *E) bool { return errors.As(err, target) }

// DirectTraffic is Traffic without a gateway: clients reach containers by the
// engine's name resolution and port publishing, and nothing can tell them to
// go elsewhere before the container stops. The drain timeout lets what began
// end, for clients that resolve names anew.
type DirectTraffic struct{}

// Leave waits for the drain timeout.
func (DirectTraffic) Leave(ctx context.Context, _ docker.Container, drain time.Duration) error {
	if drain <= 0 {
		return nil
	}
	timer := time.NewTimer(drain)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
