// SPDX-License-Identifier: Apache-2.0

package subresource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
)

// recheckEvery is how often it is asked whether the caller of a subresource, which
// may stream for hours, may still read it.
const recheckEvery = 10 * time.Second

// errRevoked ends a stream whose caller may not read it any more.
var errRevoked = errors.New("the caller may not read this any more")

// Rechecker asks again what the chain of the server asked before a handler began.
type Rechecker struct {
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
	every         time.Duration
}

// NewRechecker asks these two, every 10 seconds.
func NewRechecker(authn authenticator.Request, authz authorizer.Authorizer) *Rechecker {
	return &Rechecker{authenticator: authn, authorizer: authz, every: recheckEvery}
}

type authorizationKey struct{}

// KeepAuthorization keeps the caller's token, which the server takes out of the
// request once it has looked at it. It belongs outside of the chain that With is in.
func KeepAuthorization(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), authorizationKey{}, r.Header.Get("Authorization"))))
	})
}

// watch ends ctx, by cancel, when the caller of r loses the right to it.
func (c *Rechecker) watch(ctx context.Context, r *http.Request, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.check(r); err != nil {
			cancel(fmt.Errorf("%w: %w", errRevoked, err))
			return
		}
	}
}

func (c *Rechecker) check(r *http.Request) error {
	again := r.Clone(r.Context())
	if token, _ := r.Context().Value(authorizationKey{}).(string); token != "" {
		again.Header.Set("Authorization", token)
	}
	if _, ok, err := c.authenticator.AuthenticateRequest(again); err != nil || !ok {
		return errors.Join(errors.New("it is not authenticated"), err)
	}
	attributes, err := genericapifilters.GetAuthorizerAttributes(r.Context())
	if err != nil {
		return err
	}
	decision, reason, err := c.authorizer.Authorize(r.Context(), attributes)
	if decision != authorizer.DecisionAllow {
		return errors.Join(errors.New("it is not authorised: "+reason), err)
	}
	return nil
}
