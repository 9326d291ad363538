// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// world plays the engine: it does what the plan says, one round at a time, and
// writes down what happened.
type world struct {
	containers []Container
	next       int
	// sick are services whose new containers never become ready.
	sick map[string]bool
	// dies are services whose new containers exit as soon as they start.
	dies map[string]bool
	// undo says that what is made does not count as the request's own.
	undo bool
	// gateways are those that are wanted, and those that are there; held are
	// services that wait.
	gateways []Gateway
	held     map[string]bool
	// settled are new containers that were watched, by service.
	settled map[string]int
	// weak are new containers that never become ready, by ID.
	weak map[string]bool
	out  strings.Builder
}

func (w *world) find(id string) *Container {
	return &w.containers[slices.IndexFunc(w.containers, func(c Container) bool { return c.ID == id })]
}

func (w *world) apply(t *testing.T, in RolloutInput, a Action) {
	target := Target{}
	for _, one := range in.Targets {
		if one.Name == a.Service {
			target = one
		}
	}
	switch a.Verb {
	case VerbCreate:
		for range a.Count {
			w.next++
			w.containers = append(w.containers, Container{
				ID: fmt.Sprintf("n%d-%s", w.next, a.Service), Name: fmt.Sprintf("p-%s-%d", a.Service, w.next), Service: a.Service,
				Number: w.next, Revision: target.Revision, State: StateCreated, Mine: !w.undo,
			})
		}
	case VerbRename:
		w.find(a.Container.ID).Name = a.NewName
	case VerbStart:
		c := w.find(a.Container.ID)
		c.State, c.Started = StateRunning, true
		if w.dies[c.Service] && c.Mine {
			c.State, c.ExitCode = StateExited, 1
		}
	case VerbGate:
		c := w.find(a.Container.ID)
		if (w.sick[c.Service] || w.dies[c.Service]) && c.Mine || w.weak[c.ID] {
			c.Failed = "never became ready"
		} else {
			c.Ready = true
		}
	case VerbComplete:
		c := w.find(a.Container.ID)
		c.State = StateExited
		if w.sick[c.Service] {
			c.ExitCode, c.Failed = 1, "exit code 1"
		}
	case VerbRetire:
		c := w.find(a.Container.ID)
		c.State, c.Ready = StateExited, false
		w.mayStop(t, *c)
	case VerbHandOver:
		w.handOver(a)
	case VerbSettle:
		if w.settled == nil {
			w.settled = map[string]int{}
		}
		w.settled[a.Service] = a.Count
	case VerbOpen, VerbClose, VerbHold, VerbSwitch:
		w.gateway(t, in, a)
	case VerbRemove:
		w.containers = slices.DeleteFunc(w.containers, func(c Container) bool { return c.ID == a.Container.ID })
	}
}

func (w *world) play(t *testing.T, in RolloutInput) RolloutDecision {
	t.Helper()
	for round := 1; round < 50; round++ {
		in.Containers = slices.Clone(w.containers)
		in.Gateways, in.Held = slices.Clone(w.gateways), w.held
		in.Targets = w.settle(in.Targets)
		d := Rollout(in)
		if len(d.Actions) == 0 {
			switch {
			case d.Done:
				fmt.Fprintf(&w.out, "done\n")
			case d.Failed != nil:
				fmt.Fprintf(&w.out, "failed: %s of %s: %s\n", d.Failed.Name, d.Failed.Service, d.Failed.Failed)
			default:
				fmt.Fprintf(&w.out, "stuck: %s\n", d.Stuck)
			}
			return d
		}
		fmt.Fprintf(&w.out, "%d.\n", round)
		for _, a := range d.Actions {
			what := a.Container.Name
			if a.Verb == VerbCreate {
				what = fmt.Sprintf("%d", a.Count)
			}
			if a.NewName != "" {
				what += " -> " + a.NewName
			}
			what += a.Gateway + strings.Join(a.Services, ", ")
			fmt.Fprintf(&w.out, "   %-8s %-8s %s: %s\n", a.Verb, a.Service, what, a.Reason)
			w.apply(t, in, a)
		}
		w.invariants(t, in)
	}
	t.Fatalf("no end:\n%s", w.out.String())
	return RolloutDecision{}
}

// settle says of targets what was watched.
func (w *world) settle(targets []Target) []Target {
	out := slices.Clone(targets)
	for i := range out {
		out[i].Settled = w.settled[out[i].Name]
	}
	return out
}

