// SPDX-License-Identifier: Apache-2.0

// Package idp runs a real OpenID Connect provider for tests: the one of
// zitadel/oidc, over HTTPS, with its storage in memory and a page to sign in on
// that asks for a name only.
package idp

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// ClientID under which a daemon is registered.
	ClientID = "fairlead"
	secret   = "the-secret-of-the-client"
	password = "unused"
	cookie   = "idp-session" // the name of who is signed in
)

// T is a testing.TB, as far as it is used.
type T interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
	TempDir() string
}

// User is somebody who can sign in.
type User struct {
	Name, Email string
	Unverified  bool // the address
	Groups      []string
}

// Provider is a running provider.
type Provider struct {
	// URL is its issuer.
	URL string
	// CAFile and SecretFile are for the daemon's flags.
	CAFile, SecretFile string
	// Client trusts its certificate, and follows no redirects.
	Client *http.Client
	// Away has it answer 503.
	Away atomic.Bool
	// Lifetime of ID tokens, in ns; default 1 h.
	Lifetime atomic.Int64
	// Remembers has it know people again, by a cookie, until they sign out.
	Remembers atomic.Bool
	// Renewals counts ID tokens that were had for a refresh token.
	Renewals atomic.Int64

	store *store
	mu    sync.Mutex
	users map[string]*User // by name
}

// Start runs a provider with users until the test's end. redirects are where it
// may lead browsers back to.
func Start(t T, users []User, redirects ...string) *Provider {
	t.Helper()
	p := &Provider{users: map[string]*User{}}
	for _, u := range users {
		p.users[u.Name] = &u
	}
	server := httptest.NewUnstartedServer(nil)
	p.URL = "https://" + server.Listener.Addr().String()
	handler, err := p.handler(redirects)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = handler
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	server.StartTLS()
	t.Cleanup(server.Close)
	p.Client = server.Client()
	p.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	dir := t.TempDir()
	p.CAFile, p.SecretFile = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "secret")
	for path, data := range map[string][]byte{
		p.CAFile:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		p.SecretFile: []byte(secret + "\n"),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// Flags are what `fairlead serve` is told of it.
func (p *Provider) Flags() []string {
	return []string{"--oidc-issuer-url", p.URL, "--oidc-client-id", ClientID, "--oidc-client-secret-file", p.SecretFile, "--oidc-ca-file", p.CAFile}
}

// SetGroups changes the groups of a user.
func (p *Provider) SetGroups(name string, groups ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[name].Groups = groups
}

// Revoke has the provider forget what a user has signed in to.
func (p *Provider) Revoke(ctx context.Context, name string) {
	_ = p.store.TerminateSession(ctx, name, ClientID) // in memory it always works
}

func (p *Provider) handler(redirects []string) (http.Handler, error) {
	web := storage.WebClient(ClientID, secret, redirects...)
	p.store = &store{Storage: storage.NewStorageWithClients(p, map[string]*storage.Client{ClientID: web}), provider: p}
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: sha256.Sum256([]byte(p.URL)), CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true,
		SupportedScopes: []string{"openid", "profile", "email", "groups", "offline_access"},
	}, p.store, op.StaticIssuer(p.URL))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	// Where its client says that people sign in.
	letIn := func(w http.ResponseWriter, r *http.Request, name, id string) {
		if err := p.store.CheckUsernamePassword(name, password, id); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: name, Path: "/", Secure: true, HttpOnly: true})
		http.Redirect(w, r, op.AuthCallbackURL(provider)(r.Context(), id), http.StatusFound)
	}
	issuer := op.NewIssuerInterceptor(provider.IssuerFromRequest)
	mux.Handle("GET /login/username", issuer.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if known, err := r.Cookie(cookie); err == nil && p.Remembers.Load() {
			letIn(w, r, known.Value, r.FormValue("authRequestID"))
			return
		}
		p.page(w, r)
	}))
	mux.Handle("POST /login/username", issuer.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		letIn(w, r, r.FormValue("user"), r.FormValue("id"))
	}))
	mux.HandleFunc("/end_session", func(w http.ResponseWriter, r *http.Request) {
		if known, err := r.Cookie(cookie); err == nil {
			p.Revoke(r.Context(), known.Value)
		}
		http.SetCookie(w, &http.Cookie{Name: cookie, Path: "/", Secure: true, HttpOnly: true, MaxAge: -1})
		provider.ServeHTTP(w, r)
	})
	mux.Handle("/", provider)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.Away.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

var page = template.Must(template.New("").Parse(`<!doctype html><title>Sign in</title><h1>Who are you?</h1>
<form method="post"><input type="hidden" name="id" value="{{.ID}}">{{range .Users}}<button name="user" value="{{.}}">{{.}}</button>{{end}}</form>`))

func (p *Provider) page(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for name := range p.users {
		names = append(names, name)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, map[string]any{"ID": r.FormValue("authRequestID"), "Users": names}) // the browser is gone if this fails
}

// GetUserByID implements storage.UserStore.
func (p *Provider) GetUserByID(id string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[id]
	if u == nil {
		return nil
	}
	return &storage.User{ID: u.Name, Username: u.Name, Password: password, Email: u.Email, EmailVerified: !u.Unverified}
}

// GetUserByUsername implements storage.UserStore.
func (p *Provider) GetUserByUsername(name string) *storage.User { return p.GetUserByID(name) }

// ExampleClientID implements storage.UserStore.
func (p *Provider) ExampleClientID() string { return storage.ServiceUserID }

// store adds groups to the tokens.
type store struct {
	*storage.Storage
	provider *Provider
}

// GetClientByClientID implements op.Storage.
func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{Client: c, provider: s.provider}, nil
}

// SetUserinfoFromRequest implements op.CanSetUserinfoFromRequest.
func (s *store) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, request op.IDTokenRequest, scopes []string) error {
	if err := s.Storage.SetUserinfoFromRequest(ctx, info, request, scopes); err != nil {
		return err
	}
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	u := s.provider.users[request.GetSubject()]
	if u == nil {
		return fmt.Errorf("there is no user %q", request.GetSubject())
	}
	info.AppendClaims("groups", u.Groups)
	if u.Unverified { // the library leaves out what is false
		info.AppendClaims("email_verified", false)
	}
	return nil
}

// TokenRequestByRefreshToken implements op.Storage.
func (s *store) TokenRequestByRefreshToken(ctx context.Context, token string) (op.RefreshTokenRequest, error) {
	s.provider.Renewals.Add(1)
	return s.Storage.TokenRequestByRefreshToken(ctx, token)
}

// client has in its ID tokens what it asks for.
type client struct {
	op.Client
	provider *Provider
}

// PostLogoutRedirectURIs are where people may be led to when they have signed out.
func (c client) PostLogoutRedirectURIs() []string { return c.RedirectURIs() }

func (client) IDTokenUserinfoClaimsAssertion() bool { return true }

func (client) IsScopeAllowed(string) bool { return true }

func (c client) IDTokenLifetime() time.Duration {
	if d := time.Duration(c.provider.Lifetime.Load()); d > 0 {
		return d
	}
	return time.Hour
}
