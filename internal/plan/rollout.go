// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Rollout says which actions on containers are possible now. It is asked again
// after each action.
//
// All changed services are made ready first; only when every one of them is,
// the old containers of StartFirst services are retired, so that a failure
// before that point only removes what is new.
//
// Going back, a container that does not become ready holds nothing up: as much
// as possible is brought back before the failure is told.
//
// The service that the daemon itself runs in comes last: see handOver.
func Rollout(in RolloutInput) RolloutDecision {
	r := rollout{in: in, have: group(in.Containers), targets: map[string]Target{}}
	for _, t := range in.Targets {
		r.targets[t.Name] = t
	}
	own, others, behind := r.partition()
	failed := r.failed()
	if failed != nil && !in.Undo {
		return RolloutDecision{Failed: failed}
	}
	if opens := r.openInner(); len(opens) > 0 {
		return RolloutDecision{Actions: opens}
	}
	actions, allReady, waiting := r.bringInOrder(others)
	actions = append(actions, r.removeOthers()...)
	if own != nil && allReady && len(actions) == 0 {
		if actions, allReady = r.handOver(*own); allReady && len(actions) == 0 {
			actions, allReady, waiting = r.bring(behind)
		}
	}
	if allReady && len(actions) == 0 {
		actions = r.closeRest()
	}
	slices.SortStableFunc(actions, func(a, b Action) int { return cmp.Compare(a.Service, b.Service) })
	switch {
	case len(actions) > 0:
		return RolloutDecision{Actions: actions}
	case failed != nil:
		return RolloutDecision{Failed: failed}
	case allReady:
		return RolloutDecision{Done: true}
	default:
		return RolloutDecision{Stuck: waiting}
	}
}

type rollout struct {
	in      RolloutInput
	have    map[string][]Container
	targets map[string]Target
	// own is the service that the daemon runs in, if it is to change.
	own string
}

// bringInOrder is bring for all, or for one after another.
func (r *rollout) bringInOrder(targets []Target) (actions []Action, allReady bool, waiting string) {
	if !r.in.Serial {
		return r.bring(targets)
	}
	for _, t := range serial(targets) {
		if actions, allReady, waiting = r.bring([]Target{t}); len(actions) > 0 || !allReady {
			return actions, allReady, waiting
		}
	}
	return r.bring(targets)
}

// bring makes the services ready and, once all are, moves the traffic and
// retires what is left of other revisions.
func (r *rollout) bring(targets []Target) (actions []Action, allReady bool, waiting string) {
	if r.in.Undo {
		// What runs already takes its traffic back before anything else.
		if actions = r.switchAll(targets); len(actions) > 0 {
			return actions, false, ""
		}
	}
	allReady = true
	for _, t := range targets {
		a, ready, why := r.bringUp(t)
		actions = append(actions, a...)
		if !ready {
			allReady = false
			waiting = cmp.Or(waiting, why)
		}
	}
	if !allReady || len(actions) > 0 {
		return actions, allReady, waiting
	}
	// Clients within the application go over before what publishes the ports of the host is stopped: they would
	// have nobody while that ends.
	if actions = r.switchAll(targets); len(actions) > 0 {
		return actions, allReady, ""
	}
	if actions = r.openFronts(); len(actions) > 0 {
		return actions, allReady, ""
	}
	for _, t := range targets {
		actions = append(actions, r.takeDown(t)...)
	}
	return actions, allReady, waiting
}

// failed returns the first container that is wanted and did not become ready.
func (r *rollout) failed() *Container {
	for _, c := range r.in.Containers {
		if t := r.targets[c.Service]; c.Failed != "" && r.fits(t, c) && !r.tolerated(t) {
			return &c
		}
	}
	for _, t := range r.in.Targets {
		if why := r.broken(t.Name); why != "" {
			return &Container{Service: t.Name, Failed: why}
		}
	}
	return nil
}

func (r *rollout) broken(service string) string {
	if !r.in.Undo {
		return ""
	}
	return r.in.Broken[service]
}

// fits reports whether c is what t asks for. What the request made does not
// fit when the request is undone, even at the same revision.
func (r *rollout) fits(t Target, c Container) bool {
	if t.Revision == "" || c.Revision != t.Revision || c.State == StateRemoving || c.State == StateDead {
		return false
	}
	if r.in.Undo {
		return !c.Mine
	}
	return !r.in.Fresh[t.Name] || c.Mine
}

// ready reports whether c need not be waited for. One that failed and is not the end of the
// rollout is borne.
func (r *rollout) ready(c Container) bool {
	return c.Ready || c.Failed != ""
}

func (r *rollout) split(t Target) (fit, old []Container) {
	for _, c := range r.have[t.Name] {
		if r.fits(t, c) {
			fit = append(fit, c)
		} else {
			old = append(old, c)
		}
	}
	// Containers that run come first, so that a stopped twin of a running one
	// is not started.
	slices.SortStableFunc(fit, func(a, b Container) int { return cmp.Compare(rank(a), rank(b)) })
	return fit, old
}

