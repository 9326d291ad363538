// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealth(t *testing.T) {
	h := NewHealth()
	var failure error
	handler := h.Handler([]Route{{Pattern: "POST /work", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
	})}, {Pattern: "/own", NotReady: func(w http.ResponseWriter, reason string) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, `{"error":%q}`, reason)
	}}})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	readyz := func(state string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/work", nil))
		if wantWork := map[bool]int{true: http.StatusAccepted, false: http.StatusServiceUnavailable}[want == http.StatusOK]; w.Code != wantWork {
			t.Errorf("%s: a route says %d, want %d", state, w.Code, wantWork)
		}
		if code, body := get("/readyz"); code != want {
			t.Errorf("%s: /readyz says %d %q, want %d", state, code, body, want)
		}
	}
	readyz("at the start", http.StatusServiceUnavailable)
	h.Watch(func() error { return failure })
	h.SetReady()
	readyz("when ready", http.StatusOK)
	failure = errors.New("etcd failed")
	readyz("with a failed control plane", http.StatusServiceUnavailable)
	failure = nil
	h.SetStopping()
	readyz("while stopping", http.StatusServiceUnavailable)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/own", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Body.String() != `{"error":"stopping"}` {
		t.Errorf("a route with an answer of its own says %d %v %s", w.Code, w.Header(), w.Body)
	}
	if code, body := get("/health"); code != http.StatusOK || body != `{"ok":true}` {
		t.Errorf("/health says %d %q", code, body)
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz says %d", code)
	}
	if code, _ := get("/other"); code != http.StatusNotFound {
		t.Errorf("/other says %d", code)
	}
}
