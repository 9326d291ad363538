// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-dev/fairlead/config"
	"github.com/fairlead-dev/fairlead/internal/agent"
	"github.com/fairlead-dev/fairlead/internal/auditlog"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
	hostengine "github.com/fairlead-dev/fairlead/internal/hostaccess/engine"
	"github.com/fairlead-dev/fairlead/internal/httpapi"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/tokens"
)

const (
	// updaterTokenEnv holds the secret that stands for the identity "updater".
	updaterTokenEnv = "UPDATER_TOKEN"

	// httpAuditFile, in the data directory, has a line for every write over HTTP.
	httpAuditFile = "audit-http.log"
)

// httpAPI is the HTTP API and what it needs of the daemon.
type httpAPI struct {
	*httpapi.API
	updaterToken string
	host         hostaccess.Host
	// embedded says that the API server is this daemon's own.
	embedded bool
}

// openAudit is where writes over HTTP are written down.
func openAudit(ctx context.Context, f serveFlags) *audit.Log {
	return audit.Open(zapOf(logr.FromContextOrDiscard(ctx)), filepath.Join(f.dataDir, httpAuditFile))
}

func composeHTTP(ctx context.Context, f serveFlags, limits *guard.Guard, audited *audit.Log) (*httpAPI, error) {
	definitions, err := config.CRDs()
	if err != nil {
		return nil, err
	}
	log := logr.FromContextOrDiscard(ctx)
	a := &httpAPI{updaterToken: os.Getenv(updaterTokenEnv), embedded: f.kubeconfig == ""}
	engine, err := docker.New(f.dockerHost)
	if err != nil {
		return nil, err
	}
	a.host = hostengine.Host{Engine: engine}
	logs := auditlog.Log{HTTP: filepath.Join(f.dataDir, httpAuditFile)}
	if a.embedded {
		logs.Kubernetes = filepath.Join(f.dataDir, daemon.AuditFile)
	}
	a.API = httpapi.New(httpapi.Options{
		Host: a.host, AuditLog: logs,
		Version: buildVersion(), Guard: limits, UpdaterToken: a.updaterToken, Definitions: definitions, Log: log.WithName("http"),
		Audit: audited,
	})
	return a, nil
}

// connect is a daemon.SetupFunc.
func (a *httpAPI) connect(ctx context.Context, mgr manager.Manager) error {
	own, err := agent.Connect(mgr)
	if err != nil {
		return err
	}
	if a.embedded {
		// In somebody else's cluster the daemon has no business with accounts.
		if err := mgr.Add(&tokens.Sweeper{Client: own}); err != nil {
			return err
		}
	}
	if a.updaterToken != "" {
		if err := identity.EnsureUpdater(ctx, own, clientconfig.DefaultNamespace); err != nil {
			return err
		}
	}
	callers, err := identity.New(mgr.GetConfig(), mgr.GetScheme(), mgr.GetRESTMapper())
	if err != nil {
		return err
	}
	a.UseCache(mgr.GetCache())
	a.Connect(ctx, callers)
	return nil
}

// zapOf is the zap logger behind log.
func zapOf(log logr.Logger) *zap.Logger {
	if z, ok := log.GetSink().(zapr.Underlier); ok {
		return z.GetUnderlying()
	}
	return zap.NewNop()
}
