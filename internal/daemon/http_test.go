// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealth(t *testing.T) {
	h := newHealth()
	var failure error
	handler := h.handler()
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	readyz := func(state string, want int) {
		t.Helper()
		if code, body := get("/readyz"); code != want {
			t.Errorf("%s: /readyz says %d %q, want %d", state, code, body, want)
		}
	}
	readyz("at the start", http.StatusServiceUnavailable)
	h.watch(func() error { return failure })
	h.setReady()
	readyz("when ready", http.StatusOK)
	failure = errors.New("etcd failed")
	readyz("with a failed control plane", http.StatusServiceUnavailable)
	failure = nil
	h.setStopping()
	readyz("while stopping", http.StatusServiceUnavailable)
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
