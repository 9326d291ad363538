// SPDX-License-Identifier: Apache-2.0

// Package client asks GitHub, or a GitHub Enterprise Server, what Fairlead wants
// to know, and tells it what became of updates. It spares the rate limit: what is
// known already is asked for conditionally, and when a limit is used up no call is
// made until it is renewed. Its errors have kinds and never hold a token.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v60/github"
	"k8s.io/utils/lru"
)

// DefaultAPI is the API of github.com.
const DefaultAPI = "https://api.github.com/"

const (
	// timeout of one call, from the connection to the end of the answer.
	timeout = 20 * time.Second
	// maxClients bounds how many pairs of server and token are remembered.
	maxClients = 64
)

// Repo is a repository on a server.
type Repo struct {
	Owner, Name string
}

// String is OWNER/NAME.
func (r Repo) String() string { return r.Owner + "/" + r.Name }

// Options of a Pool.
type Options struct {
	// Version of the program, for the User-Agent.
	Version string
	// Transport to the servers. Default: one with the proxy of the environment
	// (HTTPS_PROXY, NO_PROXY) and the certificates of the system.
	Transport http.RoundTripper
}

// Pool makes clients, one for each server and token, so that those who use the
// same know of the same limits. It may be used by several goroutines at once.
type Pool struct {
	agent   string
	base    http.RoundTripper
	cache   *cache
	mu      sync.Mutex
	clients *lru.Cache
}

// NewPool makes a Pool.
func NewPool(o Options) *Pool {
	if o.Transport == nil {
		o.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	agent := "fairlead"
	if o.Version != "" {
		agent += "/" + o.Version
	}
	return &Pool{agent: agent, base: o.Transport, cache: newCache(), clients: lru.New(maxClients)}
}

// clientKey is what clients are told apart by.
type clientKey struct{ api, token string }

// Client returns the client for an API and a token; without a token it sees what
// is public, with a small rate limit. apiURL is as BaseURL takes it.
func (p *Pool) Client(apiURL, token string) (*Client, error) {
	base, err := BaseURL(apiURL)
	if err != nil {
		return nil, err
	}
	key := clientKey{base.String(), token}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.clients.Get(key); ok {
		return c.(*Client), nil
	}
	api := github.NewClient(&http.Client{
		Transport: &transport{base: p.base, token: token, cache: p.cache}, CheckRedirect: sameHost, Timeout: timeout,
	})
	api.BaseURL, api.UserAgent = base, p.agent
	c := &Client{api: api, authenticated: token != ""}
	p.clients.Add(key, c)
	return c, nil
}

// BaseURL parses the base URL of an API. Empty means DefaultAPI; a server of
// its own that is given without a path has its API at /api/v3/.
func BaseURL(apiURL string) (*url.URL, error) {
	if apiURL == "" {
		apiURL = DefaultAPI
	}
	u, err := url.Parse(apiURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no base URL of a GitHub API: give one such as https://github.example.com/api/v3/", Line(apiURL, 200))
	}
	u.Host = strings.ToLower(u.Host)
	if u.Path = strings.TrimRight(u.Path, "/") + "/"; u.Path == "/" && !strings.HasPrefix(u.Host, "api.") {
		u.Path = "/api/v3/"
	}
	u.RawPath = ""
	return u, nil
}

// Client speaks to one server with one token.
type Client struct {
	api           *github.Client
	authenticated bool

	mu    sync.Mutex
	limit *RateLimitError
}

// Authenticated reports whether the client has a token. Without one, conditional
// requests count against the limit too.
func (c *Client) Authenticated() bool { return c.authenticated }

// call makes one call, unless a limit is known to be used up.
func (c *Client) call(doing string, f func() error) error {
	c.mu.Lock()
	if l := c.limit; l != nil && time.Now().Before(l.Until) {
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", doing, l)
	}
	c.limit = nil
	c.mu.Unlock()
	err := sorted(doing, f(), time.Now())
	if l := Limited(err); l != nil {
		c.mu.Lock()
		c.limit = l
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", doing, l)
	}
	return err
}

// Head is the commit that a ref is at, as a full SHA: refs/heads/main,
// refs/tags/v1, or a SHA. Annotated tags are followed to their commit.
func (c *Client) Head(ctx context.Context, r Repo, ref string) (string, error) {
	var sha string
	err := c.call(fmt.Sprintf("look up %s of %s", Line(ref, 200), r), func() error {
		var err error
		sha, _, err = c.api.Repositories.GetCommitSHA1(ctx, r.Owner, r.Name, strings.TrimPrefix(ref, "refs/"), "")
		return err
	})
	if err != nil {
		return "", missing(err)
	}
	if !isSHA(sha) {
		return "", &Error{Kind: ErrOffline, Doing: "look up " + Line(ref, 200), Detail: "the answer is no commit"}
	}
	return sha, nil
}

// missing tells a ref or commit that is not there from other refusals: GitHub
// answers 422 for a repository that it knows, and 404 for one that it does not.
func missing(err error) error {
	var e *Error
	if errors.As(err, &e) && errors.Is(e.Kind, ErrRefused) {
		e.Kind = ErrUnknownCommit
	}
	return err
}

func isSHA(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}
