// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

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
	transfers atomic.Int64
	left      atomic.Int64
	lastPort  atomic.Int32
	refused   atomic.Int32 // connections in a row
	answered  sync.Map     // ports on which a connection was made before
	proven    atomic.Bool  // that it is unhealthy is no mistake about a port

	stop  chan struct{} // closed when the target is forgotten
	look  chan struct{} // asks for a look at its name and health now
	extra sync.Map      // what users of the target keep with it, by key

	mu        sync.Mutex
	host      string
	listed    []netip.Addr // the addresses of the state
	missing   int          // answers in a row that the name does not exist
	lastError string
	since     time.Time // when it became draining
	entered   int       // how many states it has been in
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
	cutAll(lost, anyUse)
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

func cutAll(leases []*Lease, which uses) {
	for _, l := range leases {
		l.cutOff(which)
	}
}

// deadlines are how long a target that drains may go on with what it has.
type deadlines struct{ drain, transfer, longLived time.Duration }

func deadlinesOf(s *gatewayapi.Service) deadlines {
	return deadlines{s.DrainTimeout.Or(defaultDrain), s.TransferTimeout.Or(defaultTransfer), s.LongLivedDeadline.Or(defaultLongLived)}
}

// enter changes the state, with what follows from it.
func (t *Target) enter(state int32, by deadlines) {
	if t.state.Swap(state) == state {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, timer := range t.timers {
		timer.Stop()
	}
	t.timers = nil
	t.entered++
	t.since = time.Time{}
	if state != stateDraining {
		for l := range t.leases {
			l.takeBack()
		}
		return
	}
	t.since = time.Now()
	entered := t.entered // a timer that was stopped too late is not for the next time that it drains
	after := func(d time.Duration, which uses) {
		t.timers = append(t.timers, time.AfterFunc(d, func() { t.cut(which, entered) }))
	}
	after(by.drain, usesOf(leaseIdle, leaseBusy))
	after(by.transfer, usesOf(leaseTransfer))
	after(by.longLived, usesOf(leaseLong, leaseEndless))
	// A request may become something else when the time for that is over.
	after(max(by.drain, by.transfer, by.longLived), anyUse&^byteUse)
	t.timers = append(t.timers, time.AfterFunc(by.longLived, func() { t.leaveBytes(entered) }))
	go t.cut(usesOf(leaseIdle), entered) // closing takes a while; nobody waits for it
}

// cut ends what the target is used for, as far as it is one of some uses, unless it has gone into another
// state since it entered the one in which that was to be.
func (t *Target) cut(which uses, entered int) {
	t.mu.Lock()
	over := t.State() != stateDraining || t.entered != entered
	leases := slices.Collect(maps.Keys(t.leases))
	t.mu.Unlock()
	if !over {
		t.cutThese(leases, which)
	}
}

func (t *Target) cutThese(leases []*Lease, which uses) {
	t.eachKept(func(v any) {
		if c, ok := v.(Closer); ok {
			c.CloseIdleConnections()
		}
	})
	cutAll(leases, which)
}

// leaveBytes leaves connections of bytes to the target's own end, unless it has gone into another state.
func (t *Target) leaveBytes(entered int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.State() != stateDraining || t.entered != entered {
		return
	}
	for l := range t.leases {
		l.leave()
	}
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
	case leaseLeft:
		t.left.Add(-1)
	case leaseEndless, leaseBytes:
		t.endless.Add(-1)
		fallthrough
	case leaseLong:
		t.longLived.Add(-1)
		t.inFlight.Add(-1)
	case leaseTransfer:
		t.transfers.Add(-1)
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

// refusedOnce says that a connection to a port could not be made. A port on which nothing ever
// listened says nothing of a target that answers on others, and that the gateway has no socket left nothing
// of any.
func (t *Target) refusedOnce(err error, port int, failing int32) {
	t.errors.Add(1)
	t.note(err)
	if ownFault(err) {
		return
	}
	_, proven := t.answered.Load(port)
	if !proven && t.hasAnswered() {
		return
	}
	if t.refused.Add(1) >= failing {
		t.turn(healthBad, proven, err)
	}
	t.lookNow()
}

// ownFault reports whether a connection failed for what this side of it lacks: ports, descriptors, memory.
func ownFault(err error) bool {
	return slices.ContainsFunc([]error{unix.EADDRNOTAVAIL, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM}, func(fault error) bool {
		return errors.Is(err, fault)
	})
}

func (t *Target) hasAnswered() (yes bool) {
	t.answered.Range(func(any, any) bool { yes = true; return false })
	return yes
}

// turn sets the health, and tells of it if it changed.
func (t *Target) turn(health int32, proven bool, err error) {
	if t.health.Swap(health) == health {
		return
	}
	t.proven.Store(proven)
	if t.pool.env.Changed == nil {
		return
	}
	change := gatewayapi.TargetChange{Service: t.pool.Name, Target: t.ID, Health: gatewayapi.TargetHealthy}
	if health == healthBad {
		change.Health, change.Proven, change.Error = gatewayapi.TargetUnhealthy, proven, err.Error()
	}
	t.pool.env.Changed(change)
}

func (t *Target) connected(port int) {
	if _, known := t.answered.Load(port); !known {
		t.answered.Store(port, true)
	}
	if t.refused.Load() != 0 {
		t.refused.Store(0)
	}
	if t.health.Load() != healthGood && t.pool.snapshot().service.Probe == nil {
		t.turn(healthGood, true, nil)
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
		OpenConnections: t.open.Load() - t.left.Load(), InFlight: t.inFlight.Load(), LongLived: t.longLived.Load(), Endless: t.endless.Load(),
		Transfers: t.transfers.Load(), Left: t.left.Load(),
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
	case t.pool.env.Marks.Has(t.ID):
		s.Health, s.LastError = gatewayapi.TargetUnhealthy, errHealthcheck.Error()
	case health == healthGood:
		s.Health = gatewayapi.TargetHealthy
	case health == healthBad:
		s.Health = gatewayapi.TargetUnhealthy
	}
	t.mu.Lock()
	s.LastError, s.DrainingSince = cmp.Or(s.LastError, t.lastError), t.since
	t.mu.Unlock()
	return s
}
