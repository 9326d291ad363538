// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// told is a gateway that was told to serve web and api with containers.
func told(name string, front bool, web, api []string) *gatewayBox {
	state := &gatewayapi.DesiredState{}
	for service, ids := range map[string][]string{"web": web, "api": api} {
		s := gatewayapi.Service{Name: service}
		for _, id := range ids {
			s.Targets = append(s.Targets, gatewayapi.Target{ID: id})
		}
		state.Services = append(state.Services, s)
	}
	return &gatewayBox{Box: boxes.Box{Box: layout.Box{Name: name, Front: front}}, answers: true, state: state}
}

func recalled(all ...*gatewayBox) *gatewayRun {
	g := &gatewayRun{
		there: map[string]*gatewayBox{}, active: map[string][]string{}, held: map[string]bool{}, ports: map[string][]layout.Port{},
		begun: map[string]bool{}, said: map[string][][]string{}, unsettled: map[string]bool{},
	}
	for _, b := range all {
		g.there[b.Name] = b
	}
	g.recall(time.Now)
	return g
}

// TestTrafficAfterASwitchThatWasBrokenOff has one gateway know of the new containers and the next one not.
func TestTrafficAfterASwitchThatWasBrokenOff(t *testing.T) {
	targets := []plan.Target{}
	for _, name := range []string{"web", "api"} {
		targets = append(targets, plan.Target{Service: plan.Service{Name: name, Gateway: true}, Action: v1alpha1.ActionReplace})
	}
	container := func(service, id string) docker.Container {
		return docker.Container{ID: id, Service: service, State: docker.StateRunning}
	}
	all := []docker.Container{container("web", "old"), container("web", "new"), container("api", "api")}
	for _, tt := range []struct {
		name       string
		gateways   []*gatewayBox
		containers []docker.Container
		web        []string
		unsettled  bool
	}{
		{"both know the same", []*gatewayBox{told("g-1", false, []string{"new"}, []string{"api"}), told("g-front-1", true, []string{"new"}, []string{"api"})},
			all, []string{"new"}, false},
		{"the inner one was told", []*gatewayBox{told("g-1", false, []string{"new"}, []string{"api"}), told("g-front-1", true, []string{"old"}, []string{"api"})},
			all, []string{"old"}, true},
		{"the first of two inner ones was told", []*gatewayBox{told("g-1", false, []string{"new"}, []string{"api"}), told("g-2", false, []string{"old"}, []string{"api"})},
			all, []string{"old"}, true},
		{"the old one has gone since", []*gatewayBox{told("g-1", false, []string{"new"}, []string{"api"}), told("g-front-1", true, []string{"old"}, []string{"api"})},
			all[1:], []string{"new"}, true},
	} {
		g := recalled(tt.gateways...)
		g.assume(targets, tt.containers, "request")
		if !slices.Equal(g.active["web"], tt.web) || !slices.Equal(g.active["api"], []string{"api"}) {
			t.Errorf("%s: traffic goes to %v and %v", tt.name, g.active["web"], g.active["api"])
		}
		if g.unsettled["web"] != tt.unsettled || g.unsettled["api"] {
			t.Errorf("%s: unsettled are %v", tt.name, g.unsettled)
		}
		// Later on a service may have nothing that serves it, if that is what was decided.
		g.active["web"] = nil
		if g.assume(targets, tt.containers, "request"); len(g.active["web"]) > 0 {
			t.Errorf("%s: traffic comes back to %v", tt.name, g.active["web"])
		}
	}
}

// A container that had drained when the gateways were looked at need not be asked about again, unless one was told something since.
func TestHadDrained(t *testing.T) {
	box := func(targets ...gatewayapi.TargetStatus) *gatewayBox {
		return &gatewayBox{seen: &gatewayapi.ObservedState{Services: []gatewayapi.ServiceStatus{{Name: "api", Targets: targets}}}}
	}
	active, draining := gatewayapi.TargetActive, gatewayapi.TargetDraining
	gone, drained := box(gatewayapi.TargetStatus{ID: "new", State: active, InFlight: 3}), box(gatewayapi.TargetStatus{ID: "old", State: draining})
	for name, tt := range map[string]struct {
		boxes []*gatewayBox
		want  bool
	}{
		"drained in one, gone from the other": {[]*gatewayBox{drained, gone}, true},
		"a connection is open":                {[]*gatewayBox{drained, box(gatewayapi.TargetStatus{ID: "old", State: draining, OpenConnections: 1})}, false},
		"a request is under way":              {[]*gatewayBox{box(gatewayapi.TargetStatus{ID: "old", State: draining, InFlight: 1}), gone}, false},
		"it gets what is new":                 {[]*gatewayBox{gone, box(gatewayapi.TargetStatus{ID: "old", State: active})}, false},
		"it may get what is new":              {[]*gatewayBox{gone, box(gatewayapi.TargetStatus{ID: "old", State: gatewayapi.TargetStandby})}, false},
		"one was told something since":        {[]*gatewayBox{drained, {}}, false},
	} {
		g := &gatewayRun{there: map[string]*gatewayBox{}}
		for i, b := range tt.boxes {
			g.there[strconv.Itoa(i)] = b
		}
		if got := g.hadDrained("old"); got != tt.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// Gateways are told of a switch in the order of dependencies, those with ports of the host last.
func TestOrderOfGateways(t *testing.T) {
	inner := func(name string, services ...string) *gatewayBox {
		owners := map[string]string{}
		for _, s := range services {
			owners[s] = s
		}
		return &gatewayBox{Box: boxes.Box{Box: layout.Box{Name: name, Owners: map[string]map[string]string{"default": owners}}}}
	}
	front := func(name, service string) *gatewayBox {
		return &gatewayBox{Box: boxes.Box{Box: layout.Box{Name: name, Front: true, Publish: []layout.Publish{{Service: service}}}}}
	}
	on := func(names ...string) (out []plan.Dependency) {
		for _, n := range names {
			out = append(out, plan.Dependency{Service: n})
		}
		return out
	}
	g := &gatewayRun{there: map[string]*gatewayBox{}, depths: plan.Depths([]plan.Target{
		{Service: plan.Service{Name: "web", DependsOn: on("api")}},
		{Service: plan.Service{Name: "api", DependsOn: on("db")}},
		{Service: plan.Service{Name: "db"}},
		{Service: plan.Service{Name: "admin", DependsOn: on("db")}},
	})}
	for _, b := range []*gatewayBox{
		inner("g-1", "web", "db"), inner("g-2", "api"), inner("g-3", "db"), inner("g-4", "admin"), inner("g-5"), front("g-front-1", "web"), front("g-front-2", "admin"),
	} {
		g.there[b.Name] = b
	}
	want := []string{"g-5", "g-3", "g-2", "g-4", "g-1", "g-front-2", "g-front-1"}
	for _, undo := range []bool{false, true} {
		e := &executor{gw: g, in: plan.RolloutInput{Undo: undo}}
		if got := e.telling(); !slices.Equal(got, want) {
			t.Errorf("undo %t: got %v, want %v", undo, got, want)
		}
		slices.Reverse(want) // back, those that depend come before
	}
}
