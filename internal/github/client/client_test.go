// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/githubtest"
)

const token = "ghp_this-is-secret"

var shop = client.Repo{Owner: "acme", Name: "shop"}

func sha(short string) string { return short + strings.Repeat("0", 40-len(short)) }

// fake has three commits on main and a tag at the second.
func fake(t *testing.T) (*githubtest.Fake, *githubtest.Repo, *client.Client) {
	t.Helper()
	f := githubtest.New("/api/v3/")
	f.Permit(token, true)
	r := f.Repo("acme/shop", true)
	for i, subject := range []string{"Begin", "Go on\n\nWith a body.", "Finish \x1b[31mred\u202e"} {
		r.Push("heads/main", githubtest.Commit{SHA: sha(fmt.Sprintf("a%d", i)), Message: subject, Author: "Ada Lovelace", Login: "ada"})
	}
	r.Reset("tags/v1", sha("a1"))
	return f, r, connect(t, f, "https://github.example.com/api/v3/", token)
}

func connect(t *testing.T, transport http.RoundTripper, api, token string) *client.Client {
	t.Helper()
	c, err := client.NewPool(client.Options{Version: "v1.2.3", Transport: transport}).Client(api, token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompare(t *testing.T) {
	t.Parallel()
	_, r, c := fake(t)
	got, err := c.Compare(t.Context(), shop, sha("a0"), sha("a2"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Relation != client.Ahead || got.Behind != 2 || got.Ahead != 0 || len(got.Changes) != 2 {
		t.Fatalf("got %+v", got)
	}
	if n := got.Changes[0]; n.Commit != sha("a2") || n.Subject != "Finish red" || n.Author != "Ada Lovelace" ||
		n.URL != "https://github.com/acme/shop/commit/"+sha("a2") || n.Time.IsZero() {
		t.Errorf("newest is %+v", n)
	}
	if s := got.Changes[1].Subject; s != "Go on" {
		t.Errorf("subject %q", s)
	}

	got, err = c.Compare(t.Context(), shop, sha("a2"), sha("a2"))
	if err != nil || got.Relation != client.Identical || got.Behind != 0 || len(got.Changes) != 0 {
		t.Errorf("identical: %+v, %v", got, err)
	}
	got, err = c.Compare(t.Context(), shop, sha("a2"), sha("a1"))
	if err != nil || got.Relation != client.Behind || got.Behind != 0 || got.Ahead != 1 {
		t.Errorf("behind: %+v, %v", got, err)
	}
	r.Push("heads/side", githubtest.Commit{SHA: sha("b0"), Parents: []string{sha("a0")}, Message: "Aside", Login: "bob"})
	got, err = c.Compare(t.Context(), shop, sha("a2"), sha("b0"))
	if err != nil || got.Relation != client.Diverged || got.Behind != 1 || got.Ahead != 2 || got.Changes[0].Author != "bob" {
		t.Errorf("diverged: %+v, %v", got, err)
	}
	if _, err = c.Compare(t.Context(), shop, sha("fefe"), sha("a2")); !errors.Is(err, client.ErrUnknownCommit) {
		t.Errorf("a commit that was never pushed: %v", err)
	}
}

func TestLongListsAreNewestFirstAndBounded(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 101, 199, 250} {
		_, r, c := fake(t)
		for i := range n {
			r.Push("heads/main", githubtest.Commit{SHA: sha(fmt.Sprintf("c%03d", i)), Message: fmt.Sprint(i)})
		}
		got, err := c.Compare(t.Context(), shop, sha("a2"), sha(fmt.Sprintf("c%03d", n-1)))
		if err != nil {
			t.Fatal(err)
		}
		if got.Behind != n || len(got.Changes) != client.MaxChanges {
			t.Fatalf("%d: behind by %d, %d listed", n, got.Behind, len(got.Changes))
		}
		for i, change := range got.Changes {
			if want := fmt.Sprint(n - 1 - i); change.Subject != want {
				t.Fatalf("%d: number %d is %s, want %s", n, i, change.Subject, want)
			}
		}
	}
}

func TestWhatIsKnownIsNotCounted(t *testing.T) {
	t.Parallel()
	f, r, c := fake(t)
	ask := func(want string) {
		t.Helper()
		if got, err := c.Head(t.Context(), shop, "refs/heads/main"); err != nil || got != want {
			t.Fatalf("got %s, %v", got, err)
		}
		if _, err := c.Compare(t.Context(), shop, sha("a0"), sha("a2")); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		ask(sha("a2"))
	}
	if n := f.Counted(); n != 2 {
		t.Errorf("%d calls were counted, want 2: %+v", n, f.Calls())
	}
	r.Push("heads/main", githubtest.Commit{SHA: sha("a3"), Message: "More"})
	ask(sha("a3"))
	if n := f.Counted(); n != 3 {
		t.Errorf("%d calls were counted after a push, want 3", n)
	}
}

func TestUsedUpLimitIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		begin     func(*githubtest.Fake)
		wait      time.Duration
		secondary bool
	}{
		"primary":   {func(f *githubtest.Fake) { f.Exhaust(time.Now().Add(40 * time.Minute)) }, 40 * time.Minute, false},
		"secondary": {func(f *githubtest.Fake) { f.Answer(githubtest.Secondary(90 * time.Second)) }, 90 * time.Second, true},
		"429": {func(f *githubtest.Fake) {
			f.Answer(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			})
		}, 30 * time.Second, true},
		"429 without a time": {func(f *githubtest.Fake) {
			f.Answer(func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			})
		}, time.Minute, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, _, c := fake(t)
				begin := time.Now()
				test.begin(f)
				for range 3 {
					_, err := c.Head(t.Context(), shop, "refs/heads/main")
					l := client.Limited(err)
					if l == nil || l.Secondary != test.secondary || !l.Until.Equal(begin.Add(test.wait)) || !client.Temporary(err) {
						t.Fatalf("got %v", err)
					}
				}
				if n := len(f.Calls()); n != 1 {
					t.Errorf("%d calls, want 1", n)
				}
				f.Answer(nil)
				time.Sleep(test.wait) //nolint:forbidigo // the time of the test's bubble
				if _, err := c.Head(t.Context(), shop, "refs/heads/main"); err != nil {
					t.Errorf("after the limit: %v", err)
				}
			})
		})
	}
}

