// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// A gateway that cannot be told what was found out last is tried by many attempts, not for ever,
// on the way forward, back and at the end of the old containers.
func TestGatewayIsNotToldTheLast(t *testing.T) {
	for name, tt := range map[string]struct {
		attempt  int32
		in       plan.RolloutInput
		settling bool
		terminal bool
	}{
		"forward":            {1, plan.RolloutInput{}, false, false},
		"forward, for long":  {patientAttempts, plan.RolloutInput{}, false, true},
		"back":               {patientAttempts - 1, plan.RolloutInput{Undo: true}, false, false},
		"back, for long":     {patientAttempts, plan.RolloutInput{Undo: true}, false, true},
		"cleaning, for long": {patientAttempts, plan.RolloutInput{}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
				ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepRollout, Attempt: tt.attempt}}
			})
			s.Step, s.log, s.rec = v1alpha1.StepRollout, updatelog.Lost("", nil), &written{}
			s.Docker = fakeEngine(t, `[]`, `{}`)
			e := &executor{run: s, project: project(t, "name: shop\nservices: {web: {image: x}}\n"), in: tt.in, settling: tt.settling}
			g := recalled(told("shop-gateway-1", false, nil, nil))
			g.keeper = &boxes.Keeper{Dir: t.TempDir()} // its gateway is gone, though it answered before
			e.gw = g
			err := e.syncGateways(t.Context())
			if err == nil || isTerminal(err) != tt.terminal || !strings.Contains(err.Error(), "all containers are in place, but tell the gateway shop-gateway-1") {
				t.Fatalf("it ends with %v", err)
			}
			if got := failure.AsTerminal(err); got != nil && (got.Reason != v1alpha1.ReasonHostConflict || !strings.Contains(err.Error(), "tried 8 times")) {
				t.Errorf("the status says %s: %v", got.Reason, err)
			}
		})
	}
}
