// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
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

// leadingProvider leads to a page that tells the state.
type leadingProvider struct{ unusedProvider }

func (leadingProvider) AuthURL(_ context.Context, _, state, _, _ string) (string, error) {
	return "https://id.example.com/?state=" + state, nil
}

// The cookie of a sign-in that goes on is for the UI alone, and is removed by the end.
func TestCookieOfASignInIsGoodForOnce(t *testing.T) {
	for _, secure := range []bool{false, true} {
		w := newWorld(t)
		w.ui.opts.Provider, w.ui.opts.Secure = leadingProvider{}, secure
		ask := func(f func(*call) error, path string, cookies ...*http.Cookie) *http.Response {
			t.Helper()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
			for _, c := range cookies {
				r.AddCookie(c)
			}
			a := httptest.NewRecorder()
			w.ui.page(anybody, f)(a, r)
			return a.Result()
		}
		begun := ask(w.ui.beginSignIn, providerPath)
		_ = begun.Body.Close()
		to, err := begun.Location()
		if err != nil || len(begun.Cookies()) != 1 {
			t.Fatalf("secure %v: %v, cookies %v", secure, err, begun.Cookies())
		}
		set := begun.Cookies()[0]
		if want := map[bool]string{false: Prefix, true: "/"}[secure]; set.Path != want || set.SameSite != http.SameSiteLaxMode || !set.HttpOnly || set.Secure != secure {
			t.Errorf("secure %v: the cookie is %+v", secure, set)
		}
		ended := ask(w.ui.finishSignIn, callbackPath+"?error=access_denied&state="+to.Query().Get("state"), set)
		_ = ended.Body.Close()
		removed := slices.ContainsFunc(ended.Cookies(), func(c *http.Cookie) bool {
			return c.Name == set.Name && c.Path == set.Path && c.MaxAge < 0
		})
		if !removed {
			t.Errorf("secure %v: it is not removed: %v", secure, ended.Cookies())
		}
	}
}
