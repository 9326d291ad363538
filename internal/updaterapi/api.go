// SPDX-License-Identifier: Apache-2.0

// Package updaterapi serves the HTTP API of SsalgTen's updater, to the letter, on
// top of UpdateRequests:
//
//	GET  /health          {"ok":true}; served by the daemon itself
//	POST /update          creates an UpdateRequest; 202 with a job, or the log as text
//	GET  /jobs            {"success":true,"jobs":[{"id","sizeBytes","updatedAt"}]}
//	GET  /jobs/<id>       the log as text; ?tail=N, the last N lines
//
// A job is an UpdateRequest: its ID, milliseconds since 1970, is the request's label
// fairlead.dev/job, and <ID>.log in the log directory leads to the request's log.
// So jobs outlive every restart. Logs that the former updater left are jobs too.
//
// The whole contract is in docs/compat.md.
package updaterapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

// tokenHeader carries the token of a client.
const tokenHeader = "X-Updater-Token"

// Client is what is needed of the API of objects: the rights are those of the
// identity that it was made for.
type Client interface {
	requestwatch.Reader
	Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error
}

// Guard slows down those who ask too often or guess tokens; *guard.Guard is one.
type Guard interface {
	// Allow is how long addr has to wait before it may ask again; 0 for not at all.
	Allow(addr netip.Prefix) time.Duration
	// Blocked is how long addr has to wait before this token is looked at.
	Blocked(addr netip.Prefix, token string) time.Duration
	// Failed and Succeeded tell whether a token was right.
	Failed(addr netip.Prefix, token string) time.Duration
	Succeeded(addr netip.Prefix, token string)
}

// Audit writes down who wanted to change what; *audit.Log is one.
type Audit interface {
	Write(e audit.Event)
	// Refuse is for requests without a valid token, of which not all get a line.
	Refuse(e audit.Event)
}

// Options say what is served.
type Options struct {
	// Client returns the client of the API of objects, nil until there is one. Its
	// requests are made for the caller of their context, which is the updater; see
	// package identity.
	Client func() Client
	// Namespace and Application that updates are asked for.
	Namespace string
	// Application is asked at each request, as its name may be found out late.
	Application func() string
	// Directory is the deployment directory.
	Directory string
	// LogDir is where the files of jobs lie, and where clients are told they do.
	LogDir string
	// Token that clients must show. Required.
	Token string
	// MaxBody is the size in bytes of the largest body that is taken.
	MaxBody int64
	// Guard slows down guessing. Required.
	Guard Guard
	// Audit gets a line for every attempt to change something, and is told of every
	// wrong token. Required.
	Audit Audit
	// WriteTimeout is how long a client that watches an update may take to receive
	// what was sent; one that is slower is cut off. Default 30 s.
	WriteTimeout time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log of what goes wrong.
	Log logr.Logger
}

// Handler serves the API. It is to be mounted at "/", as it answers every path.
func Handler(o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 30 * time.Second
	}
	return &api{Options: o, streams: make(chan struct{}, maxStreams)}
}

const (
	// maxStreams is how many clients may watch updates by POST /update at once.
	maxStreams = 64
	// tooManyStreams is the error of one more.
	tooManyStreams = "too_many_streams"
)

type api struct {
	Options
	// streams has room for each client that watches an update.
	streams chan struct{}
	// newest is what the IDs of jobs go on from.
	newest newestJob
}

var idPattern = regexp.MustCompile(`^[0-9]{8,20}$`)

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	switch {
	case r.Method == http.MethodGet && path == "/jobs":
		a.guarded(w, r, a.list)
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/jobs/"):
		a.guarded(w, r, func(w http.ResponseWriter, r *http.Request) {
			id, _, _ := strings.Cut(strings.TrimPrefix(path, "/jobs/"), "/")
			a.show(w, r, id)
		})
	case r.Method == http.MethodPost && path == "/update":
		a.guarded(w, r, a.update)
	default:
		send(w, http.StatusNotFound, failed{Error: "not_found"})
	}
}

// guarded lets those pass who show the token.
func (a *api) guarded(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	addr, shown := guard.Address(r), strings.Join(r.Header.Values(tokenHeader), ", ")
	if wait := max(a.Guard.Allow(addr), a.Guard.Blocked(addr, shown)); wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		send(w, http.StatusTooManyRequests, failed{Error: "too_many_requests"})
		return
	}
	if !guard.Equal(shown, a.Token) {
		a.Guard.Failed(addr, shown)
		send(w, http.StatusUnauthorized, failed{Error: "unauthorized"})
		a.Audit.Refuse(audit.Event{ID: uuid.NewString(), From: addr.Addr().String(), Verb: "authenticate", Method: r.Method, Path: r.URL.Path,
			Status: http.StatusUnauthorized, Reason: "no token, or a wrong one"})
		return
	}
	a.Guard.Succeeded(addr, shown)
	next(w, r.WithContext(identity.With(r.Context(), identity.Caller{Updater: true, Address: addr.Addr().String(), AuditID: uuid.NewString()})))
}

// audited writes the audit line of an attempt to start an update.
func (a *api) audited(r *http.Request, request string, status int, reason string) {
	caller, _ := identity.Of(r.Context())
	a.Audit.Write(audit.Event{ID: caller.AuditID, Who: identity.UpdaterName, From: caller.Address, Verb: "create", Resource: "updaterequests",
		Namespace: a.Namespace, Name: request, Method: r.Method, Path: r.URL.Path, Status: status, Reason: reason})
}

// failed is an error of the API; success is there, and false, where the updater
// had it.
type failed struct {
	Success *bool  `json:"success,omitempty"`
	Error   string `json:"error"`
}

func unsuccessful(text string) failed {
	no := false
	return failed{Success: &no, Error: text}
}

// send answers with JSON as JSON.stringify writes it.
func send(w http.ResponseWriter, code int, body any) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(strings.TrimSuffix(b.String(), "\n"))) // the client is gone if this fails
}

func plainText(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

// NotReady answers a request that came before the daemon was ready, or while it
// stops.
func NotReady(w http.ResponseWriter, reason string) {
	send(w, http.StatusServiceUnavailable, failed{Error: reason})
}

// client is nil, and the answer given, while there is no API of objects.
func (a *api) client(w http.ResponseWriter) Client {
	c := a.Client()
	if c == nil {
		w.Header().Set("Retry-After", "1")
		NotReady(w, "starting")
	}
	return c
}
