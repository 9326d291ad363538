// SPDX-License-Identifier: Apache-2.0

// Package tally keeps what anybody can repeat without end from filling a log: of
// each client the first few are told one by one, and of the others how many there
// were, once a minute.
package tally

import (
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// Burst is how many of a client are told one by one before they are counted;
	// it has as many again after a window without any.
	Burst = 10
	// window is how long they are counted before the count is told.
	window = time.Minute
	// clients is how many are told apart at once; all others count as one.
	clients = 256
)

// Tally of things of the type T. It is safe for concurrent use.
type Tally[T any] struct {
	tell   func(what T, more int)
	window time.Duration

	mu     sync.Mutex
	open   map[string]*account[T]
	closed bool
}

// account is what is kept of one client.
type account[T any] struct {
	told, more int
	last       T
	timer      *time.Timer
}

// New makes a Tally. tell is called with what is to be told, and with how many
// more like it there were that are not told; one call at a time for each client.
func New[T any](tell func(what T, more int)) *Tally[T] {
	return &Tally[T]{tell: tell, window: window, open: map[string]*account[T]{}}
}

// Add counts one thing of a client, and tells it if it is among the first.
func (t *Tally[T]) Add(client string, what T) {
	if t.count(client, what) {
		t.tell(what, 0)
	}
}

func (t *Tally[T]) count(client string, what T) (tell bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return true
	}
	a, known := t.open[client]
	if !known && len(t.open) >= clients {
		client = "" // the one that stands for the others
		a, known = t.open[client]
	}
	if !known {
		a = &account[T]{}
		t.open[client] = a
		a.timer = time.AfterFunc(t.window, func() { t.turn(client, a) })
	}
	if a.told < Burst {
		a.told++
		return true
	}
	a.last = what
	a.more++
	return false
}

// turn ends the window of a client.
func (t *Tally[T]) turn(client string, a *account[T]) {
	t.mu.Lock()
	last, more := a.last, a.more
	a.more = 0
	switch {
	case t.closed:
		more = 0 // Close has told it
	case more == 0:
		delete(t.open, client)
	default:
		a.timer.Reset(t.window)
	}
	t.mu.Unlock()
	if more > 0 {
		t.tell(last, more-1)
	}
}

// Close tells what was counted and not told yet. What is added later is told at
// once.
func (t *Tally[T]) Close() {
	t.mu.Lock()
	open := slices.Collect(maps.Values(t.open))
	t.closed, t.open = true, nil
	t.mu.Unlock()
	for _, a := range open {
		a.timer.Stop()
		if a.more > 0 {
			t.tell(a.last, a.more-1)
		}
	}
}
