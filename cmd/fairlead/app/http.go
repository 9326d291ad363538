// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-dev/fairlead/config"
	"github.com/fairlead-dev/fairlead/internal/agent"
	"github.com/fairlead-dev/fairlead/internal/auditlog"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/follow"
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
	// secrets are those of the sources, once the daemon's own client is there.
	secrets *lateSecrets
	// embedded says that the API server is this daemon's own.
	embedded bool
}

// openAudit is where writes over HTTP are written down.
func openAudit(ctx context.Context, f serveFlags) *audit.Log {
	return audit.Open(zapOf(logr.FromContextOrDiscard(ctx)), filepath.Join(f.dataDir, httpAuditFile))
}

// updaterToken is what clients send as UPDATER_TOKEN: without the blanks, or the CR of
// a .env file from Windows, that the updater's own endpoints leave out as well.
func updaterToken() string { return strings.TrimSpace(os.Getenv(updaterTokenEnv)) }

func composeHTTP(ctx context.Context, f serveFlags, limits *guard.Guard, audited *audit.Log) (*httpAPI, error) {
	definitions, err := config.CRDs()
	if err != nil {
		return nil, err
	}
	log := logr.FromContextOrDiscard(ctx)
	a := &httpAPI{updaterToken: updaterToken(), embedded: f.kubeconfig == ""}
	engine, err := docker.New(f.dockerHost)
	if err != nil {
		return nil, err
	}
	a.host, a.secrets = hostengine.Host{Engine: engine}, &lateSecrets{}
	logs := auditlog.Log{HTTP: filepath.Join(f.dataDir, httpAuditFile)}
	if a.embedded {
		logs.Kubernetes = filepath.Join(f.dataDir, daemon.AuditFile)
	}
	a.API = httpapi.New(httpapi.Options{
		Host: a.host, AuditLog: logs, Sources: hostengine.Sources{Git: &follow.GitLooker{Secrets: a.secrets}},
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
	a.secrets.found.Store(&agent.Secrets{Reader: own})
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
	if a.embedded {
		// Somebody else's cluster may not let the daemon read all of it; then it is
		// tried when somebody asks.
		if err := mgr.Add(manager.RunnableFunc(a.warm)); err != nil {
			return err
		}
	}
	a.Connect(ctx, callers)
	return nil
}

// warm is a manager.RunnableFunc. What cannot be read now is tried again when it is asked for.
func (a *httpAPI) warm(ctx context.Context) error {
	if err := a.Warm(ctx); err != nil && ctx.Err() == nil {
		logf.FromContext(ctx).Info("what pages are made of could not be read ahead", "reason", err.Error())
	}
	return nil
}

// lateSecrets are follow.Secrets that come with the daemon's own client.
type lateSecrets struct{ found atomic.Pointer[agent.Secrets] }

// Secret implements follow.Secrets.
func (s *lateSecrets) Secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	found := s.found.Load()
	if found == nil {
		return nil, errors.New("the daemon is starting: try again in a moment")
	}
	return found.Secret(ctx, namespace, name)
}

// zapOf is the zap logger behind log.
func zapOf(log logr.Logger) *zap.Logger {
	if z, ok := log.GetSink().(zapr.Underlier); ok {
		return z.GetUnderlying()
	}
	return zap.NewNop()
}
