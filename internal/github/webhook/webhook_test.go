// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/github"
	"github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/githubtest"
	"github.com/fairlead-dev/fairlead/internal/github/webhook"
	"github.com/fairlead-dev/fairlead/internal/tally"
)

const secret = "it's a secret"

var shop = types.NamespacedName{Namespace: "ns", Name: "shop"}

func sha(short string) string { return short + strings.Repeat("0", 40-len(short)) }

type poke struct {
	app      types.NamespacedName
	ref, sha string
	at       time.Time
}

// site is a handler and all that it is given, with the applications shop, which
// follows main, and twin, which has the same secret.
type site struct {
	t       *testing.T
	handler http.Handler
	app     v1alpha1.Application
	secret  []byte
	err     error // of reading the secret
	target  error

	mu    sync.Mutex
	pokes []poke
	audit []webhook.Record
	next  int
}

func newSite(t *testing.T, change ...func(*webhook.Options)) *site {
	s := &site{t: t, secret: []byte(secret)}
	s.app.Spec.Update.Branch = "main"
	o := webhook.Options{
		Applications: s, Repositories: s, Poker: s, MaxBody: 64 << 10,
		Audit: func(r webhook.Record) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.audit = append(s.audit, r)
		},
	}
	for _, c := range change {
		c(&o)
	}
	mux := http.NewServeMux()
	mux.Handle(webhook.Pattern, webhook.New(o))
	s.handler = mux
	return s
}

// lines are those of the audit log since the last call. They are written from
// timers too.
func (s *site) lines() []webhook.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.audit
	s.audit = nil
	return lines
}

func (s *site) Application(_ context.Context, key types.NamespacedName) (*v1alpha1.Application, error) {
	switch {
	case key.Name == "broken":
		return nil, errors.New("the API is away")
	case key.Namespace != "ns" || key.Name != "shop" && key.Name != "twin":
		return nil, nil
	}
	return s.app.DeepCopy(), nil
}

func (s *site) Target(context.Context, *v1alpha1.Application) (github.Target, error) {
	return github.Target{Repo: client.Repo{Owner: "acme", Name: "shop"}}, s.target
}

func (s *site) WebhookSecret(context.Context, *v1alpha1.Application) ([]byte, error) {
	return s.secret, s.err
}

func (s *site) Poke(app types.NamespacedName, ref, sha string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pokes = append(s.pokes, poke{app, ref, sha, time.Now()})
}

func (s *site) poked() []poke {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pokes
}

// delivery is a good one, to be spoiled.
func (s *site) delivery(event string, body []byte) *http.Request {
	s.next++
	return githubtest.Delivery("/api/v1/namespaces/ns/applications/shop/webhooks/github", event, fmt.Sprintf("72d3162e-cc78-11e3-81ab-%012d", s.next), secret, body)
}

func (s *site) push(ref, before, after string) *http.Request {
	return s.delivery("push", githubtest.Push("acme/shop", ref, sha(before), sha(after)))
}

func (s *site) send(r *http.Request) *httptest.ResponseRecorder {
	s.t.Helper()
	r.RemoteAddr = "192.0.2.7:4711"
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// wants sends a delivery and checks the answer and its line in the audit log.
func (s *site) wants(r *http.Request, status int, result webhook.Result, reason string) {
	s.t.Helper()
	w := s.send(r)
	if w.Code != status {
		s.t.Errorf("answered %d %s, want %d", w.Code, w.Body, status)
	}
	if strings.Contains(w.Body.String(), secret) {
		s.t.Errorf("the secret is told: %s", w.Body)
	}
	lines := s.lines()
	if len(lines) == 0 {
		s.t.Fatal("there is no line in the audit log")
	}
	last := lines[len(lines)-1]
	if last.Result != result || last.Status != status || !strings.Contains(last.Reason, reason) || last.From != "192.0.2.7" {
		s.t.Errorf("the audit log has %+v, want %s %q", last, result, reason)
	}
}

func TestPushPokes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		begin := time.Now()
		s.wants(s.push("refs/heads/main", "a", "b"), http.StatusAccepted, webhook.Accepted, "")
		if len(s.poked()) != 0 {
			t.Error("the answer waited for the work")
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
		got := s.poked()
		if len(got) != 1 || got[0].app != shop || got[0].ref != "refs/heads/main" || got[0].sha != sha("b") {
			t.Fatalf("poked %+v", got)
		}
		if wait := got[0].at.Sub(begin); wait > 500*time.Millisecond {
			t.Errorf("a single push waited for %s", wait)
		}
	})
}

func TestFormDelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		body := []byte(url.Values{"payload": {string(githubtest.Push("acme/shop", "refs/heads/main", sha("a"), sha("b")))}}.Encode())
		r := s.delivery("push", body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		s.wants(r, http.StatusAccepted, webhook.Accepted, "")
		time.Sleep(time.Second) //nolint:forbidigo // the time of the test's bubble
		if len(s.poked()) != 1 {
			t.Errorf("poked %+v", s.poked())
		}
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := githubtest.Push("acme/shop", "refs/heads/main", sha("a"), sha("b"))
	header := func(name, value string) func(*site, *http.Request) {
		return func(_ *site, r *http.Request) { r.Header.Set(name, value) }
	}
	tests := map[string]struct {
		spoil  func(*site, *http.Request)
		status int
		reason string
	}{
		"unsigned":            {header("X-Hub-Signature-256", ""), 401, "not signed"},
		"signed with SHA-1":   {header("X-Hub-Signature-256", "sha1="+strings.Repeat("0", 40)), 401, "not signed"},
		"forged":              {header("X-Hub-Signature-256", githubtest.Sign("guess", good)), 401, "signature is wrong"},
		"signed with nothing": {header("X-Hub-Signature-256", githubtest.Sign("", good)), 401, "signature is wrong"},
		"changed on the way": {func(_ *site, r *http.Request) {
			r.Body = io.NopCloser(bytes.NewReader(append(good, ' ')))
			r.ContentLength++
		}, 401, "signature is wrong"},
		"no event":             {header("X-GitHub-Event", ""), 400, "X-GitHub-Event"},
		"no delivery ID":       {header("X-GitHub-Delivery", ""), 400, "X-GitHub-Delivery"},
		"a line in the ID":     {header("X-GitHub-Delivery", "0123456789\nresult=accepted"), 400, "X-GitHub-Delivery"},
		"another content type": {header("Content-Type", "text/plain"), 415, "content type"},
		"no secret":            {func(s *site, _ *http.Request) { s.secret = nil }, 401, "no key webhook-secret"},
		"no Secret":            {func(s *site, _ *http.Request) { s.err = failure.Terminalf("SecretNotFound", "there is no Secret gh") }, 401, "no Secret gh"},
		"Secret not readable":  {func(s *site, _ *http.Request) { s.err = errors.New("timeout") }, 503, "timeout"},
		"no application":       {func(_ *site, r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "shop", "none", 1) }, 401, "no such Application"},
		"API away":             {func(_ *site, r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "shop", "broken", 1) }, 503, "the API is away"},
		"cut off": {func(_ *site, r *http.Request) {
			r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(good[:10]), broken{}))
		}, 400, "as a whole"},
		"not JSON": {func(_ *site, r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("{"))
			r.Header.Set("X-Hub-Signature-256", githubtest.Sign(secret, []byte("{")))
		}, 400, "payload"},
		"says that it is large": {func(_ *site, r *http.Request) { r.ContentLength = 64<<10 + 1 }, 413, "larger than 65536 bytes"},
		"is large": {func(_ *site, r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 1<<40)), -1
		}, 413, "larger than 65536 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				r := s.delivery("push", good)
				test.spoil(s, r)
				s.wants(r, test.status, webhook.Refused, test.reason)
				time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
				if len(s.poked()) != 0 {
					t.Error("it led to a look")
				}
				if strings.Contains(name, "Secret") || name == "no secret" {
					return
				}
				// What was refused is not remembered as seen.
				s.wants(s.delivery("push", good), http.StatusAccepted, webhook.Accepted, "")
			})
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Who cannot sign does not learn which applications there are.
func TestAnswersTellNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	to := func(name string) *httptest.ResponseRecorder {
		r := s.push("refs/heads/main", "a", "b")
		r.Header.Set("X-Hub-Signature-256", githubtest.Sign("guess", []byte("{}")))
		r.URL.Path = strings.Replace(r.URL.Path, "shop", name, 1)
		return s.send(r)
	}
	wrong, none := to("shop"), to("none")
	s.secret = nil
	without := to("shop")
	for what, w := range map[string]*httptest.ResponseRecorder{"without an application": none, "without a secret": without} {
		if w.Code != wrong.Code || w.Body.String() != wrong.Body.String() || !maps.EqualFunc(w.Header(), wrong.Header(), slices.Equal) {
			t.Errorf("%s: %d %s; with a wrong signature: %d %s", what, w.Code, w.Body, wrong.Code, wrong.Body)
		}
	}
	if wrong.Code != http.StatusUnauthorized {
		t.Errorf("a wrong signature: %d", wrong.Code)
	}
}

func TestReplayIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		body := githubtest.Push("acme/shop", "refs/heads/main", sha("a"), sha("b"))
		s.wants(s.delivery("push", body), http.StatusAccepted, webhook.Accepted, "")
		s.wants(s.delivery("push", body), http.StatusConflict, webhook.Refused, "taken before") // under another ID
		other := s.push("refs/heads/main", "b", "c")
		other.Header.Set("X-GitHub-Delivery", fmt.Sprintf("72d3162e-cc78-11e3-81ab-%012d", 1))
		s.wants(other, http.StatusConflict, webhook.Refused, "taken before")
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
		if n := len(s.poked()); n != 1 {
			t.Errorf("poked %d times", n)
		}
		// Another application has deliveries of its own.
		twin := s.delivery("push", body)
		twin.URL.Path = strings.Replace(twin.URL.Path, "shop", "twin", 1)
		s.wants(twin, http.StatusAccepted, webhook.Accepted, "")
	})
}

func TestWhatCounts(t *testing.T) {
	t.Parallel()
	branch := func(s *v1alpha1.Application) { s.Spec.Update.Branch = "main" }
	pattern := func(s *v1alpha1.Application) { s.Spec.Update = v1alpha1.UpdateSpec{TagPattern: "release-*"} }
	semver := func(s *v1alpha1.Application) { s.Spec.Update = v1alpha1.UpdateSpec{Semver: "1.x"} }
	source := func(s *v1alpha1.Application) {
		s.Spec.Update, s.Spec.Source = v1alpha1.UpdateSpec{}, v1alpha1.SourceSpec{Ref: "stable"}
	}
	checkedOut := func(s *v1alpha1.Application) { s.Spec.Update, s.Status.Branch = v1alpha1.UpdateSpec{}, "trunk" }
	nothing := func(s *v1alpha1.Application) { s.Spec.Update = v1alpha1.UpdateSpec{} }
	push := func(ref string) []byte { return githubtest.Push("Acme/Shop", ref, sha("a"), sha("b")) }
	tests := []struct {
		name   string
		app    func(*v1alpha1.Application)
		event  string
		body   []byte
		want   webhook.Result
		reason string
		ref    string
	}{
		{"the branch", branch, "push", push("refs/heads/main"), webhook.Accepted, "", "refs/heads/main"},
		{"another branch", branch, "push", push("refs/heads/maintenance"), webhook.Ignored, "refs/heads/maintenance is not what", ""},
		{"a tag", branch, "push", push("refs/tags/main"), webhook.Ignored, "not what", ""},
		{"the branch is gone", branch, "push", githubtest.Push("acme/shop", "refs/heads/main", sha("a"), sha("")), webhook.Ignored, "deleted", ""},
		{"a fork", branch, "push", githubtest.Push("mallory/shop", "refs/heads/main", sha("a"), sha("b")), webhook.Ignored, "mallory/shop", ""},
		{"a release, a branch is followed", branch, "release", githubtest.Release("acme/shop", "published", "v1"), webhook.Ignored, "not what", ""},
		{"a tag of the pattern", pattern, "push", push("refs/tags/release-7"), webhook.Accepted, "", "refs/tags/release-7"},
		{"another tag", pattern, "push", push("refs/tags/v7"), webhook.Ignored, "not what", ""},
		{"a branch of the pattern", pattern, "push", push("refs/heads/release-7"), webhook.Ignored, "not what", ""},
		{"a version", semver, "push", push("refs/tags/v1.2.3"), webhook.Accepted, "", "refs/tags/v1.2.3"},
		{"a release", semver, "release", githubtest.Release("acme/shop", "published", "v1.2.3"), webhook.Accepted, "", "refs/tags/v1.2.3"},
		{"a draft", semver, "release", githubtest.Release("acme/shop", "created", "v1.2.3"), webhook.Ignored, "only published", ""},
		{"source.ref, a branch", source, "push", push("refs/heads/stable"), webhook.Accepted, "", "refs/heads/stable"},
		{"source.ref, a tag", source, "release", githubtest.Release("acme/shop", "published", "stable"), webhook.Accepted, "", "refs/tags/stable"},
		{"checked out", checkedOut, "push", push("refs/heads/trunk"), webhook.Accepted, "", "refs/heads/trunk"},
		{"not checked out", checkedOut, "push", push("refs/heads/main"), webhook.Ignored, "not what", ""},
		{"not known", nothing, "push", push("refs/heads/any"), webhook.Accepted, "", "refs/heads/any"},
		{"ping", branch, "ping", githubtest.Ping("acme/shop"), webhook.Ping, "", ""},
		{"ping of another repository", branch, "ping", githubtest.Ping("acme/other"), webhook.Ignored, "acme/other", ""},
		{"another event", branch, "issues", []byte(`{"action":"opened"}`), webhook.Ignored, "mean nothing", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				test.app(&s.app)
				status := http.StatusAccepted
				if test.want == webhook.Ping {
					status = http.StatusOK
				}
				s.wants(s.delivery(test.event, test.body), status, test.want, test.reason)
				time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
				got := s.poked()
				if (test.ref != "") != (len(got) == 1) || len(got) == 1 && got[0].ref != test.ref {
					t.Errorf("poked %+v, want %q", got, test.ref)
				}
			})
		})
	}
}

