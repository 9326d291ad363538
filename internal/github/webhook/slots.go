// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxReading is how many deliveries are read at once, each of DefaultMaxBody;
	// maxReadingOf how many of one address, so that one that sends slowly does not
	// keep all others out.
	maxReading   = 8
	maxReadingOf = 2
	// slotWait is how long a delivery waits for its turn to be read.
	slotWait = time.Second
)

// slots limits how many deliveries are read at once.
type slots struct {
	all chan struct{}

	mu sync.Mutex
	of map[netip.Prefix]*addressSlots
}

type addressSlots struct {
	slots chan struct{}
	users int // who holds or awaits one
}

func newSlots() *slots {
	return &slots{all: make(chan struct{}, maxReading), of: map[netip.Prefix]*addressSlots{}}
}

// take waits for a slot; the caller gives it back by free. It is false when there
// was none in time.
func (s *slots) take(ctx context.Context, addr netip.Prefix) (free func(), ok bool) {
	ctx, cancel := context.WithTimeout(ctx, slotWait)
	defer cancel()
	own := s.enter(addr)
	if !acquire(ctx, own.slots) {
		s.leave(addr)
		return nil, false
	}
	if !acquire(ctx, s.all) {
		<-own.slots
		s.leave(addr)
		return nil, false
	}
	return func() {
		<-s.all
		<-own.slots
		s.leave(addr)
	}, true
}

func (s *slots) enter(addr netip.Prefix) *addressSlots {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.of[addr]
	if own == nil {
		own = &addressSlots{slots: make(chan struct{}, maxReadingOf)}
		s.of[addr] = own
	}
	own.users++
	return own
}

func (s *slots) leave(addr netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[addr].users--; s.of[addr].users == 0 {
		delete(s.of, addr)
	}
}

func acquire(ctx context.Context, slot chan<- struct{}) bool {
	select {
	case slot <- struct{}{}:
		return true
	default:
	}
	select {
	case slot <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}
