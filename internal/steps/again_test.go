// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// What the engine refused or left behind is started once more. What was started
// and failed is not: its hooks, or its work, would be done twice or not at all.
func TestStartedOnceMore(t *testing.T) {
	refused := errors.New("no such endpoint")
	abandoned := &health.Unhealthy{Reason: "exited", Abandoned: true}
	for name, tt := range map[string]struct {
		verb    plan.Verb
		err     error
		oneShot bool
		started bool
		failed  []bool // after each time
	}{
		"refused":                {plan.VerbStart, refused, false, false, []bool{false, true}},
		"its post_start failed":  {plan.VerbStart, errors.New("post_start"), false, true, []bool{true}},
		"a one-shot was refused": {plan.VerbStart, refused, true, false, []bool{true}},
		"left behind":            {plan.VerbGate, abandoned, false, true, []bool{false, true}},
		"unhealthy":              {plan.VerbGate, &health.Unhealthy{Reason: "exit 1"}, false, true, []bool{true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &executor{
					run:     &run{log: updatelog.Lost("", nil), rec: &written{}, Work: Work{Request: &v1alpha1.UpdateRequest{}}},
					in:      plan.RolloutInput{Targets: []plan.Target{{Service: plan.Service{Name: "web", OneShot: tt.oneShot}}}},
					started: map[string]bool{}, lapsed: map[string]bool{}, failed: map[string]string{}, faults: map[string]string{},
				}
				for i, failed := range tt.failed {
					e.started["c"] = tt.started
					err := e.settle(t.Context(), outcome{plan.Action{Verb: tt.verb, Service: "web", Container: plan.Container{ID: "c"}}, tt.err})
					if err != nil {
						t.Fatal(err)
					}
					if got := e.failed["c"] != ""; got != failed {
						t.Errorf("time %d: failed is %v", i+1, got)
					}
					if !failed && e.started["c"] {
						t.Errorf("time %d: it counts as started, so nobody starts it", i+1)
					}
				}
			})
		})
	}
}
