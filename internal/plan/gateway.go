// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Gateway is one gateway container of the application: one that is to be there,
// one that is there, or both.
type Gateway struct {
	Name string
	// Front says that it publishes ports of the host; the others have the
	// services' names.
	Front bool
	// Wanted says that it is to be there.
	Wanted bool
	// Up says that it runs, as it is wanted if it is.
	Up bool
	// GivenUp says, going back, that it cannot be opened: the others do not wait for it.
	GivenUp bool
	// BlockedBy are the IDs of running containers that have its ports.
	BlockedBy []string
	// Replaces are the names of gateways, wanted no more, whose ports or names it takes over when it is opened.
	Replaces []string
}

// openInner opens what has names, before anything else: nothing stands in its way,
// and what is started needs the names.
func (r *rollout) openInner() []Action {
	var actions []Action
	for _, g := range r.in.Gateways {
		if g.Wanted && !g.Up && !g.Front && !g.GivenUp {
			actions = append(actions, Action{Verb: VerbOpen, Gateway: g.Name, Reason: "answers to the names of services"})
		}
	}
	return actions
}

// openFronts lets gateways have the ports of the host, once their successors are
// ready: what publishes them is stopped as late as possible.
func (r *rollout) openFronts() []Action {
	var stops, opens []Action
	for _, g := range r.in.Gateways {
		if !g.Wanted || g.Up || !g.Front || g.GivenUp {
			continue
		}
		blocked := slices.DeleteFunc(slices.Clone(r.in.Containers), func(c Container) bool {
			return !slices.Contains(g.BlockedBy, c.ID) || !c.up()
		})
		for _, c := range blocked {
			t := r.targets[c.Service]
			t.Name = c.Service
			stops = append(stops, retire(t, []Container{c}, "gives its ports of the host to the gateway")...)
		}
		if len(blocked) == 0 {
			reason := "publishes the ports of the host"
			if len(g.Replaces) > 0 {
				reason = "publishes those ports of the host that are still wanted"
			}
			opens = append(opens, Action{Verb: VerbOpen, Gateway: g.Name, Reason: reason})
		}
	}
	if len(stops) > 0 {
		return stops
	}
	return opens
}

// unblock takes from gateways the ports that containers of t are to publish
// themselves.
func (r *rollout) unblock(t Target) []Action {
	var actions []Action
	for _, g := range r.in.Gateways {
		if !slices.Contains(t.BlockedBy, g.Name) || g.Wanted == g.Up || g.GivenUp {
			continue // it is as it is to be
		}
		a := Action{Verb: VerbClose, Gateway: g.Name, Reason: "gives ports of the host to " + t.Name}
		if g.Wanted {
			a.Verb = VerbOpen // anew, without the port
		} else if next := r.successor(g.Name); next != "" {
			a.Verb, a.Gateway, a.Reason = VerbOpen, next, "publishes what "+g.Name+" does, without the ports of "+t.Name
		}
		actions = append(actions, a)
	}
	return actions
}

// successor is the gateway that takes over the ports of another one and is yet to be opened; "" if none is.
func (r *rollout) successor(name string) string {
	for _, g := range r.in.Gateways {
		if g.Wanted && !g.Up && !g.GivenUp && slices.Contains(g.Replaces, name) {
			return g.Name
		}
	}
	return ""
}

// closeRest ends gateways that nothing needs any more.
func (r *rollout) closeRest() []Action {
	var actions []Action
	for _, g := range r.in.Gateways {
		if !g.Wanted && g.Up {
			actions = append(actions, Action{Verb: VerbClose, Gateway: g.Name, Reason: "nothing is behind it any more"})
		}
	}
	return actions
}

// toSwitch reports whether the traffic of t has yet to come to its ready
// containers.
func (r *rollout) toSwitch(t Target) bool {
	if !t.Gateway || t.Action == v1alpha1.ActionRemove || r.broken(t.Name) != "" {
		return false
	}
	serve := r.serve(t)
	if len(serve) == 0 {
		return false // nothing is there that could take it
	}
	return r.in.Held[t.Name] || r.in.Unsettled[t.Name] || slices.ContainsFunc(r.have[t.Name], func(c Container) bool {
		wanted := slices.ContainsFunc(serve, func(s Container) bool { return s.ID == c.ID })
		return wanted != c.Serving
	})
}

// alone reports whether traffic of t goes to its ready containers at once,
// without waiting for those of other services: where nothing serves meanwhile.
func (r *rollout) alone(t Target) bool {
	if t.Order == v1alpha1.OrderStopFirst {
		return true
	}
	_, old := r.split(t)
	return !slices.ContainsFunc(old, func(c Container) bool { return c.Serving && c.up() })
}

// switchAll moves the traffic of all services at once.
func (r *rollout) switchAll(targets []Target) []Action {
	var names []string
	for _, t := range targets {
		if r.toSwitch(t) {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []Action{r.switchOf("its containers, and those of all others, are ready", names...)}
}

func (r *rollout) switchOf(reason string, services ...string) Action {
	serve := map[string][]string{}
	for _, name := range services {
		for _, c := range r.serve(r.targets[name]) {
			serve[name] = append(serve[name], c.ID)
		}
	}
	return Action{Verb: VerbSwitch, Service: services[0], Services: services, Serve: serve, Reason: reason}
}

// hold lets requests to t wait before its last container is stopped.
func (r *rollout) hold(t Target, fit, kept, old []Container) []Action {
	serves := !others(fit, kept) && slices.ContainsFunc(old, func(c Container) bool { return c.Serving && c.up() && !c.Self })
	if !t.Gateway || r.in.Held[t.Name] || !serves {
		return nil
	}
	return []Action{{Verb: VerbHold, Service: t.Name, Reason: "two copies must not run at once"}}
}

// cold are the containers that need not be kept running for a way back.
func (r *rollout) cold(t Target, old []Container) []Container {
	if !r.in.Warm || !t.Gateway && !t.Follows {
		return old
	}
	return slices.DeleteFunc(slices.Clone(old), func(c Container) bool { return c.Warm })
}

// serial puts the targets into the order in which they are replaced one after
// another: dependencies first.
func serial(targets []Target) []Target {
	depth := Depths(targets)
	out := slices.Clone(targets)
	slices.SortStableFunc(out, func(a, b Target) int {
		if depth[a.Name] != depth[b.Name] {
			return depth[a.Name] - depth[b.Name]
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// Depths numbers services by their depth in the dependency graph, from 1: each has a higher number than those that it depends on.
func Depths(targets []Target) map[string]int {
	services := make([]Service, 0, len(targets))
	for _, t := range targets {
		services = append(services, t.Service)
	}
	return waves(services)
}
