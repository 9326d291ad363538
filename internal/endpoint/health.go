// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"io"
	"net/http"
	"sync"
)

// Health answers liveness and readiness.
type Health struct {
	mu     sync.Mutex
	ready  bool
	reason string
	check  func() error
}

// NewHealth is not ready.
func NewHealth() *Health {
	return &Health{reason: "starting", check: func() error { return nil }}
}

// SetReady says that everything is up.
func (h *Health) SetReady() { h.set(true, "") }

// SetStopping says that the end has begun.
func (h *Health) SetStopping() { h.set(false, "stopping") }

func (h *Health) set(ready bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready, h.reason = ready, reason
}

// Watch adds a check that readiness depends on.
func (h *Health) Watch(check func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.check = check
}

func (h *Health) state() (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(); err != nil {
		return false, "the control plane has failed"
	}
	return h.ready, h.reason
}

// Route is something that is served beside the health endpoints.
type Route struct {
	// Pattern as http.ServeMux takes it, such as "POST /update" or "/api/v1/".
	Pattern string
	Handler http.Handler
	// NotReady answers while the daemon is not ready, in the form that clients of
	// the route expect of an error: with status 503 and the reason, in a few words.
	// The header Retry-After is set already. Default: plain text.
	NotReady func(w http.ResponseWriter, reason string)
}

// whenReady answers 503 as long as the daemon is not ready.
func (h *Health) whenReady(route Route) http.Handler {
	notReady := route.NotReady
	if notReady == nil {
		notReady = func(w http.ResponseWriter, reason string) { http.Error(w, reason, http.StatusServiceUnavailable) }
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ready, reason := h.state(); !ready {
			w.Header().Set("Retry-After", "1")
			notReady(w, reason)
			return
		}
		route.Handler.ServeHTTP(w, r)
	})
}

// Handler serves /health and /healthz (the process answers), /readyz
// (everything is up), and routes.
func (h *Health) Handler(routes []Route) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":true}`)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, reason := h.state()
		if !ready {
			http.Error(w, reason, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok")
	})
	for _, r := range routes {
		mux.Handle(r.Pattern, h.whenReady(r))
	}
	return mux
}
