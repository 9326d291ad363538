// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

var shop = types.NamespacedName{Namespace: "prod", Name: "shop"}

// endsLater begins an ending that goes on until it may end, or is told to stop.
func endsLater(v *endings, request types.UID, err error) (may chan struct{}, stopped <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	may = make(chan struct{})
	e := &ending{request: request, cancel: cancel, died: make(chan struct{}), done: make(chan struct{})}
	v.begin(shop, e)
	go func() {
		defer close(e.done)
		select {
		case <-may:
			e.err = err
		case <-ctx.Done():
		}
	}()
	return may, ctx.Done()
}

func TestEndingsAreAwaited(t *testing.T) {
	var v endings
	await := func(request types.UID) (bool, error) { return v.await(t.Context(), shop, request) }
	if over, err := await("one"); over || err != nil {
		t.Error(over, err)
	}
	refused := errors.New("the engine says no")
	may, _ := endsLater(&v, "one", refused)
	if over, err := await("other"); over || err != nil {
		t.Error(over, err)
	}
	close(may)
	if over, err := await("one"); over || !errors.Is(err, refused) {
		t.Errorf("over: %v; it came to %v", over, err)
	}
	if over, err := await("one"); over || err != nil {
		t.Errorf("tried once more: %v, %v", over, err)
	}

	may, _ = endsLater(&v, "two", nil)
	close(may)
	for range 2 { // as by a clean-up that is done again
		if over, err := await("two"); !over || err != nil {
			t.Error(over, err)
		}
	}
	if begun, err := v.gone(t.Context(), shop, "two"); err != nil || !begun || v.take(shop, "") != nil {
		t.Errorf("it is there still: %v", err)
	}
}

// An update waits for the end of old processes. For what the engine does then, who cleans up after it waits.
func TestEndedAndGone(t *testing.T) {
	var v endings
	may, stopped := endsLater(&v, "one", nil)
	close(v.by[shop].died)
	if over, err := v.await(t.Context(), shop, "one"); !over || err != nil {
		t.Error(over, err)
	}
	select {
	case <-stopped:
		t.Error("it was told to stop")
	default:
	}
	gone := make(chan error)
	go func() { _, err := v.gone(t.Context(), shop, "one"); gone <- err }()
	select {
	case err := <-gone:
		t.Errorf("the engine is not through with them: %v", err)
	case may <- struct{}{}:
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
	if begun, err := v.gone(t.Context(), shop, "one"); begun || err != nil {
		t.Error(begun, err)
	}
	_, stopped = endsLater(&v, "two", nil)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.gone(cancelled, shop, "two"); err != nil { // the daemon stops
		t.Error(err)
	}
	<-stopped
}

func TestEndingsStop(t *testing.T) {
	var v endings
	if err := v.stop(t.Context(), shop); err != nil {
		t.Error(err)
	}
	_, stopped := endsLater(&v, "one", nil)
	if err := v.stop(t.Context(), shop); err != nil { // though it does not end by itself
		t.Error(err)
	}
	<-stopped

	_, stopped = endsLater(&v, "two", nil)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if over, err := v.await(cancelled, shop, "two"); !over || err != nil {
		t.Error(over, err)
	}
	<-stopped

	// One that does not heed it is waited for again by the next who asks.
	stubborn := &ending{request: "three", cancel: func() {}, done: make(chan struct{})}
	v.begin(shop, stubborn)
	if err := v.stop(cancelled, shop); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(stubborn.done)
	if err := v.stop(t.Context(), shop); err != nil || v.take(shop, "") != nil {
		t.Errorf("it is there still: %v", err)
	}
}

// Verify waits a little for what it began to end, and takes nothing from those who wait for it afterwards.
func TestEndSoon(t *testing.T) {
	refused := errors.New("no")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx    context.Context
		set    func(v *endings)
		within time.Duration
		soon   bool
	}{
		"nothing was begun":        {t.Context(), func(*endings) {}, time.Hour, false},
		"another request's":        {t.Context(), func(v *endings) { endsLater(v, "two", nil); close(v.by[shop].died) }, time.Hour, false},
		"their processes":          {t.Context(), func(v *endings) { endsLater(v, "one", nil); close(v.by[shop].died) }, time.Hour, true},
		"all of them":              {t.Context(), func(v *endings) { may, _ := endsLater(v, "one", nil); close(may) }, time.Hour, true},
		"refused":                  {t.Context(), func(v *endings) { may, _ := endsLater(v, "one", refused); close(may) }, time.Hour, false},
		"not within the time":      {t.Context(), func(v *endings) { endsLater(v, "one", nil) }, 0, false},
		"cancelled in the waiting": {cancelled, func(v *endings) { endsLater(v, "one", nil) }, time.Hour, false},
	} {
		var v endings
		tt.set(&v)
		had := v.by[shop]
		if soon := v.soon(tt.ctx, shop, "one", tt.within); soon != tt.soon {
			t.Errorf("%s: ended soon: %v", name, soon)
		}
		if v.by[shop] != had {
			t.Errorf("%s: nobody can wait for it any more", name)
		}
		if had != nil {
			had.cancel()
		}
	}
}
