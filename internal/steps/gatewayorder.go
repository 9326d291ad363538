// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

// tellGateways puts where traffic goes, one gateway after the other. It needs the lock. What a gateway knows already is not put.
//
// Between two of them a new container may be asked that asks a service of which the old containers still have the traffic. So
// services come after those that they depend on, as when they start; on the way back before them.
func (e *executor) tellGateways(ctx context.Context) error {
	g := e.gw
	routes := e.routes()
	for _, name := range e.telling() {
		b := g.there[name]
		if !b.answers {
			continue
		}
		if err := g.put(ctx, b, layout.State(b.Box.Box, routes, g.settings)); err != nil {
			// Not by what the error is: that one of a gateway does not answer is no engine that is away.
			return fmt.Errorf("tell the gateway %s where traffic goes: %v", name, err)
		}
	}
	clear(g.unsettled)
	return nil
}

// telling is the order in which gateways are told of this executor's switches. It needs the lock.
func (e *executor) telling() []string {
	names := e.gw.order()
	if e.in.Undo {
		slices.Reverse(names)
	}
	return names
}

// order is that in which gateways are told: those with names before those with ports, where what comes in begins, and each
// after those of what its services depend on.
func (g *gatewayRun) order() []string {
	return slices.SortedFunc(maps.Keys(g.there), func(a, b string) int {
		one, other := g.there[a], g.there[b]
		switch {
		case one.Front && !other.Front:
			return 1
		case other.Front && !one.Front:
			return -1
		}
		return cmp.Or(g.depth(one.Box.Box)-g.depth(other.Box.Box), cmp.Compare(a, b))
	})
}

// depth is that of the deepest service of a gateway.
func (g *gatewayRun) depth(b layout.Box) int {
	deepest := 0
	for _, owners := range b.Owners {
		for _, service := range owners {
			deepest = max(deepest, g.depths[service])
		}
	}
	for _, p := range b.Publish {
		deepest = max(deepest, g.depths[p.Service])
	}
	return deepest
}
