// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// A start_period gives a container the time that it has with Compose, unless a time is set.
func TestStartPeriod(t *testing.T) {
	check := func(start time.Duration) *docker.Healthcheck {
		return &docker.Healthcheck{StartPeriod: start, Interval: 20 * time.Second, Timeout: 10 * time.Second, Retries: 2}
	}
	for name, tt := range map[string]struct {
		check *docker.Healthcheck
		set   bool
		want  time.Duration
	}{
		"no healthcheck":         {nil, false, 2 * time.Minute},
		"no start_period":        {check(0), false, 2 * time.Minute},
		"a short one":            {check(5 * time.Second), false, 2 * time.Minute},
		"a long one":             {check(5 * time.Minute), false, 6 * time.Minute},
		"a healthTimeout is set": {check(5 * time.Minute), true, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			e := &executor{
				project: project(t, "services: {web: {image: x}}\n"),
				run: newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
					if tt.set {
						a.Spec.Rollout.HealthTimeout = seconds(30)
					}
				}),
				seen: map[string]docker.Container{"c": {ID: "c", Healthcheck: tt.check}},
			}
			if got := e.policy(plan.Action{Service: "web", Container: plan.Container{ID: "c"}}).Timeout; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
