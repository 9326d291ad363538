// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math"
	"slices"
)

// Tolerated is how many of a service's new containers may fail without the update
// failing: a part of them, and never all.
func Tolerated(replicas int, ratio float64) int {
	const rounding = 1e-9 // 0.1 of 10 is 1
	return max(0, min(int(math.Floor(ratio*float64(replicas)+rounding)), replicas-1))
}

// limit is how many new containers of t there may be now: all, or those that were watched and
// the next group. Going back after a failure is done at once.
func (r *rollout) limit(t Target, fit []Container) int {
	if r.in.Undo || t.Batch <= 0 || t.Batch >= t.Replicas || r.whole(t, fit) {
		return t.Replicas
	}
	return min(t.Replicas, t.Settled+t.Batch)
}

// whole reports whether all new containers of t are there and ready already.
func (r *rollout) whole(t Target, fit []Container) bool {
	n := 0
	for _, c := range fit {
		if r.ready(c) {
			n++
		}
	}
	return n >= t.Replicas
}

// first is the size of the first group, for which dependents wait.
func first(t Target) int {
	if t.Batch <= 0 {
		return t.Replicas
	}
	return min(t.Batch, t.Replicas)
}

// kept are the old containers of t that go on serving beside the new ones of the groups so far, and
// rest are the others.
func (r *rollout) kept(t Target, fit, old []Container) (kept, rest []Container) {
	n := t.Replicas - r.limit(t, fit)
	for _, c := range old {
		if n > 0 && c.up() && (c.Serving || !t.Gateway) && c.Failed == "" {
			kept = append(kept, c)
			n--
			continue
		}
		rest = append(rest, c)
	}
	return kept, rest
}

// shift sends the requests of old containers that are to be stopped to those that go on.
func (r *rollout) shift(t Target, fit, kept, rest []Container) []Action {
	if !others(fit, kept) || !slices.ContainsFunc(rest, func(c Container) bool { return c.Serving }) {
		return nil
	}
	var ids []string
	for _, c := range append(slices.Clone(fit), kept...) {
		if c.Serving {
			ids = append(ids, c.ID)
		}
	}
	return []Action{{
		Verb: VerbSwitch, Service: t.Name, Services: []string{t.Name}, Serve: map[string][]string{t.Name: ids},
		Reason: "the others serve while it is replaced",
	}}
}

// others reports whether something goes on serving while old containers are stopped.
func others(fit, kept []Container) bool {
	return len(kept) > 0 || slices.ContainsFunc(fit, func(c Container) bool { return c.Serving && c.up() })
}

// settle has the new containers of t watched, if others are still to come.
func (r *rollout) settle(t Target, fit []Container) []Action {
	limit := r.limit(t, fit)
	if limit >= t.Replicas {
		return nil
	}
	var ids []string
	for _, c := range fit[:min(len(fit), limit)] {
		if c.up() && c.Ready {
			ids = append(ids, c.ID)
		}
	}
	return []Action{{
		Verb: VerbSettle, Service: t.Name, Count: limit, Serve: map[string][]string{t.Name: ids},
		Reason: fmt.Sprintf("%d of %d are replaced, %d at once", limit, t.Replicas, t.Batch),
	}}
}

// tolerated reports whether a failed container is one of those that may fail.
func (r *rollout) tolerated(t Target) bool {
	n := 0
	for _, c := range r.have[t.Name] {
		if c.Failed != "" && r.fits(t, c) {
			n++
		}
	}
	return n <= t.Tolerate
}

// serve are the containers that the traffic of t goes to from now on.
func (r *rollout) serve(t Target) []Container {
	fit, old := r.split(t)
	kept, _ := r.kept(t, fit, old)
	out := slices.DeleteFunc(slices.Clone(fit[:min(len(fit), r.limit(t, fit))]), func(c Container) bool {
		return !c.up() || !c.Ready || c.Failed != ""
	})
	if len(out) == 0 {
		return nil // nothing new is there that could take it
	}
	return append(out, kept...)
}
