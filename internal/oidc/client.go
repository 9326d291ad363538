// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// patience is how long the provider may take to answer.
const patience = 10 * time.Second

// ErrUnreachable says that the provider does not answer, or not as one does.
var ErrUnreachable = errors.New("the identity provider does not answer")

// ErrRefused says that the provider, or what it sent, does not let this person in.
var ErrRefused = errors.New("the identity provider refused")

// Tokens are what a sign-in brings.
type Tokens struct {
	// ID is the ID token: the API server takes it as a bearer token.
	ID string
	// Expires is when the API server does not take it any more.
	Expires time.Time
	// Subject is who the provider says it is about.
	Subject string
	// Refresh is what the next ID token can be had for, or empty.
	Refresh string
}

// Client gets ID tokens of a provider. It is safe for concurrent use. The provider
// is asked what it can do when that is needed first, so that it need not be there
// when the daemon starts.
type Client struct {
	config Config
	http   *http.Client

	known  atomic.Pointer[discovered]
	asking singleflight.Group
}

// New makes a Client for a configuration that is in order.
func New(c Config) (*Client, error) {
	pool, err := c.authorities()
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: patience,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
	}
	return &Client{config: c, http: &http.Client{Transport: t, Timeout: patience}}, nil
}

// Name is what people know the provider by.
func (c *Client) Name() string { return c.config.Name() }

// Issuer is the provider's name for itself.
func (c *Client) Issuer() string { return c.config.IssuerURL }

// AuthURL is where a browser is sent to sign in. It comes back to redirect with
// state; the ID token will have nonce; verifier is for Exchange.
func (c *Client) AuthURL(ctx context.Context, redirect, state, nonce, verifier string) (string, error) {
	o, err := c.oauth(ctx, redirect)
	if err != nil {
		return "", err
	}
	return o.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), nil
}

// Exchange turns the code that a browser came back with into tokens. Errors are
// ErrUnreachable, ErrRefused, or about the configuration.
func (c *Client) Exchange(ctx context.Context, redirect, code, nonce, verifier string) (Tokens, error) {
	o, err := c.oauth(ctx, redirect)
	if err != nil {
		return Tokens{}, err
	}
	got, err := o.Exchange(oidc.ClientContext(ctx, c.http), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Tokens{}, kindOf(err)
	}
	t, seen, err := c.verify(ctx, got)
	if err != nil {
		return Tokens{}, err
	}
	if subtle.ConstantTimeCompare([]byte(seen), []byte(nonce)) != 1 {
		return Tokens{}, fmt.Errorf("%w: the ID token is for another sign-in", ErrRefused)
	}
	return t, nil
}

// Renew gets another ID token about the same subject. The refresh token must not be
// used again if the answer has another one.
func (c *Client) Renew(ctx context.Context, refresh, subject string) (Tokens, error) {
	o, err := c.oauth(ctx, "")
	if err != nil {
		return Tokens{}, err
	}
	got, err := o.TokenSource(oidc.ClientContext(ctx, c.http), &oauth2.Token{RefreshToken: refresh}).Token()
	if err != nil {
		return Tokens{}, kindOf(err)
	}
	t, _, err := c.verify(ctx, got)
	if err != nil {
		return Tokens{}, err
	}
	if t.Subject != subject {
		return Tokens{}, fmt.Errorf("%w: the new ID token is about somebody else", ErrRefused)
	}
	if t.Refresh == "" {
		t.Refresh = refresh
	}
	return t, nil
}

// EndSessionURL is where a browser is sent to sign out of the provider, which leads
// it back to redirect (OpenID Connect RP-Initiated Logout); empty if the provider has
// no such page. The ID token is not sent along as a hint: it would stand in
// histories and logs, and whoever has it is let in. The provider knows by its own
// cookie who it is about, and may ask.
func (c *Client) EndSessionURL(ctx context.Context, redirect string) (string, error) {
	p, err := c.discover(ctx)
	if err != nil || p.endSession == nil {
		return "", err
	}
	to := *p.endSession
	q := to.Query()
	q.Set("client_id", c.config.ClientID)
	q.Set("post_logout_redirect_uri", redirect)
	to.RawQuery = q.Encode()
	return to.String(), nil
}

// verify checks the ID token that came with an answer.
func (c *Client) verify(ctx context.Context, got *oauth2.Token) (_ Tokens, nonce string, err error) {
	raw, _ := got.Extra("id_token").(string)
	if raw == "" {
		return Tokens{}, "", fmt.Errorf("%w: its answer has no ID token", ErrRefused)
	}
	p, err := c.discover(ctx)
	if err != nil {
		return Tokens{}, "", err
	}
	token, err := p.Verifier(&oidc.Config{ClientID: c.config.ClientID}).Verify(oidc.ClientContext(ctx, c.http), raw)
	if err != nil {
		return Tokens{}, "", fmt.Errorf("%w: the ID token is not valid: %w", ErrRefused, err)
	}
	return Tokens{ID: raw, Expires: token.Expiry, Subject: token.Subject, Refresh: got.RefreshToken}, token.Nonce, nil
}

// kindOf is an error of the token endpoint, of one of the kinds.
func kindOf(err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) || answer.Response != nil && answer.Response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if answer.ErrorCode != "" {
		return fmt.Errorf("%w: %s %s", ErrRefused, answer.ErrorCode, answer.ErrorDescription)
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}

func (c *Client) oauth(ctx context.Context, redirect string) (*oauth2.Config, error) {
	p, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	secret, err := c.config.secret()
	if err != nil {
		return nil, err
	}
	return &oauth2.Config{ClientID: c.config.ClientID, ClientSecret: secret, Endpoint: p.Endpoint(), RedirectURL: redirect, Scopes: p.scopes}, nil
}

// discovered is what a provider says of itself.
type discovered struct {
	*oidc.Provider
	scopes []string // to ask for
	// endSession is where people sign out; nil if nowhere.
	endSession *url.URL
}

// discover asks the provider what it can do; once it has answered, never again.
func (c *Client) discover(ctx context.Context) (*discovered, error) {
	if d := c.known.Load(); d != nil {
		return d, nil
	}
	// Many who wait for a provider that is down wait together.
	answer, err, _ := c.asking.Do("", func() (any, error) {
		p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), c.http), c.config.IssuerURL)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		var can struct {
			Scopes     []string `json:"scopes_supported"`
			EndSession string   `json:"end_session_endpoint"`
		}
		if err := p.Claims(&can); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		d := &discovered{Provider: p, scopes: scopesOf(c.config.Scopes, can.Scopes)}
		if to, err := url.Parse(can.EndSession); err == nil && to.Scheme == "https" && to.Host != "" {
			d.endSession = to
		}
		c.known.Store(d)
		return d, nil
	})
	d, _ := answer.(*discovered)
	return d, err
}

// scopesOf are the scopes to ask for. A provider may refuse one that it does not
// know.
func scopesOf(wanted, supported []string) []string {
	if len(wanted) == 0 {
		wanted = []string{"profile", "email"}
		for _, scope := range []string{"groups", oidc.ScopeOfflineAccess} {
			if slices.Contains(supported, scope) {
				wanted = append(wanted, scope)
			}
		}
	}
	if slices.Contains(wanted, oidc.ScopeOpenID) {
		return wanted
	}
	return append([]string{oidc.ScopeOpenID}, wanted...)
}
