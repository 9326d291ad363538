// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// The ways in which no connection comes about.
var (
	// ErrNoTarget is that the service has no active target.
	ErrNoTarget = errors.New("the service has no target")
	// ErrConnect is that no target could be connected to in time.
	ErrConnect = errors.New("no target of the service can be connected to")
)

// dialTimeout bounds one attempt, so that an address that swallows packets leaves time for others.
const dialTimeout = 2 * time.Second

// longDial is longer than connections to containers of this host take. Only for those that take longer it is
// worthwhile to look whether they are wanted still.
const longDial = 20 * time.Millisecond

// Pauses between rounds of attempts.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

// Dial connects to a port of a target that the pool chooses for a client. It tries all
// targets, and all again as the pool changes, until the service's ConnectTimeout: a
// container that is just being restarted, or a bad one that is about to be switched
// back from, costs a request time and nothing else. Holds are waited for, with bytes
// as for Wait. Those in avoid are tried last. An error is ErrNoTarget, ErrConnect, or one
// of Wait.
func (p *Pool) Dial(ctx context.Context, port int, client netip.Addr, bytes int, avoid []*Target) (*Conn, error) {
	var deadline time.Time
	tried := avoid
	pause := firstPause
	for {
		s := p.snapshot()
		if s.held() {
			if err := p.wait(ctx, s, int64(bytes)); err != nil {
				return nil, err
			}
			tried = nil
			continue
		}
		t := p.pick(s, client, tried)
		if t == nil && len(avoid) > 0 {
			avoid, tried = nil, nil // there are no others
			t = p.pick(s, client, nil)
		}
		if t != nil {
			c, err := t.dial(ctx, port)
			if err == nil {
				return c, nil
			}
			tried = append(slices.Clip(tried), t)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		} else if len(s.active) == 0 {
			return nil, ErrNoTarget
		}
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(p.ConnectTimeout())
		}
		if t != nil && len(tried) < len(s.active) {
			continue
		}
		// All were tried.
		if !now.Before(deadline) {
			return nil, fmt.Errorf("%w: %s", ErrConnect, lastErrors(tried))
		}
		tried = nil
		timer := time.NewTimer(min(pause, time.Until(deadline)))
		select {
		case <-s.replaced:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
		pause = min(2*pause, lastPause)
	}
}

// ConnectTimeout bounds the attempts to connect, all together.
func (p *Pool) ConnectTimeout() time.Duration {
	return p.snapshot().service.ConnectTimeout.Or(defaultConnect)
}

func lastErrors(targets []*Target) error {
	var all []error
	for _, t := range targets {
		t.mu.Lock()
		all = append(all, fmt.Errorf("%.12s: %s", t.ID, t.lastError))
		t.mu.Unlock()
	}
	return errors.Join(all...)
}

func (t *Target) dial(ctx context.Context, port int) (*Conn, error) {
	tcp, err := t.Connect(ctx, port)
	if err != nil {
		return nil, err
	}
	c := &Conn{TCPConn: tcp, Port: port}
	if !t.lease(&c.Lease, leaseIdle, func() { tcp.Close() }) {
		tcp.Close()
		return nil, errors.New("the target began to drain")
	}
	return c, nil
}

// whileActive ends the context that it gives when the target is not active any more: the address of a
// container that died swallows packets, and who waits for it had better go where the traffic has gone meanwhile.
func (t *Target) whileActive(ctx context.Context) (context.Context, context.CancelFunc) {
	if !contains(t.pool.snapshot().active, t) {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	watch := time.AfterFunc(longDial, func() {
		for s := t.pool.snapshot(); contains(s.active, t); s = t.pool.snapshot() {
			select {
			case <-s.replaced:
			case <-ctx.Done():
				return
			}
		}
		cancel()
	})
	return ctx, func() { watch.Stop(); cancel() }
}

// Connect connects to this target, whatever its state, for who has a Lease of it. It tries its
// addresses; if none takes the connection its name is asked for again, and what is new is tried. It gives
// up when the target stops to be active meanwhile.
func (t *Target) Connect(ctx context.Context, port int) (*net.TCPConn, error) {
	ctx, cancel := t.whileActive(ctx)
	defer cancel()
	t.lastPort.Store(int32(port))
	addrs := *t.addrs.Load()
	tcp, err := dialAny(ctx, addrs, port)
	if err != nil && ctx.Err() == nil {
		if fresh := t.resolveAgain(ctx, addrs); len(fresh) > 0 {
			tcp, err = dialAny(ctx, fresh, port)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			t.refusedOnce(err, port, int32(orDefault(int64(t.failing()), defaultFailing)))
		}
		return nil, err
	}
	t.connected(port)
	return tcp, nil
}

func (t *Target) failing() int {
	if p := t.pool.snapshot().service.Probe; p != nil {
		return p.Failing
	}
	return 0
}

var (
	errUnresolved  = errors.New("its name has no address")
	errHealthcheck = errors.New("its healthcheck fails, says the engine")
)

func dialAny(ctx context.Context, addrs []netip.Addr, port int) (*net.TCPConn, error) {
	err := errUnresolved
	dialer := net.Dialer{Timeout: dialTimeout}
	for _, a := range addrs {
		var c *net.TCPConn
		if c, err = dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, netip.AddrPortFrom(a, uint16(port))); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// Use is a lease for a use of a target that is not one connection of TCP: cut ends it. It waits
// for holds as Dial does. Those in tried are taken only if there is no other.
func (p *Pool) Use(ctx context.Context, client netip.Addr, tried []*Target, cut func()) (*Lease, error) {
	for {
		if err := p.Wait(ctx, 0); err != nil {
			return nil, err
		}
		s := p.snapshot()
		t := p.pick(s, client, tried)
		if t == nil && len(tried) > 0 {
			t = p.pick(s, client, nil)
		}
		if t == nil {
			return nil, ErrNoTarget
		}
		l := &Lease{}
		if !t.lease(l, leaseLong, cut) {
			continue
		}
		if p.Held() { // since just now: who did that may not have seen this
			l.End()
			continue
		}
		return l, nil
	}
}
