// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// The bounds of a hold, as gatewayapi documents them.
const (
	defaultHoldRequests = 1024
	defaultHoldBytes    = 16 << 20
	defaultHoldWait     = 30 * time.Second
)

// The ways in which a hold ends badly.
var (
	// ErrHoldFull is that as many wait as may.
	ErrHoldFull = errors.New("the service is held and no more may wait")
	// ErrHoldTimeout is that the hold lasted too long.
	ErrHoldTimeout = errors.New("the service was held for too long")
)

// holdRoom is where requests wait.
type holdRoom struct {
	waiting atomic.Int64
	bytes   atomic.Int64
}

// Wait returns at once, unless the service is held: then it waits for the end of the
// hold, within its bounds. bytes is the memory that is filled meanwhile. An error is
// ErrHoldFull, ErrHoldTimeout, or that of ctx.
func (p *Pool) Wait(ctx context.Context, bytes int) error {
	s := p.snapshot()
	if !s.held() {
		return nil
	}
	return p.wait(ctx, s, int64(bytes))
}

// Held says whether new requests wait.
func (p *Pool) Held() bool { return p.snapshot().held() }

func (s *snapshot) held() bool { return s.service.Hold.Holds(time.Now) }

// Keep asks for memory for what comes while a hold is waited for with nothing said before. It says whether
// there is that much within the bounds of the hold; give it back by Drop.
func (p *Pool) Keep(bytes int) bool {
	limit := orDefault(p.snapshot().service.Hold.MaxBytes, defaultHoldBytes)
	for {
		filled := p.hold.bytes.Load()
		if filled+int64(bytes) > limit {
			return false
		}
		if p.hold.bytes.CompareAndSwap(filled, filled+int64(bytes)) {
			return true
		}
	}
}

// Drop gives back what Keep gave.
func (p *Pool) Drop(bytes int) { p.hold.bytes.Add(-int64(bytes)) }

func (p *Pool) wait(ctx context.Context, s *snapshot, bytes int64) error {
	hold := s.service.Hold
	waiting, filled := p.hold.waiting.Add(1), p.hold.bytes.Add(bytes)
	defer func() {
		p.hold.waiting.Add(-1)
		p.hold.bytes.Add(-bytes)
	}()
	if waiting > orDefault(int64(hold.MaxRequests), defaultHoldRequests) || filled > orDefault(hold.MaxBytes, defaultHoldBytes) {
		p.Stats.holdRefused.Add(1)
		return ErrHoldFull
	}
	p.Stats.heldTotal.Add(1)
	timer := time.NewTimer(hold.MaxWait.Or(defaultHoldWait))
	defer timer.Stop()
	for s.held() {
		var over <-chan time.Time
		if until := s.service.Hold.Until; !until.IsZero() {
			over = time.After(time.Until(until))
		}
		select {
		case <-over: // unless it has been prolonged
			s = p.snapshot()
		case <-s.replaced:
			s = p.snapshot()
		case <-timer.C:
			p.Stats.holdRefused.Add(1)
			return ErrHoldTimeout
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func orDefault(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}
