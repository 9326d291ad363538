// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Poker has the source of an application looked at. It is called by a goroutine of
// its own, never by that of a delivery.
type Poker interface {
	// Poke tells that a ref (in full; "" for any) moved to a commit ("" if that is
	// not known).
	Poke(app types.NamespacedName, ref, sha string)
}

const (
	// quiet is how long nothing more must come before the source is looked at: one
	// `git push` of a branch and a tag is several deliveries.
	quiet = 250 * time.Millisecond
	// apart is the least time between two looks, and the longest that deliveries
	// which do not stop put one off.
	apart = 5 * time.Second
)

// debouncer makes one look of a burst of deliveries, and loses none: the last of
// them always leads to one. A single delivery waits for quiet only.
type debouncer struct {
	poker Poker

	mu      sync.Mutex
	pending map[types.NamespacedName]*burst
}

// burst is what came in for one application since the last look, or the time
// after that look in which no other one may be.
type burst struct {
	hint   Hint
	has    bool
	timer  *time.Timer
	latest time.Time // no look is put off beyond it
	next   time.Time // no look is before it
}

func newDebouncer(p Poker) *debouncer {
	return &debouncer{poker: p, pending: map[types.NamespacedName]*burst{}}
}

// add takes one hint.
func (d *debouncer) add(app types.NamespacedName, h Hint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	b, ok := d.pending[app]
	if !ok {
		b = &burst{}
		d.pending[app] = b
	}
	if b.has && b.hint.Ref != h.Ref {
		h = Hint{} // several moved
	} else if !b.has {
		b.latest = now.Add(apart)
	}
	b.hint, b.has = h, true
	at := now.Add(quiet)
	if at.After(b.latest) {
		at = b.latest
	}
	if at.Before(b.next) {
		at = b.next
	}
	if b.timer == nil {
		b.timer = time.AfterFunc(at.Sub(now), func() { d.fire(app) })
	} else {
		b.timer.Reset(at.Sub(now))
	}
}

// fire hands a burst on. The entry stays until the time between two looks is over.
func (d *debouncer) fire(app types.NamespacedName) {
	d.mu.Lock()
	b, ok := d.pending[app]
	if !ok || time.Now().Before(b.next) { // of a timer that was set anew in the moment in which it went off
		d.mu.Unlock()
		return
	}
	if !b.has {
		delete(d.pending, app)
		d.mu.Unlock()
		return
	}
	h := b.hint
	b.hint, b.has, b.next = Hint{}, false, time.Now().Add(apart)
	b.timer.Reset(apart)
	d.mu.Unlock()
	d.poker.Poke(app, h.Ref, h.SHA)
}
