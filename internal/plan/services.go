// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/plural"
)

// Condition is what a dependent waits for.
type Condition string

// Conditions of Compose's depends_on.
const (
	DependsStarted   Condition = "service_started"
	DependsHealthy   Condition = "service_healthy"
	DependsCompleted Condition = "service_completed_successfully"
)

// Dependency is one entry of depends_on.
type Dependency struct {
	Service   string
	Condition Condition
	// Restart says that a replacement of Service restarts the dependent.
	Restart bool
}

// Service is one service as it should run.
type Service struct {
	Name string
	// Revision is the digest of configuration, image content and mounted
	// files; empty while the image is not built yet.
	Revision string
	// Changed says in words what differs from what runs, as far as the
	// observer could tell; used in reasons.
	Changed string
	// Build says how the image comes to the host: Build, Reuse, Pull, Present.
	Build     string
	Replicas  int
	OneShot   bool
	DependsOn []Dependency
	// Shares is the service whose network, PID or IPC namespace is used, so
	// that a replacement of that service breaks this one's containers.
	Shares []string
	// VolumesFrom are the services whose volumes it mounts. A container mounts those of
	// the very container that is there when it is created.
	VolumesFrom []string
	// ContainerName from the Compose file, "" for Compose's own names.
	ContainerName string
	// Order is what settings say, empty or Auto if they say nothing;
	// OrderSource says which setting it was.
	Order       v1alpha1.RolloutOrder
	OrderSource string
	// OrderYields says that the setting was not made for Fairlead: where it
	// cannot be followed, StopFirst is taken instead.
	OrderYields bool
	// HeldPort is a fixed host port that a running container of the service
	// publishes already, as "127.0.0.1:8080", so that StartFirst is impossible.
	HeldPort string
	// Exclusive are reasons why two copies must not run at once.
	Exclusive []string
	// Gateway says that a gateway stands in front of its containers.
	Gateway bool
	// Follows says that all services whose namespaces it uses are behind a gateway,
	// so that its old containers go on working beside the new ones.
	Follows bool
	// Handover are the ports of the host that come to the gateway, or come back
	// from it, as "127.0.0.1:8080"; "" for none.
	Handover string
	// Anew says what a rollout interrupts as a gateway is made anew, whatever becomes of the service's own
	// containers: "a new gateway takes over 127.0.0.1:8080: until it listens"; "" for nothing.
	Anew string
	// HoldTimeout is how long requests may be held, as people write it.
	HoldTimeout string
	// Repair says what of its gateway is missing, though its containers did not
	// change; "" for nothing.
	Repair string
	// Lost says what its containers find no more unless they are made anew, though they did not change; "" for nothing.
	Lost string
	// Completed says that the last release ran this one-shot service to its
	// end at this Revision.
	Completed bool
}

// ContainerState is the engine's word for where a container is.
type ContainerState string

// Container states.
const (
	StateCreated    ContainerState = "created"
	StateRunning    ContainerState = "running"
	StatePaused     ContainerState = "paused"
	StateRestarting ContainerState = "restarting"
	StateRemoving   ContainerState = "removing"
	StateExited     ContainerState = "exited"
	StateDead       ContainerState = "dead"
)

// Container is one container of the project as observed.
type Container struct {
	ID       string
	Name     string
	Service  string
	Number   int
	Revision string
	State    ContainerState
	ExitCode int
	// Mine says that the request that is being carried out made it.
	Mine bool
	// Self says that the daemon that decides runs in it.
	Self bool
	// Ready says that it passed its health gate, or was not touched by the
	// request and runs.
	Ready bool
	// Failed says why it did not pass its health gate.
	Failed string
	// Serving says that the gateway sends it requests.
	Serving bool
	// Warm says that it could take requests back at once.
	Warm bool
	// Started says that it was started just now: that it exited since is for
	// its gate to judge, and no reason to start it again.
	Started bool
}

