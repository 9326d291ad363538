// SPDX-License-Identifier: Apache-2.0

// Package webhook takes what GitHub delivers when somebody pushes or publishes a
// release. A delivery is a hint and nothing more: it has the source looked at now
// instead of at the next interval. What is there, and whether it is updated to, the
// source and the policy say; so a delivery that is lost or sent twice does no harm.
package webhook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	gogithub "github.com/google/go-github/v60/github"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/github"
	"github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/tally"
)

// Pattern is where the handler is served, as http.ServeMux takes it.
const Pattern = "POST /api/v1/namespaces/{namespace}/applications/{name}/webhooks/github"

// DefaultMaxBody is how large a delivery may be, in bytes: enough for a push of
// the 2048 commits that GitHub lists at most.
const DefaultMaxBody = 5 << 20

const (
	// bodyTime is how long a delivery may take to come in, lookTime what is
	// needed to judge it.
	bodyTime = 10 * time.Second
	lookTime = 5 * time.Second
)

// Applications reads Applications.
type Applications interface {
	// Application returns nil if there is none of that name.
	Application(ctx context.Context, key types.NamespacedName) (*v1alpha1.Application, error)
}

// Repositories tells of the GitHub repository of an application.
type Repositories interface {
	Target(ctx context.Context, app *v1alpha1.Application) (github.Target, error)
	// WebhookSecret is what deliveries are signed with; nil if there is none.
	WebhookSecret(ctx context.Context, app *v1alpha1.Application) ([]byte, error)
}

// Limiter limits how often an address may call.
type Limiter interface {
	// Allow returns 0, or how long to wait before the next try.
	Allow(addr netip.Prefix) time.Duration
}

// Result is what became of a delivery.
type Result string

// Results.
const (
	// Accepted: the source will be looked at.
	Accepted Result = "accepted"
	// Ignored: it is genuine, and nothing that the application follows moved.
	Ignored Result = "ignored"
	// Ping: GitHub tries whether it gets through.
	Ping Result = "ping"
	// Refused: it was not looked into, or is not genuine, or was seen before.
	Refused Result = "refused"
)

// Record is one delivery, for the audit log.
type Record struct {
	// From is the address of the caller.
	From string
	App  types.NamespacedName
	// Event and Delivery are as the headers have them, if they have the form that
	// GitHub gives them. They are not signed.
	Event, Delivery string
	// Hint is set for what was accepted.
	Hint   Hint
	Result Result
	// Reason why it was not accepted.
	Reason string
	// Status of the answer.
	Status int
	// More is how many others that were refused to the same client, and of which
	// there is no Record, this one stands for.
	More int
}

// Options of New.
type Options struct {
	Applications Applications
	Repositories Repositories
	Poker        Poker
	// Audit takes a record of each delivery. Of those that are refused to a client,
	// which anybody can send, the first few have one each, the others one a minute.
	Audit func(Record)
	// MaxBody in bytes; default DefaultMaxBody.
	MaxBody int64
	// Limiter; default 10 a second of one address, and 100 at once.
	Limiter Limiter
}

// Handler takes deliveries. It needs the wildcards of Pattern.
type Handler struct {
	Options
	reading   *slots
	seen      *seen
	debouncer *debouncer
	refused   *tally.Tally[Record]
}

// New makes a Handler.
func New(o Options) *Handler {
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Limiter == nil {
		o.Limiter = guard.New(guard.Options{Rate: 10, Burst: 100})
	}
	return &Handler{Options: o, reading: newSlots(), seen: newSeen(), debouncer: newDebouncer(o.Poker), refused: tally.New(func(rec Record, more int) {
		rec.More = more
		o.Audit(rec)
	})}
}

// refusal is an answer to a delivery that is not taken.
type refusal struct {
	status int
	detail string
	// reason for the audit log, if it says more than the caller is told.
	reason string
	retry  time.Duration
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := guard.Address(r)
	rec := Record{From: from.Addr().String(), App: types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}}
	if wait := h.Limiter.Allow(from); wait > 0 {
		h.refuse(w, from, rec, &refusal{status: http.StatusTooManyRequests, detail: "too many deliveries from this address", retry: wait})
		return
	}
	v, bad := h.take(w, r, &rec)
	if bad != nil {
		h.refuse(w, from, rec, bad)
		return
	}
	rec.Result, rec.Hint, rec.Status = v.result, v.hint, http.StatusAccepted
	switch v.result {
	case Accepted:
		h.debouncer.add(rec.App, v.hint)
	case Ping:
		rec.Status = http.StatusOK
	default:
		rec.Reason = v.message
	}
	h.Audit(rec)
	answer(w, "application/json", rec.Status, map[string]any{"result": v.result, "message": v.message})
}

// Forms that GitHub gives to what is in the headers.
var (
	eventForm     = regexp.MustCompile(`^[a-z_]{1,64}$`)
	deliveryForm  = regexp.MustCompile(`^[0-9A-Za-z-]{8,64}$`)
	signatureForm = regexp.MustCompile(`^sha256=[0-9a-f]{64}$`)
)

