// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
)

// Uses of a target.
const (
	leaseIdle     int32 = iota // a connection that nothing goes over now
	leaseBusy                  // works on something that ends by itself
	leaseTransfer              // moves a body whose end is known
	leaseLong                  // works on something of which nobody knows when it ends
	leaseEndless               // works on something that nobody can wait for, such as a tunnel
	leaseBytes                 // passes bytes of which nobody here knows what they are
	leaseLeft                  // does so when its time is over: the end of the target ends it
	leaseEnded                 // is over, or has been cut off
)

// uses is a set of them.
type uses int32

func usesOf(all ...int32) (set uses) {
	for _, use := range all {
		set |= 1 << use
	}
	return set
}

var (
	anyUse = usesOf(leaseIdle, leaseBusy, leaseTransfer, leaseLong, leaseEndless, leaseBytes, leaseLeft)
	// byteUse is what only a target can end without breaking something off: its end, or TCP's look
	// whether the other side is there still, ends it here.
	byteUse = usesOf(leaseBytes, leaseLeft)
)

// Lease is one use of a target: a connection with what goes over it, a stream of
// HTTP/2 or a session of UDP. Whoever has one ends it. A target that drains
// ends idle ones at once and others at its deadlines, by cutting them off; but those that pass bytes
// are left to its own end, which alone knows where a request ends.
type Lease struct {
	target *Target
	use    atomic.Int32
	cut    func()
	addr   netip.Addr // that the use is bound to, if it is; guarded by the target
}

// Target is what is used.
func (l *Lease) Target() *Target { return l.target }

// Bind gives an address of the target, for a use that does not notice by itself when the target has it no
// more: then it is cut off, since another container may have it. It is invalid if the target has none.
func (l *Lease) Bind(ctx context.Context) netip.Addr {
	t := l.target
	if len(*t.addrs.Load()) == 0 {
		t.resolveAgain(ctx, nil)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if addrs := *t.addrs.Load(); len(addrs) > 0 {
		l.addr = addrs[0]
	}
	return l.addr
}

// Begin says that an idle connection is about to be used. If it returns false, the target
// has drained it, or the service is held: take another one.
func (l *Lease) Begin() bool {
	if !l.use.CompareAndSwap(leaseIdle, leaseBusy) {
		return false
	}
	l.target.inFlight.Add(1)
	// Who held the service and found nothing in flight has not seen this.
	if l.target.pool.Held() {
		l.Finish()
		return false
	}
	l.target.requests.Add(1)
	return true
}

// LongLived says that what the lease is used for may take long.
func (l *Lease) LongLived() {
	if l.use.CompareAndSwap(leaseBusy, leaseLong) {
		l.target.longLived.Add(1)
	} else if l.use.CompareAndSwap(leaseTransfer, leaseLong) {
		l.target.transfers.Add(-1)
		l.target.longLived.Add(1)
	}
}

// Transfer says that a body of some size is being moved.
func (l *Lease) Transfer() {
	if l.use.CompareAndSwap(leaseBusy, leaseTransfer) {
		l.target.transfers.Add(1)
	}
}

// Endless says that what the lease is used for has no end of its own.
func (l *Lease) Endless() {
	l.LongLived()
	if l.use.CompareAndSwap(leaseLong, leaseEndless) {
		l.target.endless.Add(1)
	}
}

// Bytes says that what the lease is used for are bytes that nobody here understands.
func (l *Lease) Bytes() {
	l.Endless()
	l.use.CompareAndSwap(leaseEndless, leaseBytes)
}

// leave says that the time of a use is over that only its target can end well: nobody waits for it any more.
func (l *Lease) leave() {
	if l.use.CompareAndSwap(leaseBytes, leaseLeft) {
		l.target.release(leaseBytes)
		l.target.left.Add(1)
	}
}

// takeBack says that a use which was left goes on as if it had never been.
func (l *Lease) takeBack() {
	if l.use.CompareAndSwap(leaseLeft, leaseBytes) {
		l.target.release(leaseLeft)
		l.target.inFlight.Add(1)
		l.target.longLived.Add(1)
		l.target.endless.Add(1)
	}
}

// Finish says that a connection is idle again. If it returns false, it is not to be used any
// more, as its target drains or was cut off.
func (l *Lease) Finish() bool {
	for {
		use := l.use.Load()
		if use == leaseEnded {
			return false
		}
		if l.use.CompareAndSwap(use, leaseIdle) {
			l.target.release(use)
			break
		}
	}
	if l.target.State() == stateActive {
		return true
	}
	l.End()
	return false
}

// End ends the lease for good and forgets it. Only its first call counts.
func (l *Lease) End() {
	l.target.release(l.use.Swap(leaseEnded))
	l.target.forget(l)
}

// cutOff ends the lease from outside if it is used for one of some uses.
func (l *Lease) cutOff(which uses) {
	for {
		use := l.use.Load()
		if which&(1<<use) == 0 {
			return
		}
		if l.use.CompareAndSwap(use, leaseEnded) {
			l.target.release(use)
			l.cut()
			l.target.forget(l) // whoever has it may not notice for long
			return
		}
	}
}

// Conn is a connection to a target. It starts idle.
type Conn struct {
	Lease
	*net.TCPConn
	// Port is the target's.
	Port int
}

// Close ends the lease and the connection.
func (c *Conn) Close() error {
	c.End()
	return c.TCPConn.Close()
}
