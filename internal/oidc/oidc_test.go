// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/idp"
)

const redirect = "https://fairlead.example.com/ui/sign-in/callback"

func configOf(p *idp.Provider) Config {
	return Config{IssuerURL: p.URL, ClientID: idp.ClientID, ClientSecretFile: p.SecretFile, CAFile: p.CAFile, UsernameClaim: "email"}
}

func newClient(t *testing.T, c Config) *Client {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

var requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// visit signs somebody in at the provider, and returns what it sends them back with.
func visit(t *testing.T, p *idp.Provider, at, user string) url.Values {
	t.Helper()
	form := url.Values(nil)
	for range 10 {
		method, body := http.MethodGet, ""
		if form != nil {
			method, body = http.MethodPost, form.Encode()
		}
		r, err := http.NewRequestWithContext(t.Context(), method, at, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		a, err := p.Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 4096)
		n, _ := a.Body.Read(text)
		_ = a.Body.Close()
		if to, err := a.Location(); err == nil {
			if strings.HasPrefix(to.String(), redirect) {
				return to.Query()
			}
			at, form = to.String(), nil
			continue
		}
		id := requestID.FindSubmatch(text[:n])
		if id == nil {
			t.Fatalf("%s: %s %s", at, a.Status, text[:n])
		}
		form = url.Values{"id": {string(id[1])}, "user": {user}}
	}
	t.Fatal("the provider leads round in a circle")
	return nil
}

func TestCodeFlow(t *testing.T) {
	p := idp.Start(t, []idp.User{{Name: "ann", Email: "ann@example.com"}, {Name: "bob", Email: "bob@example.com"}}, redirect)
	c := newClient(t, configOf(p))
	verifier := strings.Repeat("v", 43)
	begin := func() string {
		t.Helper()
		at, err := c.AuthURL(t.Context(), redirect, "the-state", "the-nonce", verifier)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	u, err := url.Parse(begin())
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") != "the-nonce" || q.Get("response_type") != "code" {
		t.Errorf("asked with %v", q)
	}
	if got := strings.Fields(q.Get("scope")); !slices.Equal(got, []string{"openid", "profile", "email", "groups", "offline_access"}) {
		t.Errorf("asked for %v", got)
	}
	back := visit(t, p, begin(), "ann")
	if back.Get("state") != "the-state" {
		t.Errorf("came back with %v", back)
	}
	got, err := c.Exchange(t.Context(), redirect, back.Get("code"), "the-nonce", verifier)
	if err != nil || got.Subject != "ann" || got.Refresh == "" || got.Expires.IsZero() {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := c.Exchange(t.Context(), redirect, back.Get("code"), "the-nonce", verifier); !errors.Is(err, ErrRefused) {
		t.Errorf("the code is good twice: %v", err)
	}
	next, err := c.Renew(t.Context(), got.Refresh, "ann")
	if err != nil || next.Subject != "ann" || next.ID == "" || next.Refresh == "" {
		t.Errorf("renewed: %+v, %v", next, err)
	}
	if _, err := c.Renew(t.Context(), next.Refresh, "bob"); !errors.Is(err, ErrRefused) {
		t.Errorf("renewed as somebody else: %v", err)
	}
	if _, err := c.Renew(t.Context(), "made-up", "ann"); !errors.Is(err, ErrRefused) {
		t.Errorf("a refresh token that was made up: %v", err)
	}
	for what, try := range map[string]struct{ nonce, verifier string }{
		"another nonce": {"other", verifier}, "another verifier": {"the-nonce", strings.Repeat("w", 43)},
	} {
		code := visit(t, p, begin(), "ann").Get("code")
		if _, err := c.Exchange(t.Context(), redirect, code, try.nonce, try.verifier); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.WriteFile(p.SecretFile, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Renew(t.Context(), "any", "ann"); !errors.Is(err, ErrRefused) {
		t.Errorf("with a wrong secret: %v", err)
	}
}

func TestProviderIsAway(t *testing.T) {
	p := idp.Start(t, nil, redirect)
	p.Away.Store(true)
	c := newClient(t, configOf(p))
	if _, err := c.AuthURL(t.Context(), redirect, "s", "n", "v"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("away: %v", err)
	}
	p.Away.Store(false)
	if _, err := c.AuthURL(t.Context(), redirect, "s", "n", "v"); err != nil {
		t.Errorf("back again: %v", err)
	}
	p.Away.Store(true)
	if _, err := c.Exchange(t.Context(), redirect, "code", "n", "v"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("away again: %v", err)
	}
	stranger := configOf(p)
	stranger.CAFile = ""
	if _, err := newClient(t, stranger).AuthURL(t.Context(), redirect, "s", "n", "v"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a certificate that nobody knows: %v", err)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := Config{IssuerURL: "https://id.example.com/realms/ops", ClientID: "fairlead", UsernameClaim: "email"}
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"good":               {func(*Config) {}, ""},
		"none":               {func(c *Config) { *c = Config{UsernameClaim: "email"} }, ""},
		"no issuer":          {func(c *Config) { c.IssuerURL = "" }, "--oidc-issuer-url"},
		"no client":          {func(c *Config) { c.ClientID = "" }, "--oidc-client-id"},
		"plain HTTP":         {func(c *Config) { c.IssuerURL = "http://id.example.com" }, "--oidc-issuer-url"},
		"the document's URL": {func(c *Config) { c.IssuerURL += "/.well-known/openid-configuration" }, "leave out"},
		"no secret":          {func(c *Config) { c.ClientSecretFile = filepath.Join(dir, "none") }, "--oidc-client-secret-file"},
		"an empty secret":    {func(c *Config) { c.ClientSecretFile = write("empty", "\n") }, "is empty"},
		"no certificate":     {func(c *Config) { c.CAFile = write("ca", "hello") }, "--oidc-ca-file"},
		"no claim":           {func(c *Config) { c.UsernameClaim = "" }, "--oidc-username-claim"},
	} {
		c := good
		test.change(&c)
		if err := c.Check(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if good.Name() != "id.example.com" {
		t.Errorf("it is called %q", good.Name())
	}
}

// Who signs out at the provider is led back, and no token is told on the way.
func TestEndSession(t *testing.T) {
	p := idp.Start(t, nil, redirect)
	to, err := newClient(t, configOf(p)).EndSessionURL(t.Context(), redirect)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, p.URL+"/") || u.Query().Get("client_id") != idp.ClientID || u.Query().Has("id_token_hint") {
		t.Fatalf("it leads to %s, %v", to, err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	if back := a.Header.Get("Location"); back != redirect {
		t.Errorf("the provider leads to %q, %s", back, a.Status)
	}
	p.Away.Store(true)
	if _, err := newClient(t, configOf(p)).EndSessionURL(t.Context(), redirect); !errors.Is(err, ErrUnreachable) {
		t.Errorf("away: %v", err)
	}
}
