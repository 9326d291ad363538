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

// A container that was given its time to stop when it was made keeps it, where nothing
// else is said now.
func TestOwnTimeToStop(t *testing.T) {
	long := 2 * time.Minute
	for name, tt := range map[string]struct {
		own     *time.Duration
		timings v1alpha1.RolloutTimings
		want    string
	}{
		"nothing":            {nil, v1alpha1.RolloutTimings{}, "10"},
		"the container's":    {&long, v1alpha1.RolloutTimings{}, "120"},
		"the Application's":  {&long, v1alpha1.RolloutTimings{StopTimeout: seconds(30)}, "30"},
		"none, but set here": {nil, v1alpha1.RolloutTimings{StopTimeout: seconds(30)}, "30"},
	} {
		stops := make(chan string, 1)
		e := hookExecutor(t, hangingEngine(t, nil, stops), tt.timings)
		e.project = project(t, "services: {web: {image: x}}\n")
		e.seen["c1"] = docker.Container{ID: "c1", Service: "web", State: docker.StateRunning, StopTimeout: tt.own}
		if err := e.do(t.Context(), plan.Action{Verb: plan.VerbRetire, Service: "web", Container: plan.Container{ID: "c1"}}); err != nil {
			t.Fatal(err)
		}
		if got := <-stops; got != tt.want {
			t.Errorf("%s: got %ss, want %ss", name, got, tt.want)
		}
	}
}
