// SPDX-License-Identifier: Apache-2.0

// Package githubtest is a fake of the part of GitHub's REST API that Fairlead
// uses, for tests. It is a fake: it answers from memory, in the shapes, status codes
// and headers that the real API documents and that the conformance tests of
// package client check on both.
package githubtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Limit is the fake's rate limit in an hour.
const Limit = 5000

// Call is one request that the fake was asked.
type Call struct {
	Method, Path string
	// Status that was answered.
	Status int
	// Counted says that it counts against the rate limit.
	Counted bool
}

// Fake is a GitHub server in memory. Its methods may be used by several
// goroutines at once.
type Fake struct {
	prefix string

	mu        sync.Mutex
	repos     map[string]*Repo
	tokens    map[string]bool // may it write
	calls     []Call
	remaining int
	reset     time.Time
	answer    func(http.ResponseWriter, *http.Request) bool
	nextID    int64
	changed   chan struct{}
}

// New makes a fake without repositories, whose API is at prefix: "/" as on
// api.github.com, "/api/v3/" as on an Enterprise Server. Requests with a token are
// refused until it is permitted.
func New(prefix string) *Fake {
	return &Fake{
		prefix: prefix, repos: map[string]*Repo{}, tokens: map[string]bool{}, remaining: Limit,
		nextID: 1000, changed: make(chan struct{}),
	}
}

// Serve serves the fake on a port of the loopback interface until the end of the
// test, and returns the base URL of its API.
func (f *Fake) Serve(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL + f.prefix
}

// RoundTrip answers without a network, as the transport of a client.
func (f *Fake) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if req.Body == nil {
		req.Body = http.NoBody
	}
	f.ServeHTTP(w, req)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

// Permit makes a token known. Without write it may read only.
func (f *Fake) Permit(token string, write bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens[token] = write
}

// Exhaust uses the rate limit up until reset.
func (f *Fake) Exhaust(reset time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remaining, f.reset = 0, reset
}

// Answer puts a function before the API that answers in its place when it
// returns true, as an outage or a secondary limit does. nil takes it away.
func (f *Fake) Answer(answer func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// Outage answers 503 to everything, as GitHub does when it is down.
func Outage(w http.ResponseWriter, _ *http.Request) bool {
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte("<html><title>Unicorn!</title></html>"))
	return true
}

// Secondary answers as GitHub does to too much at once.
func Secondary(retryAfter time.Duration) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
		write(w, http.StatusForbidden, problem("You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
			"https://docs.github.com/free-pro-team@latest/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits", http.StatusForbidden))
		return true
	}
}

// Calls are the requests so far.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// Counted is how many requests counted against the rate limit.
func (f *Fake) Counted() int {
	n := 0
	for _, c := range f.Calls() {
		if c.Counted {
			n++
		}
	}
	return n
}

// Changed is closed when something is written to the fake after the call.
func (f *Fake) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *Fake) written() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// status remembers what was answered.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// ServeHTTP implements http.Handler.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &status{ResponseWriter: w, code: http.StatusOK}
	counted := f.serve(s, r)
	f.calls = append(f.calls, Call{Method: r.Method, Path: r.URL.RequestURI(), Status: s.code, Counted: counted})
}

func (f *Fake) serve(w *status, r *http.Request) (counted bool) {
	if f.answer != nil && f.answer(w, r) {
		return false
	}
	now := time.Now()
	if !f.reset.After(now) {
		f.remaining, f.reset = Limit, now.Add(time.Hour)
	}
	token, authenticated := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	mayWrite := false
	if authenticated {
		var known bool
		if mayWrite, known = f.tokens[token]; !known {
			write(w, http.StatusUnauthorized, problem("Bad credentials", "https://docs.github.com/rest", http.StatusUnauthorized))
			return false
		}
	}
	if f.remaining == 0 {
		f.limits(w)
		write(w, http.StatusForbidden, problem("API rate limit exceeded for user ID 1.", "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api", http.StatusForbidden))
		return false
	}
	// What is answered is buffered, for its ETag.
	inner := httptest.NewRecorder()
	f.route(inner, r, authenticated, mayWrite)
	etag := inner.Header().Get("ETag")
	if r.Method == http.MethodGet && inner.Code == http.StatusOK && etag == "" {
		sum := sha256.Sum256(inner.Body.Bytes())
		etag = `W/"` + hex.EncodeToString(sum[:]) + `"`
	}
	same := etag != "" && r.Header.Get("If-None-Match") == etag
	// GitHub does not count these, if they come with a token.
	if counted = !same || !authenticated; counted {
		f.remaining--
	}
	f.limits(w)
	for name, values := range inner.Header() {
		w.Header()[name] = values
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
		w.Header().Set("Cache-Control", "private, max-age=60, s-maxage=60")
	}
	if same {
		w.WriteHeader(http.StatusNotModified)
		return counted
	}
	w.WriteHeader(inner.Code)
	_, _ = w.Write(inner.Body.Bytes())
	return counted
}

// limits are the headers of the rate limit.
func (f *Fake) limits(w http.ResponseWriter) {
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(Limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(f.remaining))
	h.Set("X-RateLimit-Used", strconv.Itoa(Limit-f.remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(f.reset.Unix(), 10))
	h.Set("X-RateLimit-Resource", "core")
}

// route answers for one repository.
func (f *Fake) route(w http.ResponseWriter, r *http.Request, authenticated, mayWrite bool) {
	path, ok := strings.CutPrefix(r.URL.Path, f.prefix+"repos/")
	parts := strings.SplitN(path, "/", 3)
	if !ok || len(parts) < 3 {
		notFound(w)
		return
	}
	repo := f.repos[strings.ToLower(parts[0]+"/"+parts[1])]
	if repo == nil || repo.private && !authenticated {
		notFound(w)
		return
	}
	if r.Method == http.MethodPost {
		switch need, _, _ := strings.Cut(parts[2], "/"); {
		case !authenticated && !repo.private:
			write(w, http.StatusUnauthorized, problem("Requires authentication", "https://docs.github.com/rest", http.StatusUnauthorized))
			return
		case !mayWrite:
			w.Header().Set("X-Accepted-GitHub-Permissions", need+"=write")
			write(w, http.StatusForbidden, problem("Resource not accessible by personal access token", "https://docs.github.com/rest", http.StatusForbidden))
			return
		}
	}
	repo.serve(w, r, parts[2])
}

type object = map[string]any

func problem(message, documentation string, code int) object {
	return object{"message": message, "documentation_url": documentation, "status": strconv.Itoa(code)}
}

func notFound(w http.ResponseWriter) {
	write(w, http.StatusNotFound, problem("Not Found", "https://docs.github.com/rest", http.StatusNotFound))
}

func invalid(w http.ResponseWriter, format string, args ...any) {
	write(w, http.StatusUnprocessableEntity, problem(fmt.Sprintf(format, args...), "https://docs.github.com/rest", http.StatusUnprocessableEntity))
}

func write(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
