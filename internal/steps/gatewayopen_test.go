// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
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

// A front is started before the container is stopped whose ports it is to have, and only then.
func TestFrontsWaitForPorts(t *testing.T) {
	front := func(name string, port int) layout.Box {
		return layout.Box{Name: name, Front: true, Publish: []layout.Publish{{HostIP: "127.0.0.1", HostPort: port, Service: "web", Target: 80}}}
	}
	g := recalled(told("shop.gateway-front-1", true, nil, nil))
	open := front("shop.gateway-front-5", 0)
	open.Publish[0].From = "8000-8010"
	g.wanted = []layout.Box{front("shop.gateway-front-1", 8080), front("shop.gateway-front-2", 8080), front("shop.gateway-front-3", 8081), {Name: "shop.gateway-1"}, open}
	has := func(state string) docker.Container {
		return docker.Container{ID: "old", State: state, PortBindings: []docker.Port{{HostIP: "0.0.0.0", HostPort: 8080, Protocol: "tcp"}}}
	}
	var got []string
	for _, b := range g.waiting(has(docker.StateRunning)) {
		got = append(got, b.Name)
	}
	if want := []string{"shop.gateway-front-2"}; !slices.Equal(got, want) {
		t.Errorf("%q wait, want %q", got, want)
	}
	if all := g.waiting(has(docker.StateExited)); len(all) > 0 {
		t.Errorf("%+v wait for what a container had", all)
	}
}
