// SPDX-License-Identifier: Apache-2.0

// Package httpapi is the HTTP API under /api/v1: for web pages, scripts and bots
// that do not want to speak to Kubernetes. It is a client of the Kubernetes API
// and acts with the token of whoever calls it, so that RBAC decides about every
// call; it has no powers of its own and keeps no state but caches. What it answers
// from the daemon's memory (see Cache), it answers after the API server has allowed it.
//
// The way of a request: rate limit, size limit, authentication (with back-off for
// whoever guesses), audit, operation. Operations are described to huma, which
// checks parameters and makes the OpenAPI document of it. Objects are those of
// Kubernetes; errors are problems of RFC 9457; streams are server-sent events.
package httpapi

import (
	"context"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-logr/logr"
	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/internal/auditlog"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

const (
	// Prefix of all paths.
	Prefix = "/api/v1/"

	// MaxBody is the largest body of a request, in bytes.
	MaxBody = 1 << 20

	jsonType       = "application/json"
	mergePatchType = "application/merge-patch+json"

	askTimeout = 10 * time.Second

	documentPath = Prefix + "openapi.json"
)

// Options of an API.
type Options struct {
	// Version of the binary, as the OpenAPI document tells it.
	Version string
	// UpdaterToken, if not empty, is accepted as the token of the updater, see
	// package identity.
	UpdaterToken string
	// Guard limits rates and guesses. It is shared with other listeners that take
	// the same secrets. Default: one of its own.
	Guard *guard.Guard
	// Audit gets a line for every write. Required.
	Audit *audit.Log
	// Definitions are the CustomResourceDefinitions, as YAML: the schemas of the
	// objects in the OpenAPI document.
	Definitions [][]byte
	// Host gives access to the host that the daemon runs on. Without it, what needs
	// that is answered with 503.
	Host hostaccess.Host
	// Sources tells of branches and tags; nil where that is not possible.
	Sources hostaccess.Sources
	// AuditLog reads who did what. Without it, it is empty.
	AuditLog auditlog.Log
	// Streams is how many streams may be open at once; three quarters of them
	// for one caller. Default 1024.
	Streams int
	// Heartbeat is how often a stream without news sends a comment, and Recheck
	// how often it is asked whether its caller may still read it. Default 15 s
	// and 10 s.
	Heartbeat, Recheck time.Duration
	// WriteTimeout is how long a client of a stream may take to receive what was
	// sent; one that is slower is cut off. Default 30 s.
	WriteTimeout time.Duration
	// Log of what goes wrong.
	Log logr.Logger
}

// API serves HTTP.
type API struct {
	opts         Options
	log          logr.Logger
	updaterToken string
	guard        *guard.Guard
	audit        *audit.Log
	identities   *identities
	rights       *rights
	streams      *streams
	followers    *followers
	logs         updatelog.Hub
	mux          *http.ServeMux
	document     *document

	client atomic.Pointer[client.WithWatch]
	cache  atomic.Pointer[Cache]
	// stopping ends all streams.
	stopping atomic.Pointer[context.Context]
}

// New makes an API. It answers 503 until Connect.
func New(o Options) *API {
	if o.Guard == nil {
		o.Guard = guard.New(guard.Options{})
	}
	setDefault(&o.Streams, 1024)
	setDefault(&o.Heartbeat, 15*time.Second)
	setDefault(&o.Recheck, 10*time.Second)
	setDefault(&o.WriteTimeout, 30*time.Second)
	a := &API{
		opts: o, log: o.Log, updaterToken: o.UpdaterToken, guard: o.Guard, audit: o.Audit,
		identities: newIdentities(time.Now), rights: newRights(time.Now), streams: newStreams(o.Streams), mux: http.NewServeMux(),
	}
	a.followers = &followers{api: a, open: map[followKey]*followed{}}
	config := huma.DefaultConfig("Fairlead", o.Version)
	// The document is made when somebody asks for it, see document.
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema in objects of Kubernetes
	h := humago.New(a.mux, config)
	a.register(h)
	a.document = &document{api: h, definitions: o.Definitions}
	a.mux.HandleFunc("GET "+documentPath, a.document.serve)
	a.mux.HandleFunc(Prefix, a.unknown)
	return a
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// Connect gives the API its client, which must be one of identity.New. All
// streams end with ctx.
func (a *API) Connect(ctx context.Context, c client.WithWatch) {
	a.stopping.Store(&ctx)
	a.client.Store(&c)
}

// kube is the client; its requests are made for the caller of their context.
func (a *API) kube() client.WithWatch { return *a.client.Load() }

func (a *API) whoami(ctx context.Context) (authenticationv1.UserInfo, error) {
	return identity.Whoami(ctx, a.kube())
}

// ServeHTTP implements http.Handler for all paths below Prefix.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if wait := a.guard.Allow(guard.Address(r)); wait > 0 {
		writeProblem(w, problem(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests from your address"),
			http.Header{"Retry-After": {seconds(wait)}})
		return
	}
	if r.URL.Path == documentPath {
		a.mux.ServeHTTP(w, r) // it tells nothing that is not in the source
		return
	}
	if a.client.Load() == nil {
		writeProblem(w, problem(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "the daemon is starting"),
			http.Header{"Retry-After": {"1"}})
		return
	}
	rec := &record{id: uuid.NewString(), from: host(r.RemoteAddr)}
	h.Set("Audit-Id", rec.id)
	ctx, ok := a.authenticate(w, r, rec)
	if !ok {
		return
	}
	if r.ContentLength > MaxBody {
		writeProblem(w, tooLarge(), nil)
		a.auditWrite(r, rec, http.StatusRequestEntityTooLarge)
		return
	}
	if r.ContentLength != 0 && !isJSON(r) {
		writeProblem(w, problem(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
			"send JSON, with the header Content-Type: "+jsonType), nil)
		a.auditWrite(r, rec, http.StatusUnsupportedMediaType)
		return
	}
	// Operations bound what they read themselves; this is for the others.
	r.Body = http.MaxBytesReader(w, r.Body, 2*MaxBody)
	r = r.WithContext(ctx)
	if !writes(r.Method) {
		a.mux.ServeHTTP(w, r)
		return
	}
	answer := &statusWriter{ResponseWriter: w}
	// Also when the operation panics.
	defer func() { a.auditWrite(r, rec, answer.status) }()
	a.mux.ServeHTTP(answer, r)
}

// isJSON reports whether the body is said to be JSON, or the patch that it is.
func isJSON(r *http.Request) bool {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && (mediaType == jsonType || mediaType == mergePatchType && r.Method == http.MethodPatch)
}

func tooLarge() *huma.ErrorModel {
	return problem(http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge, "the body is larger than 1 MiB")
}

func host(address string) string {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return h
}

func writes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// record is what is known of a request besides its parameters.
type record struct {
	id   string // audit ID
	from string // the client's address
	who  string
	hash tokenHash
	// What a write wants, in the words of RBAC; set by its operation.
	verb, resource, namespace, name string
	reason                          string // why it was refused
}

type recordKey struct{}

func withRecord(ctx context.Context, r *record) context.Context {
	return context.WithValue(ctx, recordKey{}, r)
}

func recordOf(ctx context.Context) *record {
	r, _ := ctx.Value(recordKey{}).(*record)
	return r
}

// wants notes what a write wants.
func wants(ctx context.Context, verb, resource, namespace, name string) *record {
	r := recordOf(ctx)
	r.verb, r.resource, r.namespace, r.name = verb, resource, namespace, name
	return r
}

func (a *API) auditWrite(r *http.Request, rec *record, status int) {
	verb := rec.verb
	if verb == "" {
		verb = strings.ToLower(r.Method) // it did not get as far as an operation
	}
	a.audit.Write(audit.Event{ID: rec.id, Who: rec.who, From: rec.from, Verb: verb, Resource: rec.resource, Namespace: rec.namespace,
		Name: rec.name, Method: r.Method, Path: r.URL.Path, Status: status, Reason: rec.reason})
}

// auditRead writes a line for a read that is worth one.
func (a *API) auditRead(rec *record, status int) {
	a.audit.Write(audit.Event{ID: rec.id, Who: rec.who, From: rec.from, Verb: rec.verb, Resource: rec.resource, Namespace: rec.namespace,
		Name: rec.name, Method: http.MethodGet, Status: status, Reason: rec.reason})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// unknown answers requests that no operation is for.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != Prefix {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 || slices.Contains(allowed, r.Method) {
		writeProblem(w, problem(http.StatusNotFound, metav1.StatusReasonNotFound, "there is nothing at this path; see "+documentPath), nil)
		return
	}
	writeProblem(w, problem(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, r.Method+" is not possible here"),
		http.Header{"Allow": {strings.Join(allowed, ", ")}})
}

// writeError answers with the problem that err is.
func (a *API) writeError(ctx context.Context, w http.ResponseWriter, err error) {
	p, header := split(a.asProblem(ctx, err))
	writeProblem(w, p, header)
}