// Without knowing the repository the signature alone decides.
func TestUnknownRepository(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.target = github.ErrNotGitHub
		s.wants(s.push("refs/heads/main", "a", "b"), http.StatusAccepted, webhook.Accepted, "")
		time.Sleep(time.Second) //nolint:forbidigo // the time of the test's bubble
	})
}

func TestBurstIsOneLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.app.Spec.Update.Branch, s.app.Spec.Update.Semver = "", "1.x"
		for i := range 20 {
			s.wants(s.push("refs/tags/v1.0.0", "a", fmt.Sprintf("b%02d", i)), http.StatusAccepted, webhook.Accepted, "")
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the time of the test's bubble
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
		got := s.poked()
		if len(got) != 1 || got[0].sha != sha("b19") {
			t.Fatalf("poked %+v", got)
		}
		// Of several refs no one is named.
		s.wants(s.push("refs/tags/v1.0.1", "a", "c1"), http.StatusAccepted, webhook.Accepted, "")
		s.wants(s.push("refs/tags/v1.0.2", "a", "c2"), http.StatusAccepted, webhook.Accepted, "")
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
		if got = s.poked(); len(got) != 2 || got[1].ref != "" || got[1].sha != "" {
			t.Errorf("poked %+v", got)
		}
	})
}

// Deliveries that do not stop neither put the look off for ever nor lead to many.
func TestDeliveriesWithoutEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for i := range 300 {
			s.wants(s.push("refs/heads/main", "a", fmt.Sprintf("b%03d", i)), http.StatusAccepted, webhook.Accepted, "")
			time.Sleep(200 * time.Millisecond) //nolint:forbidigo // the time of the test's bubble
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
		got := s.poked()
		if n := len(got); n < 10 || n > 14 { // in a minute
			t.Errorf("%d looks", n)
		}
		if last := got[len(got)-1]; last.sha != sha("b299") {
			t.Errorf("the last look is for %s", last.sha)
		}
		for i := 1; i < len(got); i++ {
			if d := got[i].at.Sub(got[i-1].at); d < 5*time.Second {
				t.Errorf("looks %s apart", d)
			}
		}
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		refused := 0
		for range 500 {
			w := s.send(githubtest.Delivery("/api/v1/namespaces/ns/applications/shop/webhooks/github", "push", "0123456789", "guess", []byte("{}")))
			if w.Code == http.StatusTooManyRequests {
				refused++
				if w.Header().Get("Retry-After") == "" {
					t.Fatal("no Retry-After")
				}
			}
		}
		if lines := s.lines(); refused != 400 || len(lines) != tally.Burst {
			t.Errorf("%d refused, %d lines in the audit log", refused, len(lines))
		}
		r := s.push("refs/heads/main", "a", "b")
		r.RemoteAddr = "198.51.100.9:1"
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted {
			t.Errorf("another address is refused too: %d", w.Code)
		}
		s.lines()               // that one
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
		synctest.Wait()
		if lines := s.lines(); len(lines) != 1 || lines[0].More != 500-tally.Burst-1 || lines[0].From != "192.0.2.7" {
			t.Errorf("the others are told as %+v", lines)
		}
		s.wants(s.push("refs/heads/main", "b", "c"), http.StatusAccepted, webhook.Accepted, "")
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the time of the test's bubble
	})
}

