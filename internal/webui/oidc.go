// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fairlead-dev/fairlead/internal/oidc"
	"github.com/fairlead-dev/fairlead/internal/webui/session"
)

// Provider is an OpenID Connect provider that people sign in with; oidc.Client is
// one. The API must accept its ID tokens.
type Provider interface {
	Name() string
	AuthURL(ctx context.Context, redirect, state, nonce, verifier string) (string, error)
	Exchange(ctx context.Context, redirect, code, nonce, verifier string) (oidc.Tokens, error)
	Renew(ctx context.Context, refresh, subject string) (oidc.Tokens, error)
	EndSessionURL(ctx context.Context, redirect string) (string, error)
}

const (
	providerPath  = Prefix + "sign-in/provider"
	callbackPath  = Prefix + "sign-in/callback"
	signedOutPath = Prefix + "signed-out"

	flowCookie = "fairlead-flow"
	flowTime   = 15 * 60 // seconds that somebody has to sign in at the provider

	// renewBefore is how long before its end an ID token is renewed.
	renewBefore = 30 * time.Second
	// renewPatience is how long a page waits for that.
	renewPatience = 5 * time.Second
	// renewPause is how long a provider that did not answer is left alone, while
	// the token that is there is still good.
	renewPause = 10 * time.Second
)

// flow is a sign-in at the provider, between the two visits here. It is in a cookie
// of the browser that began it; what the provider is told is made of Secret by a
// key that only the server has.
type flow struct {
	Secret string `json:"s"`
	Next   string `json:"n"`
}

// told are the values that the provider is told of a flow.
func (f flow) told(store *session.Store) (state, nonce, verifier string) {
	return store.Mark("oidc state " + f.Secret), store.Mark("oidc nonce " + f.Secret), store.Mark("oidc verifier " + f.Secret)
}

