// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// partition sorts the services that are to change: own is the one that the
// daemon runs in, nil if it does not change or is not to run any more; others
// come before it; behind are those that cannot, as they live in its namespaces,
// or depend on one that does.
func (r *rollout) partition() (own *Target, others, behind []Target) {
	name := ownService(r.in.Containers)
	for _, t := range r.in.Targets {
		switch {
		case t.Action == v1alpha1.ActionKeep:
		case t.Name == name && t.Action != v1alpha1.ActionRemove && t.Replicas > 0:
			own, r.own = &t, t.Name
		default:
			others = append(others, t)
		}
	}
	if own == nil {
		return nil, others, nil
	}
	after := map[string]bool{}
	for grown := true; grown; {
		grown = false
		for _, t := range others {
			if !after[t.Name] && r.isBehind(t, after) {
				after[t.Name], grown = true, true
			}
		}
	}
	for _, t := range others {
		if after[t.Name] {
			behind = append(behind, t)
		}
	}
	others = slices.DeleteFunc(others, func(t Target) bool { return after[t.Name] })
	return own, others, behind
}

func (r *rollout) isBehind(t Target, after map[string]bool) bool {
	return slices.ContainsFunc(t.ties(), func(s string) bool { return s == r.own || after[s] }) ||
		slices.ContainsFunc(t.DependsOn, func(d Dependency) bool { return after[d.Service] })
}

// handOver replaces the container that the daemon itself runs in. That ends the
// daemon, so it comes when nothing else is left; the daemon in the new container
// asks again, and is told what is left then.
func (r *rollout) handOver(t Target) (actions []Action, ready bool) {
	fit, old := r.split(t)
	i := slices.IndexFunc(fit, func(c Container) bool { return c.Self })
	if i >= 0 {
		self := fit[i]
		if !r.ready(self) {
			return []Action{{Verb: VerbGate, Service: t.Name, Container: self, Reason: "runs, not known to be ready yet"}}, false
		}
		if stops := retire(t, slices.Concat(old, fit), "the daemon runs in its successor"); len(stops) > 0 {
			return stops, false
		}
		if r.in.Undo {
			if gone := removeMine(t, old); len(gone) > 0 {
				return gone, false
			}
		}
		return r.rename(t, []Container{self}, old), true
	}
	switch {
	case r.broken(t.Name) != "":
		return nil, true // nothing can take the place of what runs
	case len(fit) == 0:
		return []Action{{Verb: VerbCreate, Service: t.Name, Count: 1, Reason: "has no container of this revision yet"}}, false
	case fit[0].Failed != "":
		return nil, true // told when all else is back
	}
	return []Action{{Verb: VerbHandOver, Service: t.Name, Container: fit[0], Reason: "takes the place of the daemon itself, as all else is done"}}, false
}