// take judges a delivery, the cheap and the unsigned first.
func (h *Handler) take(w http.ResponseWriter, r *http.Request, rec *Record) (verdict, *refusal) {
	event, id, signature := r.Header.Get("X-GitHub-Event"), r.Header.Get("X-GitHub-Delivery"), r.Header.Get("X-Hub-Signature-256")
	if !eventForm.MatchString(event) || !deliveryForm.MatchString(id) {
		return verdict{}, &refusal{status: http.StatusBadRequest, detail: "the headers X-GitHub-Event and X-GitHub-Delivery are needed, as GitHub sends them"}
	}
	rec.Event, rec.Delivery = event, id
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && media != "application/x-www-form-urlencoded" {
		return verdict{}, &refusal{status: http.StatusUnsupportedMediaType, detail: "the content type must be application/json"}
	}
	if !signatureForm.MatchString(signature) {
		return verdict{}, &refusal{status: http.StatusUnauthorized, detail: "the delivery is not signed: give the webhook on GitHub the secret that the Application has"}
	}
	if r.ContentLength > h.MaxBody {
		return verdict{}, h.tooLarge()
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookTime)
	defer cancel()
	app, secret, reason, bad := h.lookUp(ctx, rec.App)
	if bad != nil {
		return verdict{}, bad
	}
	body, bad := h.read(w, r)
	if bad != nil {
		return verdict{}, bad
	}
	payload, err := gogithub.ValidatePayloadFromBody(media, bytes.NewReader(body), signature, secret)
	if err != nil || app == nil {
		if reason == "" {
			reason = "the signature is wrong"
		}
		return verdict{}, &refusal{status: http.StatusUnauthorized, reason: reason, detail: notGenuine}
	}
	if !h.seen.first(rec.App, id, signature) {
		return verdict{}, &refusal{status: http.StatusConflict, detail: "this delivery was taken before: nothing is done again"}
	}
	// Where the repository is not known, the signature alone says that it is
	// the right one.
	target, err := h.Repositories.Target(ctx, app)
	if err != nil {
		target.Repo = client.Repo{}
	}
	v, err := decide(app, target.Repo, event, payload)
	if err != nil {
		return verdict{}, &refusal{status: http.StatusBadRequest, detail: "the payload is not as GitHub sends it"}
	}
	return v, nil
}

// notGenuine is what everybody is told who cannot sign, whether there is such an
// application or not.
const notGenuine = "the signature is wrong, or no webhook is set up here: it needs an Application of this name, " +
	"and in its Secret, under the key " + github.KeyWebhookSecret + ", the secret that the webhook has on GitHub"

// lookUp finds an application and what its deliveries are signed with. Where there
// is none of both, app is nil, secret is one that nobody knows, so that the same is
// done as for a wrong signature, and reason says why.
func (h *Handler) lookUp(ctx context.Context, key types.NamespacedName) (app *v1alpha1.Application, secret []byte, reason string, bad *refusal) {
	none := func(reason string) (*v1alpha1.Application, []byte, string, *refusal) {
		return nil, []byte(rand.Text()), reason, nil
	}
	unavailable := func(err error) (*v1alpha1.Application, []byte, string, *refusal) {
		return nil, nil, "", &refusal{status: http.StatusServiceUnavailable, detail: "the Application cannot be read now", reason: err.Error(), retry: 10 * time.Second}
	}
	app, err := h.Applications.Application(ctx, key)
	switch {
	case err != nil:
		return unavailable(err)
	case app == nil:
		return none("there is no such Application")
	}
	secret, err = h.Repositories.WebhookSecret(ctx, app)
	switch {
	case failure.AsTerminal(err) != nil:
		return none(err.Error())
	case err != nil:
		return unavailable(err)
	case len(secret) == 0:
		return none("its Secret has no key " + github.KeyWebhookSecret)
	}
	return app, secret, "", nil
}

func (h *Handler) tooLarge() *refusal {
	return &refusal{
		status: http.StatusRequestEntityTooLarge,
		detail: "the delivery is larger than " + strconv.FormatInt(h.MaxBody, 10) + " bytes; the source is looked at at its interval all the same",
	}
}

// read reads the body, of few deliveries at once.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	busy := &refusal{status: http.StatusServiceUnavailable, detail: "too many deliveries at once", retry: time.Second}
	free, ok := h.reading.take(r.Context(), guard.Address(r))
	if !ok {
		return nil, busy
	}
	defer free()
	// Where the server cannot do it, its own limits hold.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, busy
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, h.tooLarge()
	}
	if err != nil {
		return nil, &refusal{status: http.StatusBadRequest, detail: "the delivery did not come in as a whole"}
	}
	return body, nil
}

func (h *Handler) refuse(w http.ResponseWriter, from netip.Prefix, rec Record, bad *refusal) {
	rec.Result, rec.Status, rec.Reason = Refused, bad.status, bad.detail
	if bad.reason != "" {
		rec.Reason = bad.reason
	}
	h.refused.Add(from.String(), rec)
	if bad.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((bad.retry+time.Second-1)/time.Second)))
	}
	answer(w, "application/problem+json", bad.status, map[string]any{"title": http.StatusText(bad.status), "status": bad.status, "detail": bad.detail})
}

func answer(w http.ResponseWriter, media string, status int, body any) {
	var b strings.Builder
	_ = json.NewEncoder(&b).Encode(body) // maps of plain values
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, b.String()) // the caller may be gone
}