// redirectURI is where the provider sends browsers back to.
func (c *call) redirectURI() string {
	if c.s.opts.PublicURL != "" {
		return c.s.opts.PublicURL + callbackPath
	}
	scheme := "http"
	if c.s.secure(c.r) {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host + callbackPath
}

// beginSignIn is GET /ui/sign-in/provider: leads to the provider.
func (s *Server) beginSignIn(c *call) error {
	f := flow{Secret: rand.Text(), Next: localPath(c.r.URL.Query().Get("next"))}
	state, nonce, verifier := f.told(s.sessions.Load())
	to, err := s.opts.Provider.AuthURL(c.Context(), c.redirectURI(), state, nonce, verifier)
	if err != nil {
		c.notSignedIn(err, f.Next)
		return nil
	}
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	// The provider leads back from another site, which a strict cookie would not
	// survive.
	s.setCookieFor(http.SameSiteLaxMode, c.w, c.r, flowCookie, base64.RawURLEncoding.EncodeToString(data), flowTime)
	http.Redirect(c.w, c.r, to, http.StatusSeeOther)
	return nil
}

// currentFlow is the flow that this browser has begun.
func (c *call) currentFlow() (f flow, ok bool) {
	data, err := base64.RawURLEncoding.DecodeString(c.s.cookie(c.r, flowCookie))
	return f, err == nil && json.Unmarshal(data, &f) == nil && f.Secret != ""
}

// finishSignIn is GET /ui/sign-in/callback: the provider has sent somebody back.
func (s *Server) finishSignIn(c *call) error {
	q := c.r.URL.Query()
	if !q.Has("state") && !q.Has("code") && !q.Has("error") {
		// The provider leads here after signing out too, so that it has to know no
		// second address.
		return c.redirect(Prefix + "sign-in")
	}
	f, ok := c.currentFlow()
	state, nonce, verifier := f.told(s.sessions.Load())
	if !ok || !sameSecret(state, q.Get("state")) {
		c.showSignIn(http.StatusForbidden, f.Next, c.T("signin.again"))
		return nil
	}
	s.setCookieFor(http.SameSiteLaxMode, c.w, c.r, flowCookie, "", -1) // it is good for once
	if problem := q.Get("error"); problem != "" {
		s.log.Info("the identity provider did not let somebody in", "error", problem, "description", q.Get("error_description"), "from", c.r.RemoteAddr)
		c.showSignIn(http.StatusForbidden, f.Next, c.T("signin.provider.refused", "name", s.opts.Provider.Name(), "reason", problem))
		return nil
	}
	tokens, err := s.opts.Provider.Exchange(c.Context(), c.redirectURI(), q.Get("code"), nonce, verifier)
	if err != nil {
		c.notSignedIn(err, f.Next)
		return nil
	}
	var who rights
	err = c.do(tokens.ID, http.MethodGet, "whoami", nil, &who)
	if isStatus(err, http.StatusUnauthorized) {
		c.showSignIn(http.StatusForbidden, f.Next, c.T("signin.provider.unknown", "name", s.opts.Provider.Name()))
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.begin(who.Username, session.Credentials{Token: tokens.ID, Refresh: tokens.Refresh, Subject: tokens.Subject}); err != nil {
		return err
	}
	// The browser came from another site and would not send the new cookie if it
	// were redirected: the page that it gets here leads on.
	next := localPath(f.Next)
	c.w.Header().Set("Refresh", "0;url="+next)
	return c.render("signed-in", signedInPage{Next: next})
}

type signedInPage struct{ Next string }

// signedOut is GET /ui/signed-out: a session that came from the provider has ended
// here. That at the provider has not: others may depend on it, so it is offered.
func (s *Server) signedOut(c *call) error {
	page := signedOutPage{Name: s.opts.Provider.Name()}
	var err error
	if page.URL, err = s.opts.Provider.EndSessionURL(c.Context(), c.redirectURI()); err != nil {
		s.log.Info("it is not known where to sign out of the identity provider", "provider", page.Name, "reason", err.Error())
	}
	return c.render("signed-out", page)
}

// signedOutPage names the provider, and where to sign out of it; empty if nowhere.
type signedOutPage struct{ Name, URL string }

// notSignedIn answers with the sign-in page, and why the provider was of no help.
func (c *call) notSignedIn(err error, next string) {
	provider := c.s.opts.Provider.Name()
	c.s.log.Error(err, "signing in with the identity provider failed", "provider", provider, "from", c.r.RemoteAddr)
	switch {
	case errors.Is(err, oidc.ErrUnreachable):
		c.showSignIn(http.StatusBadGateway, next, c.T("signin.provider.away", "name", provider))
	case errors.Is(err, oidc.ErrRefused):
		c.showSignIn(http.StatusForbidden, next, c.T("signin.provider.invalid", "name", provider))
	default:
		c.showSignIn(http.StatusInternalServerError, next, c.T("signin.provider.setup", "name", provider))
	}
}

// ways are the ways to sign in besides a token.
func (c *call) ways(next string) []signInWay {
	if c.s.opts.Provider == nil {
		return nil
	}
	return []signInWay{{URL: providerPath + "?next=" + url.QueryEscape(next), Name: c.s.opts.Provider.Name()}}
}

// renewed is a session whose token is good for a while: the one that is given, or
// with a new token. It is nil if the provider does not let the person go on.
func (c *call) renewed(id string, now *session.Session) (*session.Session, error) {
	s := c.s
	if s.opts.Provider == nil || now.Refresh == "" || now.TokenExpires.Sub(s.opts.Now()) > renewBefore {
		return now, nil
	}
	good := now.TokenExpires.After(s.opts.Now())
	if good && s.opts.Now().UnixNano() < s.renewAfter.Load() {
		return now, nil
	}
	// All that a page asks for at once needs one new token.
	answer, err, _ := s.renewals.Do(id, func() (any, error) {
		// It is finished even if the one who happened to come first goes away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), renewPatience)
		defer cancel()
		all := *c
		all.r = c.r.WithContext(ctx)
		return all.renew(id)
	})
	switch {
	case errors.Is(err, session.ErrNone):
		return nil, nil
	case errors.Is(err, oidc.ErrRefused):
		s.log.Info("a session of the web UI has ended: the identity provider does not renew it", "user", now.Username, "reason", err.Error())
		s.sessions.Load().End(id)
		return nil, nil
	case err != nil && good:
		s.log.Error(err, "a token could not be renewed; trying again", "user", now.Username)
		s.renewAfter.Store(s.opts.Now().Add(renewPause).UnixNano())
		return now, nil
	case errors.Is(err, oidc.ErrUnreachable):
		s.log.Error(err, "a token could not be renewed", "user", now.Username)
		return nil, refused(http.StatusServiceUnavailable, "error.provider")
	}
	found, _ := answer.(*session.Session)
	return found, err
}

// renew gets a new token for the session of id, and keeps it.
func (c *call) renew(id string) (*session.Session, error) {
	store := c.s.sessions.Load()
	now, err := store.Get(id, false)
	if err != nil || now.TokenExpires.Sub(c.s.opts.Now()) > renewBefore {
		return now, err // somebody was faster
	}
	tokens, err := c.s.opts.Provider.Renew(c.Context(), now.Refresh, now.Subject)
	if err != nil {
		return nil, err
	}
	// First of all: the refresh token that there was may be good for nothing now.
	if err := store.Renew(id, session.Credentials{Token: tokens.ID, Refresh: tokens.Refresh, Subject: tokens.Subject}); err != nil {
		return nil, err
	}
	// The name may depend on a claim that has changed.
	var who rights
	if err := c.do(tokens.ID, http.MethodGet, "whoami", nil, &who); err == nil && who.Username != now.Username {
		return nil, fmt.Errorf("%w: the user is called %s now", oidc.ErrRefused, who.Username)
	}
	return store.Get(id, false)
}