// invariants hold after every round, whatever happens.
func (w *world) invariants(t *testing.T, in RolloutInput) {
	t.Helper()
	for _, target := range in.Targets {
		up := map[string]int{}
		for _, c := range w.containers {
			if c.Service == target.Name && c.up() {
				up[c.Revision]++
			}
		}
		if target.Order == v1alpha1.OrderStopFirst && target.Batch == 0 && len(up) > 1 {
			t.Errorf("two revisions of %s run at once although it is StopFirst:\n%s", target.Name, w.out.String())
		}
	}
	names := map[string]string{}
	for _, c := range w.containers {
		if other := names[c.Name]; other != "" {
			t.Errorf("%s and %s are both called %s", other, c.ID, c.Name)
		}
		names[c.Name] = c.ID
	}
}

func (w *world) state() {
	for _, c := range w.containers {
		fmt.Fprintf(&w.out, "   = %-10s %-22s %-4s %s\n", c.Service, c.Name, c.Revision, c.State)
	}
}

func running(service, revision string, number int) Container {
	return Container{
		ID: fmt.Sprintf("old%d-%s", number, service), Name: fmt.Sprintf("p-%s-%d", service, number), Service: service,
		Number: number, Revision: revision, State: StateRunning, Ready: true,
	}
}

func named(c Container, name string) Container {
	c.Name = name
	return c
}

func ranOnce(service, revision string) Container {
	c := running(service, revision, 1)
	c.State, c.Ready = StateExited, false
	return c
}

func replace(name string, order v1alpha1.RolloutOrder, deps ...Dependency) Target {
	return Target{
		Service: Service{Name: name, Revision: "v2", Replicas: 1, DependsOn: deps},
		Action:  v1alpha1.ActionReplace, Order: order,
	}
}

func mine(c Container) Container {
	c.Mine = true
	return c
}

func ended1(c Container) Container {
	c.State, c.Ready = StateExited, false
	return c
}

// renamed replaces the service from by the service to, which wants what from
// has.
func renamed(from, to, revision string) []Target {
	return []Target{
		{Service: Service{Name: from}, Action: v1alpha1.ActionRemove},
		{Service: Service{Name: to, Revision: revision, Replicas: 1, ContainerName: "shop-web"}, Action: v1alpha1.ActionCreate, Displaces: []string{from}},
	}
}

func with(t Target, change func(*Target)) Target {
	change(&t)
	return t
}

const (
	startFirst = v1alpha1.OrderStartFirst
	stopFirst  = v1alpha1.OrderStopFirst
)

// shop is db (kept) <- migrate <- web, worker; front depends on web.
func shop() []Target {
	return []Target{
		with(replace("db", stopFirst), func(t *Target) { t.Revision, t.Action = "v1", v1alpha1.ActionKeep }),
		replace("front", stopFirst, Dependency{Service: "web", Condition: DependsHealthy}),
		with(replace("migrate", "", Dependency{Service: "db", Condition: DependsHealthy}), func(t *Target) { t.OneShot, t.Action = true, v1alpha1.ActionRun }),
		replace("web", startFirst, Dependency{Service: "migrate", Condition: DependsCompleted}),
		replace("worker", startFirst, Dependency{Service: "migrate", Condition: DependsCompleted}),
	}
}

func shopRunning() []Container {
	return []Container{
		running("db", "v1", 1), running("front", "v1", 1), ranOnce("migrate", "v1"), running("web", "v1", 1), running("worker", "v1", 1),
	}
}

func back(targets []Target) []Target {
	out := slices.Clone(targets)
	for i := range out {
		out[i].Revision = "v1"
		if out[i].Action == v1alpha1.ActionRun {
			out[i].Action = v1alpha1.ActionReplace
		}
	}
	return out
}

