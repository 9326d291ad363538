// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/oidc"
	"github.com/fairlead-dev/fairlead/internal/webui/session"
)

// unusedProvider stands for a provider that nobody is sent to.
type unusedProvider struct{ Provider }

func (unusedProvider) Name() string { return "Example ID" }

func (unusedProvider) Renew(context.Context, string, string) (oidc.Tokens, error) {
	return oidc.Tokens{}, oidc.ErrUnreachable
}

// The API server does not know the tokens of a provider until it has reached it: the
// sessions are still there when it does.
func TestProviderIsNotKnownYet(t *testing.T) {
	w := newWorld(t)
	w.ui.opts.Provider = unusedProvider{}
	expires := w.ui.opts.Now().Add(time.Hour)
	token := "x." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, expires.Unix())) + ".y"
	id, _, err := w.ui.sessions.Load().Begin("oidc:ann", session.Credentials{Token: token, Refresh: "r", Subject: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path string) *recorder {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: id})
		a := &recorder{header: http.Header{}}
		w.ui.ServeHTTP(a, r)
		return a
	}
	if a := ask("/ui/"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(a.body.String(), "cannot be checked just now") {
		t.Errorf("before: %d %s", a.status, a.body.String())
	}
	w.api.mu.Lock()
	w.api.tokens[token] = "admin"
	w.api.mu.Unlock()
	if a := ask("/ui/"); a.status != http.StatusOK {
		t.Errorf("after: %d %s", a.status, a.body.String())
	}
}
