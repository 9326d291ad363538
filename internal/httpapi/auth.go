// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/lru"

	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
)

const (
	// updaterHeader carries UPDATER_TOKEN, as clients of the updater send it.
	updaterHeader = "X-Updater-Token"

	challenge    = `Bearer realm="fairlead"`
	unauthorized = "the token is not valid: it is wrong, has expired or was revoked. Get one with: fairlead token create"
	noToken      = "send a token in the header Authorization: Bearer TOKEN. Get one with: fairlead token create"

	// identityTTL is how long it is remembered whose a token is. What the caller
	// may do is asked of the API server every time, with the token itself.
	identityTTL  = 10 * time.Second
	identityKeep = 1024
)

// identities remembers whose a token is, by its hash.
type identities struct {
	salt  [16]byte
	known *lru.Cache // of knownIdentity by tokenHash
	group singleflight.Group
	now   func() time.Time
}

type tokenHash [sha256.Size]byte

type knownIdentity struct {
	user  authenticationv1.UserInfo
	until time.Time
}

func newIdentities(now func() time.Time) *identities {
	i := &identities{known: lru.New(identityKeep), now: now}
	_, _ = rand.Read(i.salt[:]) // it never fails
	return i
}

func (i *identities) hash(token string) tokenHash {
	return sha256.Sum256(append(i.salt[:len(i.salt):len(i.salt)], token...))
}

// of returns whose the token of ctx is, and asks ask where it is not known.
func (i *identities) of(ctx context.Context, hash tokenHash, ask func(context.Context) (authenticationv1.UserInfo, error)) (authenticationv1.UserInfo, error) {
	if known, ok := i.known.Get(hash); ok {
		if k, ok := known.(knownIdentity); ok && i.now().Before(k.until) {
			return k.user, nil
		}
	}
	// Many requests with one token at once are one question. It outlives the
	// request that happened to come first.
	answer, err, _ := i.group.Do(string(hash[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		user, err := ask(ctx)
		if err == nil {
			i.known.Add(hash, knownIdentity{user: user, until: i.now().Add(identityTTL)})
		}
		return user, err
	})
	user, _ := answer.(authenticationv1.UserInfo)
	return user, err
}

// credentials are what a request shows of its caller.
func credentials(r *http.Request) string {
	if token := r.Header.Get(updaterHeader); token != "" {
		return token
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// authenticate finds out who sent r, or answers r itself. The context that it
// returns makes requests to the API server as the caller.
func (a *API) authenticate(w http.ResponseWriter, r *http.Request, rec *record) (context.Context, bool) {
	addr := guard.Address(r)
	token := credentials(r)
	if token == "" {
		a.refuse(w, r, rec, noToken, 0)
		return nil, false
	}
	if wait := a.guard.Blocked(addr, token); wait > 0 {
		// Not audited: whoever guesses must not be able to fill the disk.
		writeProblem(w, problem(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests,
			"too many wrong tokens came from your address: wait before the next try"), http.Header{"Retry-After": {seconds(wait)}})
		return nil, false
	}
	caller := identity.Caller{Address: rec.from, AuditID: rec.id}
	rec.hash = a.identities.hash(token)
	if guard.Equal(token, a.updaterToken) {
		caller.Updater, rec.who = true, identity.UpdaterName
	} else {
		// The header of the updater takes no other tokens: it would be one more way
		// to leak them.
		if r.Header.Get(updaterHeader) != "" {
			a.refuse(w, r, rec, unauthorized, a.guard.Failed(addr, token))
			return nil, false
		}
		caller.Token = token
	}
	ctx := identity.With(withRecord(r.Context(), rec), caller)
	if !caller.Updater {
		user, err := a.identities.of(ctx, rec.hash, a.whoami)
		if apierrors.IsUnauthorized(err) {
			a.refuse(w, r, rec, unauthorized, a.guard.Failed(addr, token))
			return nil, false
		}
		if err != nil {
			a.writeError(ctx, w, err)
			return nil, false
		}
		rec.who = user.Username
	}
	a.guard.Succeeded(addr, token)
	return ctx, true
}

// refuse answers a request without valid credentials. wait is how long to wait
// before the next try.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, rec *record, why string, wait time.Duration) {
	header := http.Header{"Www-Authenticate": {challenge}}
	if wait > 0 {
		header.Set("Retry-After", seconds(wait))
	}
	writeProblem(w, problem(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, why), header)
	a.audit.Refuse(audit.Event{ID: rec.id, From: rec.from, Verb: "authenticate", Method: r.Method, Path: r.URL.Path,
		Status: http.StatusUnauthorized, Reason: why})
}

// forget drops what is remembered of the caller of ctx, whose token the API
// server does not accept any more.
func (a *API) forget(ctx context.Context) {
	if rec := recordOf(ctx); rec != nil {
		a.identities.known.Remove(rec.hash)
	}
}
