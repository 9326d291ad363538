// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// gateway plays the gateways.
func (w *world) gateway(t *testing.T, in RolloutInput, a Action) {
	t.Helper()
	if w.held == nil {
		w.held = map[string]bool{}
	}
	switch a.Verb {
	case VerbOpen, VerbClose:
		i := slices.IndexFunc(w.gateways, func(g Gateway) bool { return g.Name == a.Gateway })
		for _, id := range w.gateways[i].BlockedBy {
			if slices.ContainsFunc(w.containers, func(c Container) bool { return c.ID == id && c.up() }) {
				t.Errorf("%s is opened while %s has its ports:\n%s", a.Gateway, id, w.out.String())
			}
		}
		w.gateways[i].Up = a.Verb == VerbOpen
		if a.Verb == VerbOpen {
			w.gateways = slices.DeleteFunc(w.gateways, func(g Gateway) bool { return slices.Contains(w.gateways[i].Replaces, g.Name) })
		}
	case VerbHold:
		w.held[a.Service] = true
	case VerbSwitch:
		for _, name := range a.Services {
			w.held[name] = false
			for j := range w.containers {
				if c := &w.containers[j]; c.Service == name {
					c.Serving = slices.Contains(a.Serve[name], c.ID)
				}
			}
		}
	}
}

// mayStop checks that a container that gets requests is stopped only while they
// are held, or where its port changes hands.
func (w *world) mayStop(t *testing.T, c Container) {
	t.Helper()
	blocks := slices.ContainsFunc(w.gateways, func(g Gateway) bool { return g.Wanted && !g.Up && slices.Contains(g.BlockedBy, c.ID) })
	leaves := slices.ContainsFunc(w.gateways, func(g Gateway) bool { return !g.Wanted })
	if c.Serving && !w.held[c.Service] && !blocks && !leaves {
		t.Errorf("%s is stopped while it gets requests:\n%s", c.Name, w.out.String())
	}
}

func behind(t Target) Target {
	t.Gateway = true
	return t
}

func serving(c Container) Container {
	c.Serving, c.Warm = true, true
	return c
}

// fleet is the shop behind a gateway, db and all.
func fleet() []Target {
	return []Target{
		behind(replace("db", stopFirst)),
		behind(replace("front", startFirst, Dependency{Service: "web", Condition: DependsHealthy})),
		behind(replace("web", startFirst, Dependency{Service: "db", Condition: DependsHealthy})),
		replace("worker", startFirst, Dependency{Service: "db", Condition: DependsHealthy}),
	}
}

func fleetRunning() []Container {
	return []Container{
		serving(running("db", "v1", 1)), serving(named(running("front", "v1", 1), "shop-front")),
		serving(running("web", "v1", 1)), running("worker", "v1", 1),
	}
}

func taken(c Container) Container { c.Warm = false; return c }