func TestRolloutTranscripts(t *testing.T) {
	type phase struct {
		in   RolloutInput
		undo bool
	}
	tests := []struct {
		name  string
		have  []Container
		sick  map[string]bool
		plays []phase
	}{
		{"start-first", []Container{running("web", "v1", 1)}, nil, []phase{{in: RolloutInput{Targets: []Target{replace("web", startFirst)}}}}},
		{"stop-first", []Container{running("web", "v1", 1)}, nil, []phase{{in: RolloutInput{Targets: []Target{replace("web", stopFirst)}}}}},
		{"first-deployment", nil, nil, []phase{{in: RolloutInput{Targets: shop()}}}},
		{"whole-application", shopRunning(), nil, []phase{{in: RolloutInput{Targets: shop()}}}},
		{"unhealthy-and-back", shopRunning(), map[string]bool{"web": true}, []phase{
			{in: RolloutInput{Targets: shop()}}, {in: RolloutInput{Targets: back(shop()), Undo: true}, undo: true},
		}},
		{"unhealthy-last-and-back", shopRunning(), map[string]bool{"front": true}, []phase{
			{in: RolloutInput{Targets: shop()}}, {in: RolloutInput{Targets: back(shop()), Undo: true}, undo: true},
		}},
		{"migration-fails-and-back", shopRunning(), map[string]bool{"migrate": true}, []phase{
			{in: RolloutInput{Targets: shop()}}, {in: RolloutInput{Targets: back(shop()), Undo: true}, undo: true},
		}},
		{"container-name-start-first", []Container{named(running("web", "v1", 1), "shop-web")}, nil, []phase{
			{in: RolloutInput{Targets: []Target{with(replace("web", startFirst), func(t *Target) { t.ContainerName = "shop-web" })}}},
		}},
		{"container-name-stop-first-and-back", []Container{named(running("web", "v1", 1), "shop-web")}, map[string]bool{"web": true}, []phase{
			{in: RolloutInput{Targets: []Target{with(replace("web", stopFirst), func(t *Target) { t.ContainerName = "shop-web" })}}},
			{in: RolloutInput{Undo: true, Targets: back([]Target{with(replace("web", stopFirst), func(t *Target) { t.ContainerName = "shop-web" })})}, undo: true},
		}},
		{"three-replicas", []Container{running("web", "v1", 1), running("web", "v1", 2), running("web", "v1", 3)}, nil, []phase{
			{in: RolloutInput{Targets: []Target{with(replace("web", startFirst), func(t *Target) { t.Replicas = 3 })}}},
		}},
		{"scale-down", []Container{running("web", "v2", 1), running("web", "v2", 2), running("web", "v2", 3)}, nil, []phase{
			{in: RolloutInput{Targets: []Target{replace("web", startFirst)}}},
		}},
		{"force", []Container{running("web", "v2", 1)}, nil, []phase{
			{in: RolloutInput{Targets: []Target{replace("web", startFirst)}, Fresh: map[string]bool{"web": true}}},
		}},
		{"force-and-back", []Container{running("web", "v2", 1)}, map[string]bool{"web": true}, []phase{
			{in: RolloutInput{Targets: []Target{replace("web", stopFirst)}, Fresh: map[string]bool{"web": true}}},
			{in: RolloutInput{Targets: []Target{replace("web", stopFirst)}, Undo: true}, undo: true},
		}},
		{"removed-service", []Container{running("web", "v1", 1), running("old", "v1", 1)}, nil, []phase{
			{in: RolloutInput{Targets: []Target{
				replace("web", startFirst),
				{Service: Service{Name: "old"}, Action: v1alpha1.ActionRemove},
			}}},
		}},
		{"new-service-undone", []Container{running("web", "v1", 1)}, map[string]bool{"cache": true}, []phase{
			{in: RolloutInput{Targets: []Target{
				replace("web", startFirst, Dependency{Service: "cache", Condition: DependsHealthy}),
				with(replace("cache", startFirst), func(t *Target) { t.Action = v1alpha1.ActionCreate }),
			}}},
			{in: RolloutInput{Targets: back([]Target{replace("web", startFirst)}), Undo: true}, undo: true},
		}},
		{"shared-network", []Container{running("vpn", "v1", 1), running("app", "v1", 1)}, nil, []phase{
			{in: RolloutInput{Targets: []Target{
				with(replace("app", stopFirst), func(t *Target) { t.Shares, t.Revision = []string{"vpn"}, "v1" }),
				replace("vpn", stopFirst),
			}, Fresh: map[string]bool{"app": true}}},
		}},
		{"dies-at-once-and-back", []Container{running("web", "v1", 1)}, map[string]bool{"web": true}, []phase{
			{in: RolloutInput{Targets: []Target{replace("web", startFirst)}}},
			{in: RolloutInput{Targets: back([]Target{replace("web", startFirst)}), Undo: true}, undo: true},
		}},
		// frontend takes the port and the container_name of web.
		{"renamed-service-and-back", []Container{named(running("web", "v1", 1), "shop-web")}, map[string]bool{"frontend": true}, []phase{
			{in: RolloutInput{Targets: renamed("web", "frontend", "v2")}},
			{in: RolloutInput{Targets: renamed("frontend", "web", "v1")[1:], Undo: true}, undo: true},
		}},
		{"renamed-service", []Container{named(running("web", "v1", 1), "shop-web")}, nil, []phase{
			{in: RolloutInput{Targets: renamed("web", "frontend", "v2")}},
		}},
		{"migration-still-runs-and-back", append(shopRunning(), Container{
			ID: "n9-migrate", Name: "p-migrate-9", Service: "migrate", Number: 9, Revision: "v2", State: StateRunning, Mine: true,
		}), nil, []phase{{in: RolloutInput{Targets: back(shop()), Undo: true}, undo: true}}},
		// The image of front is gone: web and worker come back all the same.
		{"broken-service-and-back", []Container{
			mine(running("front", "v2", 1)), ended1(running("web", "v1", 1)), mine(running("web", "v2", 2)),
		}, nil, []phase{{in: RolloutInput{
			Targets: back([]Target{replace("front", stopFirst), replace("web", stopFirst)}), Undo: true,
			Broken: map[string]string{"front": "its image is gone"},
		}, undo: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{containers: slices.Clone(tt.have), sick: tt.sick, next: 10}
			if strings.HasPrefix(tt.name, "dies") {
				w.sick, w.dies = nil, tt.sick
			}
			for i, p := range tt.plays {
				if i > 0 {
					fmt.Fprintf(&w.out, "--- going back\n")
					for c := range w.containers {
						w.containers[c].Failed, w.containers[c].Started = "", false
						w.containers[c].Ready = w.containers[c].State == StateRunning && !w.containers[c].Mine
					}
				}
				w.undo = p.undo
				w.play(t, p.in)
			}
			w.state()
			golden(t, "rollout-"+tt.name, w.out.String())
		})
	}
}

// TestRolloutGoesOnFromAnyPoint kills the rollout after every number of actions
// and forgets all that is not on the engine: it must end in the same state.
func TestRolloutGoesOnFromAnyPoint(t *testing.T) {
	goesOn(t, shopRunning(), RolloutInput{Targets: shop()})
}

func goesOn(t *testing.T, have []Container, in RolloutInput) {
	t.Helper()
	final := func(w *world) string {
		var states []string
		for _, c := range w.containers {
			states = append(states, fmt.Sprintf("%s %s %s", c.Service, c.Revision, c.State))
		}
		slices.Sort(states)
		return strings.Join(states, "\n")
	}
	whole := &world{containers: slices.Clone(have), next: 10}
	whole.play(t, in)
	for stop := 1; ; stop++ {
		w := &world{containers: slices.Clone(have), next: 10}
		left := stop
		for left > 0 {
			in.Containers, in.Targets = slices.Clone(w.containers), w.settle(in.Targets)
			d := Rollout(in)
			if len(d.Actions) == 0 {
				return // the kill would come after the end
			}
			for _, a := range d.Actions {
				if left > 0 {
					w.apply(t, in, a)
					left--
				}
			}
		}
		for i := range w.containers {
			w.containers[i].Ready = w.containers[i].State == StateRunning && !w.containers[i].Mine
		}
		w.settled = nil
		w.play(t, in)
		if got, want := final(w), final(whole); got != want {
			t.Fatalf("killed after %d actions:\n%s\nwant:\n%s\n%s", stop, got, want, w.out.String())
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -update writes it anew):\n%s\nwant:\n%s", path, got, want)
	}
}

// A container mounts the volumes of the one that is there when it is created: the new one.
func TestVolumesFromComeFirst(t *testing.T) {
	in := RolloutInput{Targets: []Target{
		replace("app", startFirst), with(replace("web", startFirst), func(t *Target) { t.VolumesFrom = []string{"app"} }),
	}}
	app := mine(running("app", "v2", 2))
	for name, tt := range map[string]struct {
		have []Container
		want []string
	}{
		"nothing is there": {nil, []string{"Create/app"}},
		"the new one runs": {[]Container{app}, []string{"Create/web"}},
	} {
		in.Containers = tt.have
		var got []string
		for _, a := range Rollout(in).Actions {
			if a.Verb == VerbCreate {
				got = append(got, string(a.Verb)+"/"+a.Service)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}
