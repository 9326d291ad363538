// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// States of a target.
const (
	stateActive int32 = iota
	stateStandby
	stateDraining
)

// Healths of a target.
const (
	healthUnknown int32 = iota
	healthGood
	healthBad
)

// Target is one container, from the first state that has it until nothing is
// connected to it any more.
type Target struct {
	// ID is the container's.
	ID   string
	pool *Pool

	state    atomic.Int32
	health   atomic.Int32
	addrs    atomic.Pointer[[]netip.Addr]
	requests atomic.Int64
	errors   atomic.Int64
	// What is connected now.
	open      atomic.Int64
	inFlight  atomic.Int64
	longLived atomic.Int64
	endless   atomic.Int64
	lastPort  atomic.Int32
	refused   atomic.Int32 // connections in a row

	stop  chan struct{} // closed when the target is forgotten
	look  chan struct{} // asks for a look at its name and health now
	extra sync.Map      // what users of the target keep with it, by key

	mu        sync.Mutex
	host      string
	listed    []netip.Addr // the addresses of the state
	missing   int          // answers in a row that the name does not exist
	lastError string
	since     time.Time // when it became draining
	gone      bool      // is not part of the state any more
	timers    []*time.Timer
	leases    map[*Lease]struct{}

	resolving  sync.Mutex
	resolvedAt time.Time // guarded by resolving
}

func newTarget(p *Pool, id string) *Target {
	t := &Target{ID: id, pool: p, leases: map[*Lease]struct{}{}, stop: make(chan struct{}), look: make(chan struct{}, 1)}
	t.addrs.Store(&[]netip.Addr{})
	t.state.Store(stateStandby)
	return t
}

// State is stateActive, stateStandby or stateDraining.
func (t *Target) State() int32 { return t.state.Load() }

// Active says that the target gets new requests.
func (t *Target) Active() bool { return t.State() == stateActive }

// Keep gives what is kept with the target under a key, made by the first who asks.
func (t *Target) Keep(key any, first func() any) any {
	if v, ok := t.extra.Load(key); ok {
		return v
	}
	v, _ := t.extra.LoadOrStore(key, first())
	return v
}

// eachKept calls f with everything that is kept with the target.
func (t *Target) eachKept(f func(any)) {
	t.extra.Range(func(_, v any) bool { f(v); return true })
}

// Closer is what may be kept with a target and wants to know that it drains.
type Closer interface{ CloseIdleConnections() }

// set brings the target to what the state says. fromFile says that the addresses may be
// those of another container by now.
func (t *Target) set(want *gatewayapi.Target, fromFile bool) {
	t.mu.Lock()
	listed := make([]netip.Addr, 0, len(want.Addresses))
	for _, a := range want.Addresses {
		if addr, err := netip.ParseAddr(a); err == nil {
			listed = append(listed, addr.Unmap())
		}
	}
	moved := t.host != want.Host || !slices.Equal(t.listed, listed)
	t.host, t.listed, t.gone = want.Host, listed, false
	var lost []*Lease
	if moved && !(fromFile && t.host != "") {
		t.missing = 0
		lost = t.move(listed)
	}
	t.mu.Unlock()
	cutAll(lost, leaseEndless)
	if moved {
		t.lookNow()
	}
}

// move gives the target other addresses, and what is bound to one that it has no more, to be cut off when t is
// not locked any more. t is locked.
func (t *Target) move(addrs []netip.Addr) (lost []*Lease) {
	t.addrs.Store(&addrs)
	for l := range t.leases {
		if l.addr.IsValid() && !slices.Contains(addrs, l.addr) {
			lost = append(lost, l)
		}
	}
	return lost
}

func cutAll(leases []*Lease, upTo int32) {
	for _, l := range leases {
		l.cutOff(upTo)
	}
}

