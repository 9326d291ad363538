// SPDX-License-Identifier: Apache-2.0

// Package oidc lets people sign in with an OpenID Connect provider: Config is what
// an operator says of it, for the API server, which accepts its ID tokens, and for
// Client, which gets them, by the authorization code flow with PKCE.
package oidc

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// None is no prefix, where a prefix can be given: an empty flag or variable counts as not set.
const None = "-"

// Config says which provider people sign in with, and who they are then. The zero
// value: none.
type Config struct {
	// IssuerURL of the provider, with https. What it publishes below
	// /.well-known/openid-configuration must name the same issuer.
	IssuerURL string
	// ClientID as which Fairlead is registered there; ID tokens must be for it.
	ClientID string
	// ClientSecretFile has the client's secret. It is read whenever it is needed.
	// Empty for a public client.
	ClientSecretFile string
	// CAFile has the certificates (PEM) that the provider's own is signed by.
	// Empty for those of the system.
	CAFile string
	// UsernameClaim is the claim of an ID token that names the user. If it is
	// "email", a token that says the address is not verified is refused.
	UsernameClaim string
	// UsernamePrefix comes before the claim; None for nothing.
	UsernamePrefix string
	// GroupsClaim is the claim with the names of the user's groups, a text or a
	// list of texts; a token without it has no groups.
	GroupsClaim string
	// GroupsPrefix comes before each of them; None for nothing.
	GroupsPrefix string
	// RequiredClaims must be in an ID token, with these values.
	RequiredClaims map[string]string
	// Scopes that are asked for. Empty: openid, profile and email, and of groups
	// and offline_access those that the provider says it has.
	Scopes []string
	// ProviderName is shown to people. Empty: the issuer's host.
	ProviderName string
}

// Enabled reports whether there is a provider.
func (c Config) Enabled() bool { return c.IssuerURL != "" }

// Check says what is wrong with the configuration, in terms of the flags it comes
// from.
func (c Config) Check() error {
	if !c.Enabled() {
		if c.ClientID != "" {
			return errors.New("--oidc-client-id is set, but --oidc-issuer-url is not: set both to let people sign in with the provider, or neither")
		}
		return nil
	}
	u, err := url.Parse(c.IssuerURL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("--oidc-issuer-url %q: it must be the provider's issuer exactly as it names itself, such as https://id.example.com/realms/ops", c.IssuerURL)
	case strings.Contains(c.IssuerURL, "/.well-known/"):
		return fmt.Errorf("--oidc-issuer-url %q: leave out /.well-known/openid-configuration", c.IssuerURL)
	case c.ClientID == "":
		return errors.New("--oidc-client-id is missing: the ID under which Fairlead is registered with the provider")
	case c.UsernameClaim == "":
		return errors.New("--oidc-username-claim must not be empty")
	}
	if c.ClientSecretFile != "" {
		if _, err := c.secret(); err != nil {
			return err
		}
	}
	_, err = c.authorities()
	return err
}

// Prefixes are what comes before the names of users and of groups.
func (c Config) Prefixes() (username, groups string) {
	return prefix(c.UsernamePrefix), prefix(c.GroupsPrefix)
}

func prefix(s string) string {
	if s == None {
		return ""
	}
	return s
}

// CA returns the certificates of CAFile, nil if there are none.
func (c Config) CA() ([]byte, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--oidc-ca-file: %w", err)
	}
	return pem, nil
}

// authorities are the certificates of CAFile, nil for those of the system.
func (c Config) authorities() (*x509.CertPool, error) {
	pem, err := c.CA()
	if err != nil || pem == nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--oidc-ca-file: %s has no certificate in PEM", c.CAFile)
	}
	return pool, nil
}

func (c Config) secret() (string, error) {
	if c.ClientSecretFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("--oidc-client-secret-file: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", fmt.Errorf("--oidc-client-secret-file: %s is empty", c.ClientSecretFile)
	}
	return secret, nil
}

// Name is what people know the provider by.
func (c Config) Name() string {
	if c.ProviderName != "" {
		return c.ProviderName
	}
	u, err := url.Parse(c.IssuerURL)
	if err != nil {
		return c.IssuerURL
	}
	return u.Host
}