// Deliveries that do not come in take no more memory than eight of them may, and
// those of one address do not keep others out.
func TestManySlowDeliveries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var writers []*io.PipeWriter
		var wg sync.WaitGroup
		slow := func(address string) {
			reader, writer := io.Pipe()
			writers = append(writers, writer)
			r := s.push("refs/heads/main", "a", "b")
			r.Body, r.ContentLength, r.RemoteAddr = reader, 1000, address
			wg.Go(func() { s.handler.ServeHTTP(httptest.NewRecorder(), r) })
			synctest.Wait()
		}
		for range 4 {
			slow("203.0.113.1:1")
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // the time of the test's bubble
		s.wants(s.push("refs/heads/main", "a", "b"), http.StatusAccepted, webhook.Accepted, "")
		for i := range 6 {
			slow(fmt.Sprintf("203.0.113.%d:1", 2+i))
		}
		s.wants(s.push("refs/heads/main", "b", "c"), http.StatusServiceUnavailable, webhook.Refused, "too many deliveries at once")
		for _, w := range writers {
			_ = w.CloseWithError(io.ErrUnexpectedEOF)
		}
		wg.Wait()
		s.wants(s.push("refs/heads/main", "c", "d"), http.StatusAccepted, webhook.Accepted, "")
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
	})
}

// A delivery that stops half-way on its connection is given up.
func TestReadDeadline(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	deadlines := make(chan time.Time, 1)
	w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder(), set: deadlines}
	begin := time.Now()
	s.handler.ServeHTTP(w, s.push("refs/heads/main", "a", "b"))
	if d := (<-deadlines).Sub(begin); d <= 0 || d > 30*time.Second {
		t.Errorf("the body may take %s", d)
	}
}

type deadlineWriter struct {
	*httptest.ResponseRecorder
	set chan<- time.Time
}

func (w *deadlineWriter) SetReadDeadline(t time.Time) error {
	w.set <- t
	return nil
}