// enter changes the state, with what follows from it.
func (t *Target) enter(state int32, drain, longLived time.Duration) {
	if t.state.Swap(state) == state {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, timer := range t.timers {
		timer.Stop()
	}
	t.timers = nil
	t.since = time.Time{}
	if state != stateDraining {
		return
	}
	t.since = time.Now()
	t.timers = []*time.Timer{
		time.AfterFunc(drain, func() { t.cut(leaseBusy) }),
		time.AfterFunc(longLived, func() { t.cut(leaseEndless) }),
	}
	go t.cut(leaseIdle) // closing takes a while; nobody waits for it
}

// cut ends what the target is used for, up to a kind of use.
func (t *Target) cut(upTo int32) {
	if t.State() != stateDraining {
		return // it is back in use
	}
	t.mu.Lock()
	leases := make([]*Lease, 0, len(t.leases))
	for l := range t.leases {
		leases = append(leases, l)
	}
	t.mu.Unlock()
	t.eachKept(func(v any) {
		if c, ok := v.(Closer); ok {
			c.CloseIdleConnections()
		}
	})
	cutAll(leases, upTo)
}

// lease notes a use of the target that begins as use. It returns false if the
// target began to drain meanwhile.
func (t *Target) lease(l *Lease, use int32, cut func()) bool {
	l.target, l.cut = t, cut
	l.use.Store(use)
	t.mu.Lock()
	t.leases[l] = struct{}{}
	t.mu.Unlock()
	t.open.Add(1)
	if use != leaseIdle {
		t.inFlight.Add(1)
		t.requests.Add(1)
	}
	if use == leaseLong {
		t.longLived.Add(1)
	}
	if t.State() == stateDraining {
		l.End()
		return false
	}
	return true
}

func (t *Target) release(use int32) {
	switch use {
	case leaseEndless:
		t.endless.Add(-1)
		fallthrough
	case leaseLong:
		t.longLived.Add(-1)
		t.inFlight.Add(-1)
	case leaseBusy:
		t.inFlight.Add(-1)
	}
}

func (t *Target) forget(l *Lease) {
	t.mu.Lock()
	_, known := t.leases[l]
	delete(t.leases, l)
	over := t.gone && len(t.leases) == 0
	t.mu.Unlock()
	if known {
		t.open.Add(-1)
	}
	if over {
		t.pool.bury(t)
	}
}

// Broke says that a connection to the target failed after it was made.
func (t *Target) Broke(err error) {
	t.errors.Add(1)
	t.note(err)
	t.lookNow()
}

func (t *Target) note(err error) {
	t.mu.Lock()
	t.lastError = err.Error()
	t.mu.Unlock()
}

// refusedOnce says that a connection could not be made.
func (t *Target) refusedOnce(err error, failing int32) {
	t.errors.Add(1)
	t.note(err)
	if t.refused.Add(1) >= failing {
		t.health.Store(healthBad)
	}
	t.lookNow()
}

func (t *Target) connected() {
	if t.refused.Load() != 0 {
		t.refused.Store(0)
	}
	if t.health.Load() != healthGood && t.pool.snapshot().service.Probe == nil {
		t.health.Store(healthGood)
	}
}

func (t *Target) lookNow() {
	select {
	case t.look <- struct{}{}:
	default:
	}
}

func (t *Target) status() gatewayapi.TargetStatus {
	s := gatewayapi.TargetStatus{
		ID: t.ID, State: gatewayapi.TargetActive, Health: gatewayapi.TargetUnknown,
		OpenConnections: t.open.Load(), InFlight: t.inFlight.Load(), LongLived: t.longLived.Load(), Endless: t.endless.Load(),
		Requests: t.requests.Load(), Errors: t.errors.Load(),
	}
	t.eachKept(func(v any) {
		if c, ok := v.(interface{ OpenConnections() int64 }); ok {
			s.OpenConnections += c.OpenConnections()
		}
	})
	switch t.State() {
	case stateStandby:
		s.State = gatewayapi.TargetStandby
	case stateDraining:
		s.State = gatewayapi.TargetDraining
	}
	addrs := *t.addrs.Load()
	for _, a := range addrs {
		s.Addresses = append(s.Addresses, a.String())
	}
	switch health := t.health.Load(); {
	case len(addrs) == 0:
		s.Health = gatewayapi.TargetUnresolved
	case health == healthGood:
		s.Health = gatewayapi.TargetHealthy
	case health == healthBad:
		s.Health = gatewayapi.TargetUnhealthy
	}
	t.mu.Lock()
	s.LastError, s.DrainingSince = t.lastError, t.since
	t.mu.Unlock()
	return s
}
