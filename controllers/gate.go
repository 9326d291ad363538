// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// DefaultHandoverTimeout is how long the work on other requests may take to end
// before the daemon is replaced.
const DefaultHandoverTimeout = 10 * time.Minute

// Gate holds requests back while the daemon is being replaced: work that has
// begun goes on to its end, and what waits is for the next daemon. It is safe for
// concurrent use.
type Gate struct {
	timeout time.Duration
	clock   clock.WithTicker

	mu sync.Mutex
	// active are the requests that work; a request that waits is not.
	active map[types.NamespacedName]bool
	// replacing are those that wait for the others, or replace the daemon.
	replacing map[types.NamespacedName]bool
	// closed counts the reasons why nothing at all may begin.
	closed int
	held   map[types.NamespacedName]bool
	// changed is closed, and made anew, when active or replacing changes.
	changed chan struct{}
	wake    func(types.NamespacedName)
}

// NewGate returns an open Gate. A timeout of 0 or less is the default.
func NewGate(timeout time.Duration) *Gate {
	if timeout <= 0 {
		timeout = DefaultHandoverTimeout
	}
	return &Gate{
		timeout: timeout, clock: clock.RealClock{}, changed: make(chan struct{}),
		active: map[types.NamespacedName]bool{}, replacing: map[types.NamespacedName]bool{}, held: map[types.NamespacedName]bool{},
		wake: func(types.NamespacedName) {},
	}
}

// Hold lets no work begin until release is called.
func (g *Gate) Hold() (release func()) {
	g.mu.Lock()
	g.closed++
	g.mu.Unlock()
	return sync.OnceFunc(func() { g.open(func() { g.closed-- }) })
}

// Quiesce lets no request begin that has not, and waits until the others have
// ended or wait for something, at most for the timeout. After that no work begins
// at all until resume is called. It returns early only with the error of ctx.
func (g *Gate) Quiesce(ctx context.Context, request types.NamespacedName) (resume func(), err error) {
	g.mu.Lock()
	g.replacing[request] = true
	g.notify()
	g.mu.Unlock()
	over := g.clock.NewTimer(g.timeout)
	defer over.Stop()
	for late := false; ; {
		g.mu.Lock()
		if late || g.quiet() {
			g.closed++
			g.mu.Unlock()
			return sync.OnceFunc(func() { g.open(func() { g.closed--; delete(g.replacing, request) }) }), nil
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-over.C():
			late = true
		case <-ctx.Done():
			g.open(func() { delete(g.replacing, request) })
			return nil, context.Cause(ctx)
		}
	}
}

// quiet reports whether nobody works who does not replace the daemon.
func (g *Gate) quiet() bool {
	for request := range g.active {
		if !g.replacing[request] {
			return false
		}
	}
	return true
}

// enter reports whether a step of the request may begin. begun says that an
// earlier one was.
func (g *Gate) enter(request types.NamespacedName, begun bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed > 0 || len(g.replacing) > 0 && !begun {
		g.held[request] = true
		return false
	}
	g.active[request] = true
	return true
}

// leave says that the request ended, or waits.
func (g *Gate) leave(request types.NamespacedName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active[request] {
		delete(g.active, request)
		g.notify()
	}
}

func (g *Gate) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// open applies a change and wakes all that were held back.
func (g *Gate) open(change func()) {
	g.mu.Lock()
	change()
	held := slices.Collect(maps.Keys(g.held))
	g.held = map[types.NamespacedName]bool{}
	g.notify()
	g.mu.Unlock()
	for _, request := range held {
		g.wake(request)
	}
}