// The last call that is allowed says itself that nothing is left.
func TestLimitThatEndsWithAGoodAnswer(t *testing.T) {
	t.Parallel()
	f, _, c := fake(t)
	reset := time.Now().Add(time.Hour).Truncate(time.Second)
	f.Answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(reset.Unix()))
		_, _ = w.Write([]byte(sha("a2")))
		return true
	})
	if _, err := c.Head(t.Context(), shop, "refs/heads/main"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Compare(t.Context(), shop, sha("a0"), sha("a1"))
	if l := client.Limited(err); l == nil || !l.Until.Equal(reset) {
		t.Errorf("got %v", err)
	}
	if n := len(f.Calls()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestThoseWithTheSameTokenShareALimit(t *testing.T) {
	t.Parallel()
	f, _, _ := fake(t)
	f.Permit("other", false)
	pool := client.NewPool(client.Options{Transport: f})
	ask := func(token string) error {
		c, err := pool.Client("https://github.example.com", token)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Head(t.Context(), shop, "refs/heads/main")
		return err
	}
	f.Answer(githubtest.Secondary(time.Minute))
	if client.Limited(ask(token)) == nil {
		t.Error("no limit")
	}
	f.Answer(nil)
	if client.Limited(ask(token)) == nil {
		t.Error("another user of the token does not know of its limit")
	}
	if err := ask("other"); err != nil {
		t.Errorf("another token is limited too: %v", err)
	}
}

func TestErrorsHaveKindsAndNoToken(t *testing.T) {
	t.Parallel()
	refuse := func(code int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	tests := map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		ref    string
		want   error
	}{
		"outage":        {githubtest.Outage, "heads/main", client.ErrOffline},
		"bad token":     {refuse(401, `{"message":"Bad credentials"}`), "heads/main", client.ErrUnauthorized},
		"no permission": {refuse(403, `{"message":"Resource not accessible"}`), "heads/main", client.ErrForbidden},
		"unknown ref":   {nil, "heads/nowhere", client.ErrUnknownCommit},
		"a page":        {refuse(200, "<html>"), "heads/main", client.ErrOffline},
		"endless": {func(w http.ResponseWriter, _ *http.Request) bool {
			for range 20 << 10 {
				_, _ = w.Write(make([]byte, 1024))
			}
			return true
		}, "heads/main", client.ErrOffline},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://evil.example.com/", http.StatusFound)
			return true
		}, "heads/main", client.ErrOffline},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _, c := fake(t)
			f.Answer(test.answer)
			_, err := c.Head(t.Context(), shop, test.ref)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), token) {
				t.Errorf("the token is told: %v", err)
			}
			if n := len(f.Calls()); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	}
	t.Run("unknown repository", func(t *testing.T) {
		t.Parallel()
		_, _, c := fake(t)
		if _, err := c.Compare(t.Context(), client.Repo{Owner: "acme", Name: "none"}, sha("a0"), sha("a1")); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOffline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody listens there any more
	c := connect(t, nil, "http://"+l.Addr().String()+"/api/v3/", token)
	if _, err := c.Head(t.Context(), shop, "heads/main"); !errors.Is(err, client.ErrOffline) || !client.Temporary(err) || strings.Contains(err.Error(), token) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Head(ctx, shop, "heads/main"); !errors.Is(err, context.Canceled) || client.Temporary(err) {
		t.Errorf("told to stop: %v", err)
	}
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	var paths []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		if got := r.Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("%s: Authorization is %q", r.URL.Path, got)
		}
		if got := r.Header.Get("User-Agent"); got != "fairlead/v1.2.3" {
			t.Errorf("User-Agent is %q", got)
		}
		if strings.Contains(r.URL.Path, "/shop/") {
			// As for a repository that was renamed.
			http.Redirect(w, r, strings.Replace(r.URL.Path, "/shop/", "/store/", 1), http.StatusMovedPermanently)
			return
		}
		_, _ = w.Write([]byte(sha("a0")))
	}))
	defer s.Close()
	if got, err := connect(t, nil, s.URL+"/api/v3", token).Head(t.Context(), shop, "refs/heads/feature/one"); err != nil || got != sha("a0") {
		t.Errorf("got %s, %v", got, err)
	}
	want := []string{"/api/v3/repos/acme/shop/commits/heads/feature/one", "/api/v3/repos/acme/store/commits/heads/feature/one"}
	if !slices.Equal(paths, want) {
		t.Errorf("asked %v, want %v", paths, want)
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                                   "https://api.github.com/",
		"https://api.github.com":             "https://api.github.com/",
		"https://GitHub.example.com":         "https://github.example.com/api/v3/",
		"https://github.example.com/api/v3":  "https://github.example.com/api/v3/",
		"https://github.example.com/api/v3/": "https://github.example.com/api/v3/",
		"http://127.0.0.1:8080/git/api/":     "http://127.0.0.1:8080/git/api/",
		"https://api.acme.ghe.com":           "https://api.acme.ghe.com/",
		"ftp://github.example.com":           "",
		"github.example.com":                 "",
		"https://user:pw@github.example.com": "",
		"https://github.example.com/?a=b":    "",
		"https://":                           "",
	} {
		u, err := client.BaseURL(given)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is taken as %s", given, u)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%q: got %v, %v, want %s", given, u, err, want)
		}
	}
}