func rank(c Container) int {
	switch {
	case c.up() && c.Ready:
		return 0
	case c.up():
		return 1
	case c.State == StateExited:
		return 2
	default:
		return 3
	}
}

// bringUp makes the containers of one service ready.
func (r *rollout) bringUp(t Target) (actions []Action, ready bool, waiting string) {
	if t.Action == v1alpha1.ActionRemove {
		return nil, true, ""
	}
	if t.OneShot {
		return r.runOnce(t)
	}
	fit, old := r.split(t)
	limit := r.limit(t, fit)
	if missing := limit - len(fit); missing > 0 && r.broken(t.Name) == "" {
		if len(t.ties()) > 0 {
			// A container is tied to the one whose namespaces it uses when it
			// is created.
			if why := r.unmet(t); why != "" {
				return nil, false, t.Name + " waits for " + why
			}
		}
		return []Action{{Verb: VerbCreate, Service: t.Name, Count: missing, Reason: "has no container of this revision yet"}}, false, ""
	}
	kept, old := r.kept(t, fit, old)
	fit = fit[:min(len(fit), limit)]
	ready = true
	start := slices.ContainsFunc(fit, r.down)
	if start {
		if why := r.unmet(t); why != "" {
			return nil, false, t.Name + " waits for " + why
		}
		if stops := r.displace(t); len(stops) > 0 {
			return stops, false, ""
		}
	}
	if start && t.Order == v1alpha1.OrderStopFirst {
		if holds := r.hold(t, fit, kept, old); len(holds) > 0 {
			return holds, false, ""
		}
		if moves := r.shift(t, fit, kept, old); len(moves) > 0 {
			return moves, false, ""
		}
		if stops := retire(t, old, "two copies must not run at once"); len(stops) > 0 {
			return stops, false, ""
		}
		if names := r.rename(t, fit, append(kept, old...)); len(names) > 0 {
			return names, false, ""
		}
	}
	if start {
		if frees := r.unblock(t); len(frees) > 0 {
			return frees, false, ""
		}
	}
	for _, c := range fit {
		switch {
		case r.down(c):
			actions = append(actions, Action{Verb: VerbStart, Service: t.Name, Container: c, Reason: startReason(c)})
			ready = false
		case !r.ready(c):
			actions = append(actions, Action{Verb: VerbGate, Service: t.Name, Container: c, Reason: "runs, not known to be ready yet"})
			ready = false
		}
	}
	if ready && r.alone(t) && r.toSwitch(t) {
		return []Action{r.switchOf("its containers are ready, and nothing else serves", t.Name)}, false, ""
	}
	return actions, ready, ""
}

// down reports whether c has to be started.
func (r *rollout) down(c Container) bool { return !c.up() && !c.Started && !r.ready(c) }

// displace stops what is in the way of t in services that go away.
func (r *rollout) displace(t Target) []Action {
	var stops []Action
	for _, name := range t.Displaces {
		gone := r.targets[name]
		gone.Name = name
		stops = append(stops, retire(gone, r.have[name], "makes room for "+t.Name+", which takes its place")...)
	}
	return stops
}

func startReason(c Container) string {
	if c.State == StateExited {
		return "is of the wanted revision and stopped"
	}
	return "is created and what it depends on is ready"
}

// runOnce runs a one-shot service to its end, once for a revision.
func (r *rollout) runOnce(t Target) (actions []Action, ready bool, waiting string) {
	if r.in.Undo {
		// One that still runs must not go on changing what the others use.
		mine := slices.DeleteFunc(slices.Clone(r.have[t.Name]), func(c Container) bool { return !c.Mine })
		if stops := retire(t, mine, "was begun by the update that is undone"); len(stops) > 0 {
			return stops, false, ""
		}
		return nil, true, ""
	}
	fit, _ := r.split(t)
	fit = slices.DeleteFunc(fit, func(c Container) bool {
		return !c.Mine && c.State == StateExited && c.ExitCode != 0
	})
	for _, c := range fit {
		if c.State == StateExited && c.ExitCode == 0 {
			return nil, true, ""
		}
	}
	if why := r.unmet(t); why != "" {
		return nil, false, t.Name + " waits for " + why
	}
	if len(fit) == 0 {
		return []Action{{Verb: VerbCreate, Service: t.Name, Count: 1, Reason: "did not run at this revision yet"}}, false, ""
	}
	c := fit[0]
	switch {
	case c.State == StateCreated:
		return []Action{{Verb: VerbStart, Service: t.Name, Container: c, Reason: startReason(c)}}, false, ""
	default:
		// An exit with another code than 0 is told by the same waiting.
		return []Action{{Verb: VerbComplete, Service: t.Name, Container: c, Reason: "runs to its end"}}, false, ""
	}
}

