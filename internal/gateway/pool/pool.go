// SPDX-License-Identifier: Apache-2.0

// Package pool keeps the targets of a service: which of them gets the next
// request, how long requests wait while the service is held, how targets are
// found and looked at, and how those that are not wanted any more drain.
package pool

import (
	"context"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// The defaults of a service, as gatewayapi documents them.
const (
	defaultDrain     = 30 * time.Second
	defaultLongLived = 5 * time.Minute
	defaultTransfer  = 10 * time.Minute
	defaultConnect   = 5 * time.Second
	defaultFailing   = 3
	defaultPassing   = 2
	defaultProbe     = 2 * time.Second
)

// Environment is what pools need of the world.
type Environment struct {
	// Resolve gives the addresses of a name. An error for which notFound is true says
	// that there is no such name; any other that nobody knows.
	Resolve func(ctx context.Context, host string) (addrs []netip.Addr, notFound bool, err error)
	// ResolveEvery is the time between two looks at a name. 1 s by default.
	ResolveEvery time.Duration
	// Log gets what changes with targets.
	Log logr.Logger
	// Marks are the targets that somebody else calls unhealthy. nil for none.
	Marks *Marks
	// Changed, if set, is called when the health of a target changed. It must not block.
	Changed func(gatewayapi.TargetChange)
}

// Pool is the targets of one service. It lives as long as states have the service.
type Pool struct {
	// Name is the service's.
	Name string
	// Stats counts what goes through the pool.
	Stats Stats

	env    *Environment
	now    atomic.Pointer[snapshot]
	rotate atomic.Uint32
	born   time.Time
	moved  atomic.Int64 // when Crowded moved the last connection, since born
	hold   holdRoom
	seed   maphash.Seed
	http   sync.Map // whether HTTP is spoken, by port

	mu      sync.Mutex
	targets map[string]*Target
	order   []*Target // those of the state, in its order
	watches sync.WaitGroup
}

// snapshot is the state that a pool is in. It is never changed, only replaced.
type snapshot struct {
	service  gatewayapi.Service
	active   []*Target
	replaced chan struct{} // closed when another one is in force
}

// New is an empty pool.
func New(name string, env *Environment) *Pool {
	p := &Pool{Name: name, env: env, targets: map[string]*Target{}, seed: maphash.MakeSeed(), born: time.Now()}
	p.now.Store(&snapshot{replaced: make(chan struct{})})
	return p
}

func (p *Pool) snapshot() *snapshot { return p.now.Load() }

// Change is a state that is ready to be swapped in.
type Change struct {
	pool     *Pool
	snapshot *snapshot
	order    []*Target
	fresh    []*Target
	states   []int32
	wants    []gatewayapi.Target
	fromFile bool
}

// Prepare makes a state ready. Nothing that is served changes until Swap, which must follow
// before the next Prepare. fromFile says that the state may be old.
func (p *Pool) Prepare(service *gatewayapi.Service, fromFile bool) *Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &Change{pool: p, snapshot: &snapshot{service: *service, replaced: make(chan struct{})}, wants: service.Targets, fromFile: fromFile}
	for i := range service.Targets {
		want := &service.Targets[i]
		t := p.targets[want.ID]
		if t == nil {
			t = newTarget(p, want.ID)
			c.fresh = append(c.fresh, t)
		}
		t.mu.Lock()
		t.gone = false // its last connection may end before Swap
		t.mu.Unlock()
		state := stateActive
		switch want.State {
		case gatewayapi.TargetStandby:
			state = stateStandby
		case gatewayapi.TargetDraining:
			state = stateDraining
		}
		if state == stateActive {
			c.snapshot.active = append(c.snapshot.active, t)
		}
		c.order = append(c.order, t)
		c.states = append(c.states, state)
	}
	return c
}

// Swap puts the state in force.
func (c *Change) Swap() {
	p := c.pool
	by := deadlinesOf(&c.snapshot.service)
	p.mu.Lock()
	for _, t := range c.fresh {
		p.targets[t.ID] = t
	}
	for i, t := range c.order {
		t.set(&c.wants[i], c.fromFile)
	}
	// Those that are to be used first, so that whoever sees the new state can use them;
	// then the state; then those that are not to be used.
	for i, t := range c.order {
		if c.states[i] == stateActive {
			t.enter(stateActive, by)
		}
	}
	old := p.now.Swap(c.snapshot)
	kept := map[*Target]bool{}
	for i, t := range c.order {
		kept[t] = true
		t.enter(c.states[i], by)
	}
	p.order = c.order
	for _, t := range p.targets {
		if !kept[t] {
			p.drop(t, by)
		}
	}
	p.mu.Unlock()
	close(old.replaced)
	for _, t := range c.fresh {
		p.watches.Go(func() { t.watch() })
	}
}

// drop drains a target that is not part of the state any more. p is locked.
func (p *Pool) drop(t *Target, by deadlines) {
	t.enter(stateDraining, by)
	t.mu.Lock()
	t.gone = true
	over := len(t.leases) == 0
	t.mu.Unlock()
	if over {
		p.remove(t)
	}
}

// bury removes a target that is gone when its last connection has ended.
func (p *Pool) bury(t *Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.mu.Lock()
	over := t.gone && len(t.leases) == 0
	t.mu.Unlock()
	if over {
		p.remove(t)
	}
}

// remove forgets a target. p is locked.
func (p *Pool) remove(t *Target) {
	if p.targets[t.ID] != t {
		return
	}
	delete(p.targets, t.ID)
	close(t.stop)
	t.eachKept(func(v any) {
		if c, ok := v.(Closer); ok {
			c.CloseIdleConnections()
		}
	})
}