func (c Container) up() bool {
	return c.State == StateRunning || c.State == StateRestarting || c.State == StatePaused
}

// SelectInput is what Services decides from.
type SelectInput struct {
	Services   []Service
	Containers []Container
	// Previous are the services of the release that runs: those that are not
	// in Model any more are removed.
	Previous []string
	// Model are the names of all services of the Compose file at the wanted
	// commit, also those of inactive profiles: they are never removed.
	Model []string
	// Force replaces what did not change as well.
	Force bool
}

// Services says what is to be done with each service, sorted by wave and name.
func Services(in SelectInput) []v1alpha1.ServicePlan {
	byService := group(in.Containers)
	plans := map[string]*v1alpha1.ServicePlan{}
	var names []string
	own := ownService(in.Containers)
	for _, s := range in.Services {
		p := decide(s, byService[s.Name], in.Force)
		plans[s.Name] = &p
		names = append(names, s.Name)
	}
	propagate(in.Services, plans)
	waves := waves(in.Services)
	for _, s := range in.Services {
		p := plans[s.Name]
		p.Wave = int32(waves[s.Name])
		p.Build = s.Build
		if p.Action == v1alpha1.ActionReplace {
			p.Order, p.OrderReason = Order(s)
			if s.Name == own {
				p.Order, p.OrderReason = v1alpha1.OrderStopFirst, "Fairlead itself runs in it: a helper container replaces it when all else is done"
			}
		}
		p.Interruption = interruption(*p, s)
	}
	for _, s := range in.Services { // in a rollout, of which there is none if nothing is to be done
		if p := plans[s.Name]; s.Anew != "" && slices.ContainsFunc(slices.Collect(maps.Values(plans)), changes) {
			p.Interruption = alsoAnew(p.Interruption, s.Anew)
		}
	}
	last := int32(0)
	for _, w := range waves {
		last = max(last, int32(w))
	}
	for _, name := range in.Previous {
		if slices.Contains(in.Model, name) || slices.Contains(names, name) || len(byService[name]) == 0 {
			continue
		}
		if name == own {
			plans[name] = &v1alpha1.ServicePlan{
				Name: name, Action: v1alpha1.ActionKeep, Interruption: "none",
				Reason: "the Compose file does not have it any more, but Fairlead itself runs in it: remove its container by hand",
			}
			names = append(names, name)
			continue
		}
		plans[name] = &v1alpha1.ServicePlan{
			Name: name, Action: v1alpha1.ActionRemove, Wave: last + 1,
			Reason:       "the Compose file does not have it any more",
			Interruption: "the service stops for good",
		}
		names = append(names, name)
	}
	out := make([]v1alpha1.ServicePlan, 0, len(names))
	for _, n := range names {
		out = append(out, *plans[n])
	}
	slices.SortFunc(out, func(a, b v1alpha1.ServicePlan) int {
		if a.Wave != b.Wave {
			return int(a.Wave - b.Wave)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

func decide(s Service, have []Container, force bool) v1alpha1.ServicePlan {
	p := v1alpha1.ServicePlan{Name: s.Name}
	match, other, running := 0, 0, 0
	completed := s.Completed
	for _, c := range have {
		switch {
		case s.Revision != "" && c.Revision == s.Revision:
			if c.up() {
				match++
			}
			if s.OneShot && c.State == StateExited && c.ExitCode == 0 {
				completed = true
			}
		case c.up():
			other++
		}
		if c.up() {
			running++
		}
	}
	switch {
	case s.OneShot && completed && !force:
		p.Action, p.Reason = v1alpha1.ActionKeep, "ran to its end already and did not change"
	case s.OneShot:
		p.Recreate = force
		p.Action, p.Reason = v1alpha1.ActionRun, orElse(s.Changed, "runs to its end before the services that depend on it")
	case s.Replicas == 0 && running == 0:
		p.Action, p.Reason = v1alpha1.ActionKeep, "has no replicas"
	case running == 0 && len(have) == 0:
		p.Action, p.Reason = v1alpha1.ActionCreate, "is new"
	case running == 0:
		p.Action, p.Reason = v1alpha1.ActionCreate, "is not running"
	case force:
		p.Action, p.Reason, p.Recreate = v1alpha1.ActionReplace, "force was asked for", true
	case match == s.Replicas && other == 0 && s.Lost != "":
		p.Action, p.Reason, p.Recreate = v1alpha1.ActionReplace, s.Lost, true
	case match == s.Replicas && other == 0 && s.Repair != "":
		p.Action, p.Reason = v1alpha1.ActionReplace, s.Repair
	case match == s.Replicas && other == 0:
		p.Action, p.Reason = v1alpha1.ActionKeep, "did not change"
	case other == 0 && match != s.Replicas:
		p.Action, p.Reason = v1alpha1.ActionReplace, fmt.Sprintf("runs %s instead of %d", plural.Of(match, "replica"), s.Replicas)
	default:
		p.Action, p.Reason = v1alpha1.ActionReplace, orElse(s.Changed, "changed")
	}
	return p
}

// propagate marks services whose containers cannot outlive the replacement of
// another one: those that share its namespaces, and those that ask for it by
// depends_on.restart.
func propagate(services []Service, plans map[string]*v1alpha1.ServicePlan) {
	for changed := true; changed; {
		changed = false
		for _, s := range services {
			p := plans[s.Name]
			if s.OneShot || s.Replicas == 0 {
				continue
			}
			for _, name := range s.ties() {
				d := plans[name]
				if d == nil || p.Recreate || d.Action != v1alpha1.ActionReplace && d.Action != v1alpha1.ActionCreate {
					continue
				}
				// A container is tied to the very container whose space it uses.
				p.Recreate, changed = true, true
				if p.Action == v1alpha1.ActionKeep {
					p.Action, p.Reason = v1alpha1.ActionReplace, s.use(name)+name+", which is replaced"
				}
			}
			for _, dep := range s.DependsOn {
				if d := plans[dep.Service]; dep.Restart && d != nil && d.Action == v1alpha1.ActionReplace && p.Action == v1alpha1.ActionKeep {
					p.Action, p.Recreate, p.Reason = v1alpha1.ActionReplace, true, "asks for a restart when "+dep.Service+" is replaced (depends_on.restart)"
					changed = true
				}
			}
		}
	}
}

// ties are the services to whose containers those of s are tied.
func (s Service) ties() []string { return slices.Concat(s.Shares, s.VolumesFrom) }

func (s Service) use(name string) string {
	if slices.Contains(s.Shares, name) {
		return "uses the network or process space of "
	}
	return "mounts the volumes of "
}

// Order says which of the old and the new container comes first, and why.
func Order(s Service) (v1alpha1.RolloutOrder, string) {
	if len(s.Shares) > 0 && !s.Follows && s.Order != v1alpha1.OrderStartFirst {
		return v1alpha1.OrderStopFirst, "shares the namespaces of " + strings.Join(s.Shares, ", ")
	}
	if s.Order == v1alpha1.OrderStartFirst && s.HeldPort != "" && s.OrderYields {
		return v1alpha1.OrderStopFirst, fmt.Sprintf("%s says StartFirst, but two containers cannot publish the host port %s at once", s.OrderSource, s.HeldPort)
	}
	if s.Order == v1alpha1.OrderStartFirst || s.Order == v1alpha1.OrderStopFirst {
		return s.Order, "set by " + s.OrderSource
	}
	if len(s.Exclusive) > 0 {
		return v1alpha1.OrderStopFirst, strings.Join(s.Exclusive, "; ")
	}
	return v1alpha1.OrderStartFirst, "two copies can run side by side"
}

func interruption(p v1alpha1.ServicePlan, s Service) string {
	switch {
	case p.Action != v1alpha1.ActionReplace:
		return "none"
	case s.Repair != "":
		return "it is interrupted already, until the gateway is there again"
	case s.Gateway && s.Handover != "" && p.Order == v1alpha1.OrderStopFirst:
		return "once, as the gateway takes over " + s.Handover + ": from the stop of the old container until the new one is ready and the gateway listens"
	case s.Gateway && s.Handover != "":
		return "once, as the gateway takes over " + s.Handover + ": from the stop of the old container until the gateway listens"
	case s.Gateway && p.Order == v1alpha1.OrderStopFirst:
		return "none if the new container is ready in time: requests are held from the stop of the old one, for at most " + s.HoldTimeout
	case s.Gateway:
		return "none"
	case s.Handover != "":
		return "once, as the gateway gives back " + s.Handover + ": from the stop of the old container until the new one is ready"
	case p.Order == v1alpha1.OrderStopFirst:
		return "from the stop of the old container until the new one is ready"
	default:
		return "none for new connections; open ones end when the old container stops"
	}
}

func changes(p *v1alpha1.ServicePlan) bool { return p.Action != v1alpha1.ActionKeep }

// alsoAnew adds to an interruption that of a gateway that is made anew.
func alsoAnew(others, what string) string {
	text := "once, as " + what
	if others == "none" {
		return text
	}
	return others + "; and " + text
}

// waves numbers services by their depth in the dependency graph, from 1. The
// Compose model has no cycles.
func waves(services []Service) map[string]int {
	deps := map[string][]string{}
	for _, s := range services {
		for _, d := range s.DependsOn {
			deps[s.Name] = append(deps[s.Name], d.Service)
		}
		deps[s.Name] = append(deps[s.Name], s.ties()...)
	}
	depth := map[string]int{}
	var visit func(name string, seen []string) int
	visit = func(name string, seen []string) int {
		if d, ok := depth[name]; ok {
			return d
		}
		if slices.Contains(seen, name) {
			return 0
		}
		d := 1
		for _, dep := range deps[name] {
			d = max(d, visit(dep, append(seen, name))+1)
		}
		depth[name] = d
		return d
	}
	for _, s := range services {
		visit(s.Name, nil)
	}
	return depth
}

// Unchanged reports whether every service is kept as it is.
func Unchanged(plans []v1alpha1.ServicePlan) bool {
	for _, p := range plans {
		if p.Action != v1alpha1.ActionKeep {
			return false
		}
	}
	return true
}

// Summary is one sentence for people.
func Summary(plans []v1alpha1.ServicePlan) string {
	count := map[v1alpha1.ServiceAction][]string{}
	for _, p := range plans {
		count[p.Action] = append(count[p.Action], p.Name)
	}
	var parts []string
	for _, a := range []struct {
		action v1alpha1.ServiceAction
		verb   string
	}{
		{v1alpha1.ActionRun, "run"}, {v1alpha1.ActionReplace, "replace"}, {v1alpha1.ActionCreate, "start"},
		{v1alpha1.ActionRemove, "remove"}, {v1alpha1.ActionKeep, "keep"},
	} {
		if names := count[a.action]; len(names) > 0 {
			slices.Sort(names)
			parts = append(parts, a.verb+" "+strings.Join(names, ", "))
		}
	}
	if len(parts) == 0 {
		return "the application has no services"
	}
	return strings.Join(parts, "; ")
}

// ownService is the service that the daemon runs in, "" if in none.
func ownService(containers []Container) string {
	for _, c := range containers {
		if c.Self {
			return c.Service
		}
	}
	return ""
}

func group(containers []Container) map[string][]Container {
	out := map[string][]Container{}
	for _, c := range containers {
		out[c.Service] = append(out[c.Service], c)
	}
	for _, cs := range out {
		slices.SortFunc(cs, func(a, b Container) int {
			if a.Number != b.Number {
				return a.Number - b.Number
			}
			return strings.Compare(a.ID, b.ID)
		})
	}
	return out
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
