// SPDX-License-Identifier: Apache-2.0

// Package github connects Applications with the GitHub API: which repository is
// theirs, with which token, and what GitHub knows of newer commits. Nothing of it
// is needed for an update; whoever asks goes on without an answer.
package github

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/lru"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github/client"
)

// ErrNotGitHub says that the application's source is not on GitHub, as far as it is known.
var ErrNotGitHub = errors.New("the source is not on GitHub")

// Keys of the Secret that GitHubSpec names.
const (
	KeyToken         = "token"
	KeyWebhookSecret = "webhook-secret"
)

// Secrets reads Secrets.
type Secrets interface {
	// Secret returns the data of a Secret. The error says what to do.
	Secret(ctx context.Context, namespace, name string) (map[string][]byte, error)
}

// Origin finds out where the clone in a deployment directory fetches from,
// without credentials.
type Origin func(ctx context.Context, dir string) (string, error)

// originTTL is how long the answer of Origin is good for; maxOrigins of them are
// remembered.
const (
	originTTL  = time.Minute
	maxOrigins = 256
)

// Resolver finds the repository of an application, and a client for it. It may
// be used by several goroutines at once.
type Resolver struct {
	secrets Secrets
	origin  Origin
	pool    *client.Pool

	mu      sync.Mutex
	origins *lru.Cache
}

type knownOrigin struct {
	url   string
	until time.Time
}

// NewResolver makes a Resolver.
func NewResolver(secrets Secrets, origin Origin, pool *client.Pool) *Resolver {
	return &Resolver{secrets: secrets, origin: origin, pool: pool, origins: lru.New(maxOrigins)}
}

// Target is where the repository of an application is. It asks nobody but the
// clone. The error is ErrNotGitHub if it is not on GitHub.
func (r *Resolver) Target(ctx context.Context, app *v1alpha1.Application) (Target, error) {
	url := app.Spec.Source.URL
	if url == "" {
		var err error
		if url, err = r.originOf(ctx, app.Spec.Compose.Directory); err != nil && !named(app) {
			return Target{}, fmt.Errorf("%w: the origin of %s is not known: %w", ErrNotGitHub, app.Spec.Compose.Directory, err)
		}
	}
	return target(app, url)
}

// named reports whether the spec names the repository, so that the source's URL is
// not needed for that.
func named(app *v1alpha1.Application) bool {
	g := app.Spec.GitHub
	return g != nil && g.Owner != "" && g.Repository != ""
}

func (r *Resolver) originOf(ctx context.Context, dir string) (string, error) {
	r.mu.Lock()
	known, ok := r.origins.Get(dir)
	r.mu.Unlock()
	if ok && time.Now().Before(known.(knownOrigin).until) {
		return known.(knownOrigin).url, nil
	}
	url, err := r.origin(ctx, dir)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	r.origins.Add(dir, knownOrigin{url, time.Now().Add(originTTL)})
	r.mu.Unlock()
	return url, nil
}

// Connect returns the repository of an application and a client for it.
func (r *Resolver) Connect(ctx context.Context, app *v1alpha1.Application) (*client.Client, client.Repo, error) {
	t, err := r.Target(ctx, app)
	if err != nil {
		return nil, client.Repo{}, err
	}
	token := ""
	if t.Secret != "" {
		data, err := r.secrets.Secret(ctx, app.Namespace, t.Secret)
		if err != nil {
			return nil, t.Repo, err
		}
		if token = line(data[KeyToken]); strings.ContainsAny(token, "\r\n\x00") {
			return nil, t.Repo, fmt.Errorf("the key %q of the Secret %s must be one line", KeyToken, t.Secret)
		}
	}
	c, err := r.pool.Client(t.APIURL, token)
	return c, t.Repo, err
}

// WebhookSecret is what GitHub signs the webhooks of an application with; nil
// if there is none.
func (r *Resolver) WebhookSecret(ctx context.Context, app *v1alpha1.Application) ([]byte, error) {
	ref := app.Spec.Source.SecretRef
	if g := app.Spec.GitHub; g != nil && g.SecretRef != nil {
		ref = g.SecretRef
	}
	if ref == nil {
		return nil, nil
	}
	data, err := r.secrets.Secret(ctx, app.Namespace, ref.Name)
	if err != nil {
		return nil, err
	}
	if secret := line(data[KeyWebhookSecret]); secret != "" {
		return []byte(secret), nil
	}
	return nil, nil
}

// line drops the end of the line that files end with.
func line(b []byte) string { return strings.TrimRight(string(b), "\r\n") }

// Head is a cheaper way than `git ls-remote` to learn where a ref is. supported is
// false where it is not: the source is not on GitHub, or there is no token, with
// which asking often would use up a small limit.
func (r *Resolver) Head(ctx context.Context, app *v1alpha1.Application, ref string) (sha string, supported bool, err error) {
	c, repo, err := r.Connect(ctx, app)
	if errors.Is(err, ErrNotGitHub) || err == nil && !c.Authenticated() {
		return "", false, nil
	}
	if err != nil {
		return "", true, err
	}
	sha, err = c.Head(ctx, repo, ref)
	return sha, true, err
}

// Enrich lists the commits from the one that runs to the newest one, both full
// SHAs, newest first and at most client.MaxChanges, with their pages; behind is
// their number. Every error means "not known now": ErrNotGitHub,
// client.ErrUnknownCommit for a commit that was never pushed, client.ErrOffline,
// client.RateLimitError and so on.
func (r *Resolver) Enrich(ctx context.Context, app *v1alpha1.Application, running, newest string) (changes []v1alpha1.Change, behind int, err error) {
	c, repo, err := r.Connect(ctx, app)
	if err != nil {
		return nil, 0, err
	}
	got, err := c.Compare(ctx, repo, running, newest)
	if err != nil {
		return nil, 0, err
	}
	return got.Changes, got.Behind, nil
}
