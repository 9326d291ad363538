// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func TestTolerated(t *testing.T) {
	for _, c := range []struct {
		replicas int
		ratio    float64
		want     int
	}{
		{1, 0, 0}, {1, 1, 0}, {4, 0, 0}, {4, 0.24, 0}, {4, 0.25, 1}, {4, 0.5, 2}, {4, 1, 3}, {10, 0.1, 1}, {10, 0.3, 3}, {0, 1, 0},
	} {
		if got := Tolerated(c.replicas, c.ratio); got != c.want {
			t.Errorf("%g of %d: %d, want %d", c.ratio, c.replicas, got, c.want)
		}
	}
}

// rolling is a service of three replicas that is replaced one by one.
func rolling(order v1alpha1.RolloutOrder, change func(*Target)) []Target {
	t := replace("web", order)
	t.Replicas, t.Batch = 3, 1
	if change != nil {
		change(&t)
	}
	return []Target{t, replace("worker", startFirst, Dependency{Service: "web", Condition: DependsHealthy})}
}

func three(as func(Container) Container) []Container {
	out := []Container{running("worker", "v1", 1)}
	for n := 1; n <= 3; n++ {
		out = append(out, as(running("web", "v1", n)))
	}
	return out
}

func TestBatchTranscripts(t *testing.T) {
	plain := func(c Container) Container { return c }
	up := []Gateway{{Name: "p-gateway-1", Wanted: true, Up: true}}
	inFront := func(t *Target) { t.Gateway = true }
	one := func(t *Target) { t.Tolerate = 1 }
	for _, tt := range []struct {
		name     string
		have     []Container
		gateways []Gateway
		targets  []Target
		warm     bool
		// weak are new containers that never become ready.
		weak []string
		end  func(RolloutDecision) bool
	}{
		{"start-first", three(plain), nil, rolling(startFirst, nil), false, nil, isDone},
		{"stop-first", three(plain), nil, rolling(stopFirst, nil), false, nil, isDone},
		{"two-at-once", three(plain), nil, rolling(startFirst, func(t *Target) { t.Batch = 2 }), false, nil, isDone},
		{"gateway", three(serving), up, rolling(startFirst, inFront), true, nil, isDone},
		{"gateway-stop-first", three(serving), up, rolling(stopFirst, inFront), false, nil, isDone},
		{"gateway-cold", three(serving), up, rolling(startFirst, inFront), false, nil, isDone},
		{"one-fails", three(plain), nil, rolling(startFirst, nil), false, []string{"n13-web"}, isFailed},
		{"one-may-fail", three(serving), up, rolling(startFirst, func(t *Target) { inFront(t); one(t) }), false, []string{"n13-web"}, isDone},
		{"two-fail-where-one-may", three(plain), nil, rolling(startFirst, one), false, []string{"n11-web", "n13-web"}, isFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{containers: slices.Clone(tt.have), gateways: slices.Clone(tt.gateways), next: 10, weak: map[string]bool{}}
			for _, id := range tt.weak {
				w.weak[id] = true
			}
			d := w.play(t, RolloutInput{Targets: tt.targets, Warm: tt.warm})
			w.state()
			if !tt.end(d) {
				t.Errorf("it ends with %+v", d)
			}
			golden(t, "batch-"+tt.name, w.out.String())
		})
	}
}

func isDone(d RolloutDecision) bool   { return d.Done }
func isFailed(d RolloutDecision) bool { return d.Failed != nil }

// At no time there are fewer containers to serve than wanted, or with stop-first fewer than but one group.
func TestEnoughContainersServeAllTheTime(t *testing.T) {
	for _, order := range []v1alpha1.RolloutOrder{startFirst, stopFirst} {
		in := RolloutInput{Targets: rolling(order, func(t *Target) { t.Gateway = true })}
		w := &world{containers: three(serving), gateways: []Gateway{{Name: "p-gateway-1", Wanted: true, Up: true}}, next: 10}
		least := 3
		if order == stopFirst {
			least = 2
		}
		for range 60 {
			in.Containers, in.Gateways, in.Held = slices.Clone(w.containers), slices.Clone(w.gateways), w.held
			in.Targets = w.settle(in.Targets)
			d := Rollout(in)
			if d.Done {
				break
			}
			if len(d.Actions) == 0 {
				t.Fatalf("%s: it ends with %+v", order, d)
			}
			for _, a := range d.Actions {
				w.apply(t, in, a)
				if a.Verb == VerbHold {
					t.Errorf("%s: requests are held though others serve", order)
				}
				n := 0
				for _, c := range w.containers {
					if c.Service == "web" && c.Serving && c.up() {
						n++
					}
				}
				if n < least {
					t.Errorf("%s: after %s %s, %d containers serve", order, a.Verb, a.Container.Name, n)
				}
			}
		}
	}
}

func TestBatchesGoOnFromAnyPoint(t *testing.T) {
	goesOn(t, three(func(c Container) Container { return c }), RolloutInput{Targets: rolling(startFirst, nil)})
	goesOn(t, three(func(c Container) Container { return c }), RolloutInput{Targets: rolling(stopFirst, nil)})
}

// Going back after a failure waits for no groups.
func TestGoingBackIsDoneAtOnce(t *testing.T) {
	have := append(three(serving), mine(serving(running("web", "v2", 4))))
	have[1].Serving = false
	in := RolloutInput{Targets: back(rolling(startFirst, func(t *Target) { t.Gateway = true })), Undo: true, Containers: have}
	d := Rollout(in)
	if len(d.Actions) != 1 || d.Actions[0].Verb != VerbSwitch || strings.Join(d.Actions[0].Serve["web"], " ") != "old1-web old2-web old3-web" {
		t.Errorf("it begins with %+v", d.Actions)
	}
}
