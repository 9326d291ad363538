// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

func TestClaimsCountFromOwnConnectionsAlone(t *testing.T) {
	o := NewConnections()
	var got http.Header
	s := httptest.NewServer(o.WithoutClaims(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header })))
	defer s.Close()
	ours := &http.Transport{DialContext: o.Dial}
	for _, tt := range []struct {
		name      string
		transport *http.Transport
		want      bool
	}{{"ours", ours, true}, {"somebody's", &http.Transport{}, false}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range claims {
			r.Header.Set(name, "192.0.2.1")
		}
		r.Header.Add("x-forwarded-for", "192.0.2.2")
		r.Header.Set("X-Other", "stays")
		res, err := tt.transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		for _, name := range claims {
			if has := got.Get(name) != ""; has != tt.want {
				t.Errorf("%s connection: %s came through: %v", tt.name, name, has)
			}
		}
		if got.Get("X-Other") == "" {
			t.Errorf("%s connection: another header is gone from %v", tt.name, slices.Collect(maps.Keys(got)))
		}
	}
	ours.CloseIdleConnections()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.addresses) != 0 {
		t.Errorf("closed connections are still ours: %v", o.addresses)
	}
}