func TestGatewayTranscripts(t *testing.T) {
	type phase struct {
		in       RolloutInput
		undo     bool
		gateways []Gateway
	}
	up := []Gateway{{Name: "p-gateway-1", Wanted: true, Up: true}, {Name: "p-gateway-front-1", Front: true, Wanted: true, Up: true}}
	down := []Gateway{{Name: "p-gateway-1", Wanted: true}, {Name: "p-gateway-front-1", Front: true, Wanted: true, BlockedBy: []string{"old1-front"}}}
	away := []Gateway{{Name: "p-gateway-1", Up: true}, {Name: "p-gateway-front-1", Front: true, Up: true}}
	next := Gateway{Name: "p-gateway-front-2", Front: true, Wanted: true, Replaces: []string{"p-gateway-front-1"}}
	withName := func(ts []Target) []Target {
		for i := range ts {
			if ts[i].Name == "front" {
				ts[i].ContainerName = "shop-front"
			}
		}
		return ts
	}
	direct := func(ts []Target) []Target {
		for i := range ts {
			ts[i].Gateway = false
			if ts[i].Name == "front" {
				ts[i].Order, ts[i].BlockedBy = stopFirst, []string{"p-gateway-front-1"}
			}
		}
		return ts
	}
	leaving := func(ts []Target) []Target { // one of several whose ports the front has
		for i := range ts {
			if ts[i].Name == "front" {
				ts[i].Gateway, ts[i].Order, ts[i].BlockedBy = false, stopFirst, []string{"p-gateway-front-1"}
			}
		}
		return ts
	}
	var before []Container
	for _, c := range fleetRunning() {
		before = append(before, taken(c))
	}
	tests := []struct {
		name     string
		have     []Container
		sick     map[string]bool
		gateways []Gateway
		plays    []phase
	}{
		{"switch", fleetRunning(), nil, up, []phase{
			{in: RolloutInput{Targets: withName(fleet()), Warm: true}}, {in: RolloutInput{Targets: withName(fleet())}},
		}},
		{"switch-and-back", fleetRunning(), nil, up, []phase{
			{in: RolloutInput{Targets: withName(fleet()), Warm: true}}, {in: RolloutInput{Targets: back(withName(fleet())), Undo: true}, undo: true},
		}},
		{"unhealthy-before-the-switch", fleetRunning(), map[string]bool{"front": true}, up, []phase{
			{in: RolloutInput{Targets: withName(fleet()), Warm: true}}, {in: RolloutInput{Targets: back(withName(fleet())), Undo: true}, undo: true},
		}},
		{"held-and-unhealthy", fleetRunning(), map[string]bool{"db": true}, up, []phase{
			{in: RolloutInput{Targets: fleet(), Warm: true}}, {in: RolloutInput{Targets: back(fleet()), Undo: true}, undo: true},
		}},
		{"back-without-a-gateway", fleetRunning(), map[string]bool{"db": true}, up, []phase{
			{in: RolloutInput{Targets: fleet(), Warm: true}},
			{in: RolloutInput{Targets: back(fleet()), Undo: true}, undo: true, gateways: []Gateway{{Name: "p-gateway-1", Wanted: true, GivenUp: true}, up[1]}},
		}},
		{"takeover", before, nil, down, []phase{
			{in: RolloutInput{Targets: withName(fleet()), Warm: true}},
		}},
		{"takeover-and-back", before, map[string]bool{"web": true}, down, []phase{
			{in: RolloutInput{Targets: withName(fleet()), Warm: true}},
			{in: RolloutInput{Targets: back(direct(withName(fleet()))), Undo: true}, undo: true, gateways: []Gateway{{Name: "p-gateway-1", Up: true}}},
		}},
		{"give-back", fleetRunning(), nil, away, []phase{{in: RolloutInput{Targets: direct(withName(fleet())), Warm: true}}}},
		{"front-with-a-port-less", fleetRunning(), nil, []Gateway{up[0], {Name: "p-gateway-front-1", Front: true, Up: true}, next}, []phase{
			{in: RolloutInput{Targets: withName(fleet()), Warm: true}},
		}},
		{"front-without-one-that-leaves", fleetRunning(), nil, []Gateway{up[0], {Name: "p-gateway-front-1", Front: true, Up: true}, next}, []phase{
			{in: RolloutInput{Targets: leaving(fleet()), Warm: true}},
		}},
		{"first-deployment", nil, nil, []Gateway{{Name: "p-gateway-1", Wanted: true}, {Name: "p-gateway-front-1", Front: true, Wanted: true}}, []phase{
			{in: RolloutInput{Targets: fleet(), Warm: true}},
		}},
		{"one-after-another", fleetRunning(), nil, up, []phase{{in: RolloutInput{Targets: fleet(), Serial: true}}}},
		{"killed-in-the-switch", []Container{
			serving(running("web", "v1", 1)), mine(running("web", "v2", 2)), running("worker", "v1", 1),
		}, nil, up, []phase{{in: RolloutInput{Targets: []Target{behind(replace("web", startFirst))}, Warm: true}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{containers: slices.Clone(tt.have), sick: tt.sick, next: 10, gateways: slices.Clone(tt.gateways)}
			for i, p := range tt.plays {
				if i > 0 {
					fmt.Fprintf(&w.out, "--- then\n")
					for c := range w.containers {
						w.containers[c].Failed, w.containers[c].Started = "", false
						w.containers[c].Ready = w.containers[c].State == StateRunning
					}
				}
				if p.gateways != nil {
					w.gateways = slices.Clone(p.gateways)
				}
				w.undo = p.undo
				w.play(t, p.in)
			}
			w.state()
			path := filepath.Join("testdata", "gateway-"+tt.name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(w.out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if w.out.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", w.out.String(), want)
			}
		})
	}
}

// TestGatewaysThatDoNotAgree has old containers serve as far as is known, and one gateway that sends to others.
func TestGatewaysThatDoNotAgree(t *testing.T) {
	in := RolloutInput{Targets: back(fleet()), Containers: fleetRunning(), Undo: true, Unsettled: map[string]bool{"web": true}}
	d := Rollout(in)
	if len(d.Actions) != 1 || d.Actions[0].Verb != VerbSwitch || !slices.Equal(d.Actions[0].Services, []string{"web"}) ||
		!slices.Equal(d.Actions[0].Serve["web"], []string{"old1-web"}) {
		t.Errorf("got %+v", d)
	}
	in.Unsettled = nil
	if d = Rollout(in); slices.ContainsFunc(d.Actions, func(a Action) bool { return a.Verb == VerbSwitch }) {
		t.Errorf("where they agree: %+v", d.Actions)
	}
}

// A gateway that is made anew interrupts those behind it that are not replaced, too; but only where something is.
func TestInterruptionsByGatewaysMadeAnew(t *testing.T) {
	const anew = "once, as a new gateway takes over 127.0.0.1:80: until it listens"
	front := Service{Name: "front", Revision: "v1", Replicas: 1, Gateway: true, Anew: "a new gateway takes over 127.0.0.1:80: until it listens"}
	held := Service{Name: "db", Revision: "v2", Replicas: 1, Gateway: true, Exclusive: []string{"runs a database image"}, HoldTimeout: "1 min", Anew: front.Anew}
	have := []Container{running("front", "v1", 1), running("db", "v1", 2)}
	for _, p := range Services(SelectInput{Services: []Service{front, held}, Containers: have}) {
		want := map[string]string{
			"front": anew,
			"db":    "none if the new container is ready in time: requests are held from the stop of the old one, for at most 1 min; and " + anew,
		}[p.Name]
		if p.Interruption != want {
			t.Errorf("%s: %q, want %q", p.Name, p.Interruption, want)
		}
	}
	held.Revision = "v1"
	for _, p := range Services(SelectInput{Services: []Service{front, held}, Containers: have}) {
		if p.Interruption != "none" {
			t.Errorf("%s of an unchanged application: %q", p.Name, p.Interruption)
		}
	}
}

func TestGatewayInterruptions(t *testing.T) {
	tests := []struct {
		name string
		svc  Service
		want string
	}{
		{"start first", Service{Gateway: true}, "none"},
		{"held", Service{Gateway: true, Exclusive: []string{"runs a database image"}, HoldTimeout: "1 min"},
			"none if the new container is ready in time: requests are held from the stop of the old one, for at most 1 min"},
		{"takeover", Service{Gateway: true, Handover: "127.0.0.1:80"},
			"once, as the gateway takes over 127.0.0.1:80: from the stop of the old container until the gateway listens"},
		{"given back", Service{Handover: "127.0.0.1:80", Exclusive: []string{"publishes the host port 127.0.0.1:80"}},
			"once, as the gateway gives back 127.0.0.1:80: from the stop of the old container until the new one is ready"},
		{"repair", Service{Gateway: true, Repair: "its gateway does not run"}, "it is interrupted already, until the gateway is there again"},
		{"a follower", Service{Shares: []string{"vpn"}, Follows: true}, "none for new connections; open ones end when the old container stops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.svc.Name, tt.svc.Revision, tt.svc.Replicas = "web", "v2", 1
			if tt.svc.Repair != "" {
				tt.svc.Revision = "v1" // nothing else changed
			}
			plans := Services(SelectInput{Services: []Service{tt.svc}, Containers: []Container{running("web", "v1", 1)}})
			if plans[0].Interruption != tt.want || plans[0].Action != v1alpha1.ActionReplace {
				t.Errorf("%s: %q, want %q", plans[0].Action, plans[0].Interruption, tt.want)
			}
		})
	}
}
