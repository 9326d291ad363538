// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/follow"
	"github.com/fairlead-dev/fairlead/internal/github"
	ghclient "github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/webhook"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// GitHubOptions say how GitHub is used.
type GitHubOptions struct {
	// Version of the binary, as GitHub is told it.
	Version string
	// PublicURL is where people reach the daemon's HTTP API, for links on GitHub.
	// Empty: there are none.
	PublicURL string
	// MaxWebhook is how large a delivery may be, in bytes; 0 means
	// webhook.DefaultMaxBody.
	MaxWebhook int64
	// Audit gets a line for each delivery of a webhook.
	Audit logr.Logger
}

// GitHub is all that has to do with GitHub. Before Setup it answers that it is
// not ready.
type GitHub struct {
	opts     GitHubOptions
	base     *url.URL
	resolver *github.Resolver
	objects  atomic.Pointer[objects]
	poke     atomic.Pointer[func(app types.NamespacedName, ref, sha string)]
}

// objects are read through the cache, Secrets from the API server itself.
type objects struct {
	cached  client.Reader
	secrets Secrets
}

var errNotReady = errors.New("the daemon is not ready")

// NewGitHub makes a GitHub. It fails if the public URL is none.
func NewGitHub(opts GitHubOptions) (*GitHub, error) {
	g := &GitHub{opts: opts}
	if opts.PublicURL != "" {
		u, err := url.Parse(strings.TrimRight(opts.PublicURL, "/"))
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("the public URL %q is none: give one such as https://fairlead.example.com", opts.PublicURL)
		}
		g.base = u
	}
	g.resolver = github.NewResolver(g, origin, ghclient.NewPool(ghclient.Options{Version: opts.Version}))
	return g, nil
}

// origin is where the clone in a deployment directory fetches from.
func origin(ctx context.Context, dir string) (string, error) {
	repo, err := source.Open(ctx, dir, source.Options{})
	if err != nil {
		return "", err
	}
	if repo.URL() == "" {
		return "", source.ErrNoRemote
	}
	return repo.URL(), nil
}

// Enricher knows more of sources on GitHub than Git tells.
func (g *GitHub) Enricher() follow.Enricher { return g.resolver }

// Webhook takes deliveries; it is served at webhook.Pattern.
func (g *GitHub) Webhook() http.Handler {
	return webhook.New(webhook.Options{
		Applications: g, Repositories: g.resolver, Poker: g, MaxBody: g.opts.MaxWebhook,
		Audit: func(r webhook.Record) {
			g.opts.Audit.Info("webhook of GitHub", "verb", "webhook", "from", r.From, "namespace", audit.Cut(r.App.Namespace), "application", audit.Cut(r.App.Name), "event", r.Event, "delivery", r.Delivery,
				"result", r.Result, "status", r.Status, "reason", r.Reason, "ref", r.Hint.Ref, "commit", r.Hint.SHA, "more", r.More)
		},
	})
}

// Poke passes on to the controllers.
func (g *GitHub) Poke(app types.NamespacedName, ref, sha string) {
	if poke := g.poke.Load(); poke != nil {
		(*poke)(app, ref, sha)
	}
}

// Exposed takes what the controllers expose.
func (g *GitHub) Exposed(h Handles) { g.poke.Store(&h.Poke) }

// Secret implements github.Secrets.
func (g *GitHub) Secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	o := g.objects.Load()
	if o == nil {
		return nil, errNotReady
	}
	data, err := o.secrets.Secret(ctx, namespace, name)
	if t := failure.AsTerminal(err); t != nil {
		return nil, failure.Terminalf(t.Reason, "there is no Secret %s in the namespace %s: create it, or take it out of github.secretRef (or source.secretRef)", name, namespace)
	}
	return data, err
}

// Application implements webhook.Applications.
func (g *GitHub) Application(ctx context.Context, key types.NamespacedName) (*v1alpha1.Application, error) {
	o := g.objects.Load()
	if o == nil {
		return nil, errNotReady
	}
	app := &v1alpha1.Application{}
	err := o.cached.Get(ctx, key, app)
	if apierrors.IsNotFound(err) {
		return nil, nil // as the interface has it
	}
	return app, err
}

// page is where a browser shows a request.
func (g *GitHub) page(request types.NamespacedName) string {
	return g.base.JoinPath("ui/namespaces", request.Namespace, "updates", request.Name).String()
}

// Setup adds the controller that reports to GitHub. It comes after [Setup], whose
// index it uses.
func (g *GitHub) Setup(_ context.Context, mgr manager.Manager) error {
	direct, err := Connect(mgr)
	if err != nil {
		return err
	}
	g.objects.Store(&objects{cached: mgr.GetClient(), secrets: Secrets{Reader: direct}})
	reports := &controllers.GitHubReportReconciler{Client: mgr.GetClient(), GitHub: g.resolver, Events: mgr.GetEventRecorder("fairlead")}
	if g.base != nil {
		reports.TargetURL = g.page
	}
	return setUp(mgr, "reports to GitHub", reports)
}
