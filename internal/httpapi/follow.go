// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

// followers lets all streams of one caller about one request share one watch of it,
// and what is sent of each state: a page that many look at with one token would
// otherwise have the API server tell each of them everything by itself.
type followers struct {
	api  *API
	mu   sync.Mutex
	open map[followKey]*followed
}

type followKey struct {
	caller tokenHash
	name   types.NamespacedName
	uid    types.UID
}

// followed is a request that somebody follows.
type followed struct {
	stop context.CancelFunc
	// last is the newest state that the watch brought; nil before the first.
	last *requestState
	// waiting are the followers: each finds one value for all that it missed.
	waiting map[chan struct{}]struct{}
}

// requestState is a state of a request. It is shared, and must not be changed.
type requestState struct {
	// request is nil if it was deleted, or cannot be followed any more.
	request *v1alpha1.UpdateRequest
	// failure is why it cannot be followed any more.
	failure error

	once  sync.Once
	event []byte
	err   error
}

// last reports whether no other state comes after this one.
func (s *requestState) last() bool { return s.request == nil || requestwatch.Concluded(s.request) }

// after reports whether the state is newer than another one.
func (s *requestState) after(o *requestState) bool {
	if s.request == nil || o.request == nil {
		return o.request != nil
	}
	// Versions of one object can be compared.
	mine, err1 := strconv.ParseUint(s.request.ResourceVersion, 10, 64)
	other, err2 := strconv.ParseUint(o.request.ResourceVersion, 10, 64)
	if err1 != nil || err2 != nil {
		return s.request.ResourceVersion != o.request.ResourceVersion
	}
	return mine > other
}

// encoded is the state as an event.
func (s *requestState) encoded() ([]byte, error) {
	s.once.Do(func() {
		o, err := fromTyped[updateRequests](s.request.DeepCopy())
		if err != nil {
			s.err = err
			return
		}
		text, err := json.Marshal(o)
		if err != nil {
			s.err = err
			return
		}
		var b bytes.Buffer
		s.err = encode(&b, eventStatus, s.request.ResourceVersion, string(text))
		s.event = b.Bytes()
	})
	return s.event, s.err
}

// follow calls handle with ur, which was just read, and then with what becomes of
// it, until handle says that it is done, there is nothing more to come, or ctx ends
// (its error). A follower that is slow misses states, but never the last one.
func (f *followers) follow(ctx context.Context, ur *v1alpha1.UpdateRequest, handle func(*requestState) (done bool, err error)) error {
	seen := &requestState{request: ur}
	if done, err := handle(seen); done || err != nil || seen.last() {
		return err
	}
	changes, newest, leave := f.join(ctx, ur)
	defer leave()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		}
		state := newest()
		if state == nil || !state.after(seen) {
			continue
		}
		if state.failure != nil {
			return state.failure
		}
		if done, err := handle(state); done || err != nil || state.last() {
			return err
		}
		seen = state
	}
}

// join makes the caller of ctx a follower of ur, until leave is called.
func (f *followers) join(ctx context.Context, ur *v1alpha1.UpdateRequest) (changes <-chan struct{}, newest func() *requestState, leave func()) {
	key := followKey{recordOf(ctx).hash, client.ObjectKeyFromObject(ur), ur.UID}
	own := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.open[key]
	if !ok {
		// It is the caller's, but not this stream's alone.
		watching, stop := context.WithCancel(context.WithoutCancel(ctx))
		w = &followed{stop: stop, waiting: map[chan struct{}]struct{}{}}
		f.open[key] = w
		go f.watch(watching, key, w, ur)
	}
	w.waiting[own] = struct{}{}
	if w.last != nil {
		own <- struct{}{}
	}
	newest = func() *requestState {
		f.mu.Lock()
		defer f.mu.Unlock()
		return w.last
	}
	return own, newest, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(w.waiting, own)
		if len(w.waiting) == 0 {
			f.end(key, w)
		}
	}
}

// end forgets a request; the lock is held.
func (f *followers) end(key followKey, w *followed) {
	w.stop()
	if f.open[key] == w {
		delete(f.open, key)
	}
}

// publish tells all followers of a state.
func (f *followers) publish(w *followed, s *requestState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.last != nil && !s.after(w.last) {
		return
	}
	w.last = s
	for waiting := range w.waiting {
		select {
		case waiting <- struct{}{}:
		default: // it has not seen the last one yet
		}
	}
}

// watch watches a request for its followers, and asks now and then whether they may
// still see it: the API server does not ask again while a watch is open.
func (f *followers) watch(ctx context.Context, key followKey, w *followed, ur *v1alpha1.UpdateRequest) {
	failed := func(err error) { f.publish(w, &requestState{failure: err}) }
	var asking sync.WaitGroup
	asking.Go(func() { f.api.guarded(func() { f.recheck(ctx, key, w) }, failed) })
	f.api.guarded(func() {
		err := requestwatch.Run(ctx, f.api.kube(), ur, func(e requestwatch.Event) bool {
			switch {
			case e.Lost != nil:
				err := lasting(e.Lost)
				if err != nil {
					failed(err)
				}
				return err != nil
			case e.Deleted:
				f.publish(w, &requestState{})
				return true
			}
			f.publish(w, &requestState{request: e.Request})
			return requestwatch.Concluded(e.Request)
		})
		if err != nil {
			failed(err)
		}
	}, failed)
	f.mu.Lock()
	f.end(key, w) // who comes now begins anew
	f.mu.Unlock()
	asking.Wait()
}

func (f *followers) recheck(ctx context.Context, key followKey, w *followed) {
	ticker := time.NewTicker(f.api.opts.Recheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		seen := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kindOf[updateRequests]()}}
		err := lasting(client.IgnoreNotFound(f.api.kube().Get(ctx, key.name, seen)))
		if err != nil && ctx.Err() == nil {
			f.publish(w, &requestState{failure: err})
			return
		}
	}
}