// unmet names the first dependency that is not there yet.
func (r *rollout) unmet(t Target) string {
	deps := slices.Clone(t.DependsOn)
	for _, s := range t.ties() {
		deps = append(deps, Dependency{Service: s, Condition: DependsStarted})
	}
	for _, d := range deps {
		dt, ok := r.targets[d.Service]
		if !ok || dt.Action == v1alpha1.ActionKeep || r.broken(d.Service) != "" {
			continue
		}
		if d.Service == r.own {
			continue // it runs, and is replaced after all that depends on it
		}
		if dt.OneShot {
			if _, done, _ := r.runOnce(dt); !done {
				return d.Service + " to end"
			}
			continue
		}
		fit, _ := r.split(dt)
		up := 0
		for _, c := range fit {
			if r.ready(c) || c.up() && d.Condition == DependsStarted {
				up++
			}
		}
		if up < first(dt) {
			if d.Condition == DependsStarted {
				return d.Service + " to start"
			}
			return d.Service + " to be ready"
		}
		if r.alone(dt) && r.toSwitch(dt) {
			return d.Service + " to be reached through the gateway"
		}
	}
	return ""
}

// takeDown retires what is left of other revisions once all is ready.
func (r *rollout) takeDown(t Target) []Action {
	fit, old := r.split(t)
	if t.Action == v1alpha1.ActionRemove {
		return retire(t, append(fit, old...), "the service is not part of the application any more")
	}
	if t.OneShot {
		if r.in.Undo {
			return removeMine(t, old)
		}
		return nil
	}
	if r.broken(t.Name) != "" {
		return nil // nothing can take the place of what runs
	}
	var actions []Action
	kept, old := r.kept(t, fit, old)
	if stops := retire(t, r.cold(t, old), "its successor is ready"); len(stops) > 0 {
		return stops
	}
	if waits := r.settle(t, fit); len(waits) > 0 {
		return waits
	}
	if r.in.Undo {
		if gone := removeMine(t, old); len(gone) > 0 {
			return gone
		}
	}
	if len(fit) > t.Replicas {
		actions = append(actions, retire(t, fit[t.Replicas:], "there are more replicas than wanted")...)
	}
	if len(actions) > 0 {
		return actions
	}
	return r.rename(t, fit, append(kept, old...))
}

// removeOthers ends, when going back, services that the release to go back to
// does not have and that the request made. Nothing waits for them to be needed
// again, so they go at once.
func (r *rollout) removeOthers() []Action {
	if !r.in.Undo {
		return nil
	}
	var actions []Action
	for _, c := range r.in.Containers {
		if _, ok := r.targets[c.Service]; ok || !c.Mine || c.State == StateRemoving || c.Self {
			continue
		}
		verb := VerbRemove
		if c.up() {
			verb = VerbRetire
		}
		actions = append(actions, Action{Verb: verb, Service: c.Service, Container: c, Reason: "the release that is gone back to does not have this service"})
	}
	return actions
}

func removeMine(t Target, old []Container) []Action {
	var actions []Action
	for _, c := range old {
		if c.Mine && !c.up() && c.State != StateRemoving {
			actions = append(actions, Action{Verb: VerbRemove, Service: t.Name, Container: c, Reason: "was made by the update that is undone"})
		}
	}
	return actions
}

func retire(t Target, containers []Container, reason string) []Action {
	var actions []Action
	for _, c := range containers {
		// The daemon never stops itself: only a handover replaces it.
		if c.up() && !c.Self {
			actions = append(actions, Action{Verb: VerbRetire, Service: t.Name, Container: c, Reason: reason})
		}
	}
	return actions
}

// rename gives container_name to the container that is to have it, once its
// holder is out of the way.
func (r *rollout) rename(t Target, fit, old []Container) []Action {
	if t.ContainerName == "" || len(fit) == 0 || fit[0].Name == t.ContainerName {
		return nil
	}
	for _, c := range append(append(slices.Clone(old), fit[1:]...), r.elsewhere(t.Name)...) {
		switch {
		case c.Name != t.ContainerName:
		case c.up() && c.Service != t.Name:
			return nil // it is on its way out
		default:
			return []Action{{
				Verb: VerbRename, Service: c.Service, Container: c,
				NewName: RetiredName(t.ContainerName, c.ID),
				Reason:  "makes room for the container that takes over its name",
			}}
		}
	}
	return []Action{{Verb: VerbRename, Service: t.Name, Container: fit[0], NewName: t.ContainerName, Reason: "container_name of the Compose file"}}
}

// elsewhere are the containers of services other than the given one that go
// away.
func (r *rollout) elsewhere(service string) []Container {
	return slices.DeleteFunc(slices.Clone(r.in.Containers), func(c Container) bool {
		t, ok := r.targets[c.Service]
		return c.Service == service || ok && t.Action != v1alpha1.ActionRemove || !ok && !(r.in.Undo && c.Mine)
	})
}

// RetiredName is the name of a container that gave its own name away.
func RetiredName(name, id string) string {
	return name + "-retired-" + id[:min(8, len(id))]
}
