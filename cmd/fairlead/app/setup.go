// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	_ "time/tzdata" // a container or a small host may have none of its own

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/agent"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/controlplane/subresource"
	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/endpoint"
	"github.com/fairlead-dev/fairlead/internal/github/webhook"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
	"github.com/fairlead-dev/fairlead/internal/hostaccess/hostserver"
	"github.com/fairlead-dev/fairlead/internal/httpapi"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/oidc"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/internal/updatelog/logserver"
	"github.com/fairlead-dev/fairlead/internal/webui"
)

// composeAgent is the composition of the daemon: the controllers of the Docker
// host, logs and backups as subresources, the HTTP API, and the webhook of
// GitHub.
func composeAgent(ctx context.Context, f serveFlags) (composition, error) {
	compose.CaptureLogs(logr.FromContextOrDiscard(ctx).WithName("compose")) // until the process ends
	var reader atomic.Pointer[requestwatch.Reader]
	logs := logserver.Handler(func() requestwatch.Reader {
		if r := reader.Load(); r != nil {
			return *r
		}
		return nil
	})
	connect := func(_ context.Context, mgr manager.Manager) error {
		c, err := agent.Connect(mgr)
		if err != nil {
			return err
		}
		var r requestwatch.Reader = c
		reader.Store(&r)
		return nil
	}
	audited := openAudit(ctx, f)
	github, err := agent.NewGitHub(agent.GitHubOptions{
		Version: buildVersion(), PublicURL: f.publicURL, MaxWebhook: f.webhookMaxBytes, Audit: audited.Logger(),
	})
	if err != nil {
		return composition{}, err
	}
	limits := guard.New(guard.Options{})
	api, err := composeHTTP(ctx, f, limits, audited)
	if err != nil {
		return composition{}, err
	}
	ui := webui.Options{API: api, DataDir: f.dataDir, Version: buildVersion(), Secure: strings.HasPrefix(f.publicURL, "https://"),
		PublicURL: strings.TrimRight(f.publicURL, "/"), Limits: f.sessions, Log: logr.FromContextOrDiscard(ctx).WithName("web")}
	if f.oidc.Enabled() {
		provider, err := oidc.New(f.oidc)
		if err != nil {
			return composition{}, err
		}
		ui.Provider = provider
	}
	web, err := webui.New(ui)
	if err != nil {
		return composition{}, err
	}
	openSessions := func(ctx context.Context, _ manager.Manager) error { return web.Connect(ctx) }
	host := &hostserver.Server{Host: api.host, Reader: func() client.Reader {
		if r := reader.Load(); r != nil {
			return *r
		}
		return nil
	}}
	return composition{
		guard: limits, audit: audited,
		setup: []daemon.SetupFunc{connect, api.connect, openSessions, agent.Setup(agent.Options{
			DockerHost: f.dockerHost, Version: buildVersion(), ManifestDir: filepath.Join(f.dataDir, "manifests"),
			GatewayDir: filepath.Join(f.dataDir, "gateway"),
			Enricher:   github.Enricher(), Expose: github.Exposed, HandoverTimeout: f.handoverTimeout,
		}), github.Setup},
		routes: []endpoint.Route{
			{Pattern: webhook.Pattern, Handler: github.Webhook(), NotReady: httpapi.NotReady},
			{Pattern: httpapi.Prefix, Handler: api, NotReady: httpapi.NotReady},
			{Pattern: webui.Prefix, Handler: web},
		},
		subresources: []subresource.Route{
			{GroupVersion: v1alpha1.GroupVersion, Resource: "updaterequests", Subresource: "log", Handler: logs},
			{GroupVersion: v1alpha1.GroupVersion, Resource: "applications", Subresource: hostaccess.LogSubresource, Handler: host.Log},
			{GroupVersion: v1alpha1.GroupVersion, Resource: "backups", Subresource: hostaccess.DownloadSubresource, Handler: host.Download},
		},
	}, nil
}
