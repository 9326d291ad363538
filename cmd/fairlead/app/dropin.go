// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-dev/fairlead/internal/agent"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/dropin"
	"github.com/fairlead-dev/fairlead/internal/identity"
	"github.com/fairlead-dev/fairlead/internal/updaterapi"
)

// updater is the daemon standing where an updater stood.
type updater struct {
	settings    dropin.Settings
	facts       dropin.Facts
	plan        dropin.Plan
	application atomic.Pointer[string]
	client      atomic.Pointer[updaterapi.Client]
}

// findUpdater finds out whether this process stands where an updater stood, and then
// sets the flags that nobody gave; nil when it does not.
func findUpdater(ctx context.Context, f *serveFlags) (*updater, error) {
	if !dropin.Hinted(os.LookupEnv) {
		return nil, nil
	}
	sure := dropin.Wanted(os.LookupEnv, false)
	if !sure && !inContainer() {
		return nil, nil // a token on a host of its own
	}
	u, err := newUpdater(ctx, f, sure)
	if err != nil {
		return nil, fmt.Errorf("in the updater's place: %w", err)
	}
	return u, nil
}

// inContainer reports whether this process runs in a container of a Docker engine.
func inContainer() bool {
	_, err := os.Stat("/.dockerenv")
	return err == nil
}

func newUpdater(ctx context.Context, f *serveFlags, sure bool) (*updater, error) {
	u := &updater{}
	var err error
	if sure {
		// Before the engine is asked: a missing token is the first thing to mend.
		if u.settings, err = dropin.Read(os.LookupEnv); err != nil {
			return nil, err
		}
	}
	engine, err := docker.New(f.dockerHost)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	own, err := dropin.Own(ctx, engine)
	if err != nil {
		return nil, err
	}
	if !dropin.Wanted(os.LookupEnv, own.Labels[docker.LabelProject] != "") {
		return nil, nil
	}
	if u.settings, err = dropin.Read(os.LookupEnv); err != nil {
		return nil, err
	}
	if f.kubeconfig != "" {
		return nil, fmt.Errorf("--kubeconfig cannot be used here, as the updater keeps its objects itself: unset it, or unset %s and %s",
			dropin.EnvToken, dropin.EnvWorkspace)
	}
	if u.facts, err = dropin.Gather(ctx, u.settings, own); err != nil {
		return nil, err
	}
	if u.plan, err = dropin.Decide(u.settings, u.facts); err != nil {
		return nil, err
	}
	log := logr.FromContextOrDiscard(ctx)
	for _, note := range u.plan.Notes {
		log.Info(note)
	}
	for _, name := range u.settings.Ignored {
		log.Info("this variable has no meaning any more", "variable", name)
	}
	log.Info("standing in the updater's place", "project", u.facts.Project.Name, "directory", u.facts.Directory, "workspace", u.settings.Workspace)
	if !f.given("data-dir") {
		f.dataDir = u.settings.DataDir
	}
	if !f.given("listen") {
		f.listen = u.settings.Listen
		// The clients are in the project's own network and speak plain HTTP.
		f.insecureHTTP = true
	}
	return u, nil
}

// compose adds the updater's parts to the daemon.
func (u *updater) compose(ctx context.Context, c *composition) {
	c.setup = append(c.setup, u.setup)
	c.rootNotReady = updaterapi.NotReady
	c.root = updaterapi.Handler(updaterapi.Options{
		Client: func() updaterapi.Client {
			if c := u.client.Load(); c != nil {
				return *c
			}
			return nil
		},
		Namespace: clientconfig.DefaultNamespace,
		Application: func() string {
			if name := u.application.Load(); name != nil {
				return *name
			}
			return u.plan.Name
		},
		Directory: u.facts.Directory, LogDir: u.settings.LogDir,
		Token: u.settings.Token, MaxBody: u.settings.MaxBody,
		Guard: c.guard, Audit: c.audit, Log: logr.FromContextOrDiscard(ctx).WithName("updater"),
	})
}

// setup writes the Application, and connects the API with its own identity.
func (u *updater) setup(ctx context.Context, mgr manager.Manager) error {
	admin, err := agent.Connect(mgr)
	if err != nil {
		return err
	}
	name, err := dropin.Apply(ctx, admin, clientconfig.DefaultNamespace, u.plan)
	if err != nil {
		return err
	}
	if err := identity.EnsureUpdater(ctx, admin, clientconfig.DefaultNamespace); err != nil {
		return err
	}
	if err := os.MkdirAll(u.settings.LogDir, 0o700); err != nil {
		return err
	}
	callers, err := identity.New(mgr.GetConfig(), mgr.GetScheme(), mgr.GetRESTMapper())
	if err != nil {
		return err
	}
	u.application.Store(&name)
	var c updaterapi.Client = callers
	u.client.Store(&c)
	return mgr.Add(&updaterapi.Keeper{Cache: mgr.GetCache(), Namespace: clientconfig.DefaultNamespace,
		Directory: u.facts.Directory, LogDir: u.settings.LogDir})
}