// Close drains everything: the service is not part of the state any more.
func (p *Pool) Close() {
	last := p.snapshot().service
	last.Targets = nil
	last.Hold = gatewayapi.Hold{}
	p.Prepare(&last, false).Swap()
}

// Cut cuts off everything that is connected, and forgets it: the process ends.
func (p *Pool) Cut() {
	p.Close()
	p.mu.Lock()
	targets := slices.Collect(maps.Values(p.targets))
	p.mu.Unlock()
	for _, t := range targets {
		t.mu.Lock()
		leases := slices.Collect(maps.Keys(t.leases))
		t.mu.Unlock()
		t.cutThese(leases, anyUse)
	}
}

// Has says whether a target is or was one of the pool's.
func (p *Pool) Has(t *Target) bool { return t.pool == p }

// Usable says whether a target that a connection has used is to get the next request too.
func (p *Pool) Usable(t *Target) bool {
	if t.State() != stateActive {
		return false
	}
	s := p.snapshot()
	if s.held() {
		return false
	}
	worth := t.worth()
	return worth == worthAny || !slices.ContainsFunc(s.active, func(u *Target) bool { return u.worth() > worth })
}

// moveEvery is the shortest time between two connections that Crowded moves: one that has just
// come back is not met by all at once.
const moveEvery = 10 * time.Millisecond

// Crowded says whether the next request of a connection to t had better go to another target, to which far
// fewer are open: one that came back, or came first, would get nothing from clients that keep their
// connections. Whoever gets true is to move.
func (p *Pool) Crowded(t *Target) bool {
	s := p.snapshot()
	if len(s.active) < 2 || s.service.Balance == gatewayapi.BalanceSource {
		return false
	}
	mine := t.open.Load()
	for _, u := range s.active {
		if u == t || mine-u.open.Load() <= max(2, mine/4) || !u.usable() {
			continue
		}
		now, last := int64(time.Since(p.born)), p.moved.Load()
		return now-last >= int64(moveEvery) && p.moved.CompareAndSwap(last, now)
	}
	return false
}

// pick chooses a target among those that are not in tried: a healthy one if there is one.
func (p *Pool) pick(s *snapshot, client netip.Addr, tried []*Target) *Target {
	n := len(s.active)
	if n == 0 {
		return nil
	}
	var first int
	switch s.service.Balance {
	case gatewayapi.BalanceSource:
		b := client.As16()
		first = int(maphash.Bytes(p.seed, b[:]) % uint64(n))
	case gatewayapi.BalanceRandomTwo:
		if t := s.ofTwo(tried); t != nil {
			return t
		}
		first = rand.IntN(n)
	default:
		first = int(p.rotate.Add(1) % uint32(n))
	}
	var best *Target
	var bestOpen int64
	for least := worthAny; least >= worthLast; least-- {
		for i := range n {
			t := s.active[(first+i)%n]
			if contains(tried, t) || t.worth() < least {
				continue
			}
			if s.service.Balance != gatewayapi.BalanceLeastConnections && s.service.Balance != "" {
				return t
			}
			if open := t.open.Load(); best == nil || open < bestOpen {
				best, bestOpen = t, open
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// ofTwo is the one with fewer connections of two targets that are chosen at random; nil if that finds none
// that can be used.
func (s *snapshot) ofTwo(tried []*Target) *Target {
	n := len(s.active)
	i := rand.IntN(n)
	a, b := s.active[i], s.active[i]
	if n > 1 {
		b = s.active[(i+1+rand.IntN(n-1))%n]
	}
	good := func(t *Target) bool { return t.usable() && !contains(tried, t) }
	switch {
	case good(a) && (!good(b) || a.open.Load() <= b.open.Load()):
		return a
	case good(b):
		return b
	}
	return nil
}

// usable says that nothing bad is known of the target.
func (t *Target) usable() bool { return t.worth() == worthAny }

// What targets are worth: one is used only where there is none that is worth more.
const (
	worthLast    = iota // does not answer, or fails its probe
	worthDoubted        // is said to be unhealthy
	worthAny            // nothing bad is known of it
)

func (t *Target) worth() int {
	switch {
	case t.health.Load() == healthBad || len(*t.addrs.Load()) == 0:
		return worthLast
	case t.pool.env.Marks.Has(t.ID):
		return worthDoubted
	default:
		return worthAny
	}
}

func contains(list []*Target, t *Target) bool {
	for _, x := range list {
		if x == t {
			return true
		}
	}
	return false
}

// Status is how it goes with the service.
func (p *Pool) Status() gatewayapi.ServiceStatus {
	s := p.Stats.status()
	s.Name = p.Name
	s.Held = p.hold.waiting.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := map[*Target]bool{}
	for _, t := range p.order {
		listed[t] = true
		s.Targets = append(s.Targets, t.status())
	}
	for _, t := range p.targets {
		if !listed[t] {
			s.Targets = append(s.Targets, t.status())
		}
	}
	return s
}

// HTTP is where is noted whether targets have spoken HTTP on a port.
func (p *Pool) HTTP(port int) *atomic.Bool {
	v, _ := p.http.LoadOrStore(port, &atomic.Bool{})
	return v.(*atomic.Bool)
}

// Unhealthy are the targets that are so now.
func (p *Pool) Unhealthy() []gatewayapi.TargetChange {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []gatewayapi.TargetChange
	for _, t := range p.targets {
		if t.health.Load() != healthBad {
			continue
		}
		t.mu.Lock()
		out = append(out, gatewayapi.TargetChange{
			Service: p.Name, Target: t.ID, Health: gatewayapi.TargetUnhealthy, Proven: t.proven.Load(), Error: t.lastError,
		})
		t.mu.Unlock()
	}
	return out
}
