// SPDX-License-Identifier: Apache-2.0

package upkeep

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

var shop = types.NamespacedName{Namespace: "default", Name: "shop"}

// keeper has gateways, some of an older program.
type keeper struct {
	mu     sync.Mutex
	boxes  []boxes.Box
	older  map[string]bool
	fail   error
	looked []string
	// during is called while a gateway is looked at.
	during func(name string)
}

func (k *keeper) List(_ context.Context, project string) ([]boxes.Box, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if project != "shop" {
		return nil, nil
	}
	return slices.Clone(k.boxes), nil
}

func (k *keeper) Refresh(_ context.Context, b boxes.Box) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looked = append(k.looked, b.Name)
	if k.during != nil {
		k.during(b.Name)
	}
	if k.fail != nil && k.older[b.Name] {
		return false, k.fail
	}
	was := k.older[b.Name]
	delete(k.older, b.Name)
	return was, nil
}

func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.looked)
}

func box(name string, running bool) boxes.Box {
	return boxes.Box{Box: layout.Box{Name: name}, Running: running}
}

type world struct {
	*Upkeep
	t      *testing.T
	keeper *keeper
	clock  *clocktesting.FakeClock
	woken  chan types.NamespacedName
}

func newWorld(t *testing.T, k *keeper) *world {
	w := &world{t: t, keeper: k, clock: clocktesting.NewFakeClock(time.Unix(1e9, 0)), woken: make(chan types.NamespacedName, 16)}
	w.Upkeep = &Upkeep{Keeper: k, Clock: w.clock, Wake: func(_ context.Context, key types.NamespacedName) { w.woken <- key }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// news waits until the answer changed, and gives it.
func (w *world) news() Answer {
	w.t.Helper()
	select {
	case <-w.woken:
	case <-time.After(10 * time.Second):
		w.t.Fatal("nobody was told")
	}
	a, known := w.Track(shop, "shop", false)
	if !known {
		w.t.Fatal("nothing is known")
	}
	return a
}

// step lets time pass once the loop waits for it.
func (w *world) step(d time.Duration) {
	w.t.Helper()
	w.eventually("somebody waits for the clock", w.clock.HasWaiters)
	w.clock.Step(d)
}

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			w.t.Fatal("waited in vain: " + what)
		}
	}
}

func TestGatewaysOfAnOlderProgramAreReplaced(t *testing.T) {
	k := &keeper{boxes: []boxes.Box{box("a", true), box("b", true), box("c", false)}, older: map[string]bool{"b": true}}
	w := newWorld(t, k)
	if _, known := w.Track(shop, "shop", false); known {
		t.Error("something is known before the first look")
	}
	a := w.news()
	if !slices.Equal(a.Replaced, []string{"b"}) || !slices.Equal(a.Gateways, []string{"a", "b", "c"}) || !slices.Equal(a.Down, []string{"c"}) || a.Problem != "" {
		t.Errorf("got %+v", a)
	}
	if !slices.Equal(k.looked, []string{"a", "b"}) {
		t.Errorf("looked at %v", k.looked)
	}
	// What was replaced is told until something else is to be told.
	w.step(lookEvery)
	w.eventually("they are looked at again", func() bool { return k.count() >= 4 })
	if a, _ := w.Track(shop, "shop", false); !slices.Equal(a.Replaced, []string{"b"}) {
		t.Errorf("then %+v", a)
	}
}

func TestAFailureIsTriedAgain(t *testing.T) {
	k := &keeper{boxes: []boxes.Box{box("a", true)}, older: map[string]bool{"a": true}, fail: errors.New("no room")}
	w := newWorld(t, k)
	w.Track(shop, "shop", false)
	if a := w.news(); a.Problem != "the gateway a: no room" {
		t.Errorf("got %+v", a)
	}
	w.step(firstRetry)
	w.eventually("it is tried again", func() bool { return k.count() >= 2 })
	k.mu.Lock()
	k.fail = nil
	k.mu.Unlock()
	w.step(2 * firstRetry)
	if a := w.news(); a.Problem != "" || !slices.Equal(a.Replaced, []string{"a"}) {
		t.Errorf("got %+v", a)
	}
}

// A request that begins has the gateways for itself; those that it left are looked at
// when it has ended.
func TestARequestHasTheGatewaysForItself(t *testing.T) {
	k := &keeper{boxes: []boxes.Box{box("a", true), box("b", true)}, older: map[string]bool{"a": true, "b": true}}
	w := newWorld(t, k)
	k.during = func(string) { w.Track(shop, "shop", true) }
	w.Track(shop, "shop", false)
	<-w.woken
	if got := k.count(); got != 1 {
		t.Errorf("%d gateways were looked at, though a request had begun", got)
	}
	k.mu.Lock()
	k.during = nil
	k.mu.Unlock()
	w.Track(shop, "shop", false)
	if a := w.news(); !slices.Equal(a.Replaced, []string{"b"}) {
		t.Errorf("got %+v", a)
	}
}
