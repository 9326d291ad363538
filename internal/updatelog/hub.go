// SPDX-License-Identifier: Apache-2.0

package updatelog

import "sync"

// Hub lets many followers of one file share one watch of it: watches are a
// limited resource of the host, and each costs wakeups. The zero value is ready
// to use; a Hub is safe for concurrent use.
type Hub struct {
	mu    sync.Mutex
	files map[string]*watched
}

// watched is a file that somebody follows.
type watched struct {
	stop      chan struct{}
	followers map[chan struct{}]struct{}
}

// subscribe returns a channel that gets a value after every change of the file at
// path, as notify does, and a function that ends that. A follower that is slow
// finds one value for all changes that it missed.
func (h *Hub) subscribe(path string) (changes <-chan struct{}, unsubscribe func()) {
	own := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	w, ok := h.files[path]
	if !ok {
		w = &watched{stop: make(chan struct{}), followers: map[chan struct{}]struct{}{}}
		if h.files == nil {
			h.files = map[string]*watched{}
		}
		h.files[path] = w
		go h.spread(w, notify(path, w.stop))
	}
	w.followers[own] = struct{}{}
	return own, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(w.followers, own)
		if len(w.followers) == 0 {
			close(w.stop)
			delete(h.files, path)
		}
	}
}

// spread passes changes on to all followers until w is stopped.
func (h *Hub) spread(w *watched, changes <-chan struct{}) {
	for {
		select {
		case <-w.stop:
			return
		case <-changes:
		}
		h.mu.Lock()
		for f := range w.followers {
			select {
			case f <- struct{}{}:
			default: // it has not seen the last one yet
			}
		}
		h.mu.Unlock()
	}
}
