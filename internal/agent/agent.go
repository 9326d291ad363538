// SPDX-License-Identifier: Apache-2.0

// Package agent composes what works on a Docker host: the adapters to the
// engine, Git and the API, the steps, and the controllers that use them.
package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/follow"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/healthcheck"
	"github.com/fairlead-dev/fairlead/internal/gateway/upkeep"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/hooks"
	"github.com/fairlead-dev/fairlead/internal/manifests"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/restore"
	"github.com/fairlead-dev/fairlead/internal/self"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// Options say how the agent works.
type Options struct {
	// DockerHost is the engine's address; empty means DOCKER_HOST or the
	// engine's default socket.
	DockerHost string
	// Version of the binary, as it is shown.
	Version string
	// ManifestDir is where mirrors of the repositories that ManifestSources name
	// are kept. They can be removed at any time.
	ManifestDir string
	// GatewayDir is where the daemon and the gateways of applications share files.
	GatewayDir string
	// Enricher, if set, knows more of sources than Git tells.
	Enricher follow.Enricher
	// Expose, if set, is called with what others may ask of the controllers.
	Expose func(Handles)
	// HandoverTimeout is how long other requests may take to end before the
	// daemon is replaced by an update of its own service; 0 is the default.
	HandoverTimeout time.Duration
	// WrapSteps, if set, stands between the controller and the steps, and
	// WrapClient between the controllers and the API: tests put faults in.
	WrapSteps  func(controllers.StepRunner) controllers.StepRunner
	WrapClient func(client.Client) client.Client
}

// Handles are what others in the daemon may ask of the controllers.
type Handles struct {
	// Poke has the source of an application looked at now, as somebody told that
	// ref (in full, or "" for any) moved to the commit sha (or "").
	Poke func(app types.NamespacedName, ref, sha string)
}

// identity is who the daemon is, in requests that it makes by itself.
const identity = "fairlead"

// Setup adds the controllers to a manager.
func Setup(opts Options) func(ctx context.Context, mgr manager.Manager) error {
	return func(ctx context.Context, mgr manager.Manager) error {
		engine, err := docker.New(opts.DockerHost)
		if err != nil {
			return err
		}
		// Releases and Backups are read and written in turn by one step: from
		// the API server itself, not from a cache that may be behind.
		connected, err := Connect(mgr)
		if err != nil {
			return err
		}
		direct, cached := client.Client(connected), mgr.GetClient()
		if opts.WrapClient != nil {
			direct, cached = opts.WrapClient(direct), opts.WrapClient(cached)
		}
		store := release.Store{Client: direct}
		creator, err := compose.NewCreator(engine)
		if err != nil {
			return err
		}
		finder, gate := &self.Finder{Engine: engine}, controllers.NewGate(opts.HandoverTimeout)
		observer := &observe.Observer{Engine: engine, Releases: store}
		program, err := os.Executable()
		if err != nil {
			return err
		}
		gateways := &boxes.Keeper{Engine: engine, Dir: opts.GatewayDir, Program: "/proc/self/exe", Self: finder.Find}
		if err := metrics.Registry.Register(gateways); err != nil {
			return fmt.Errorf("register the metrics of gateways: %w", err)
		}
		deps := steps.Deps{
			Hooks:  &hooks.Runner{Engine: engine, Secrets: Secrets{Reader: direct}},
			Docker: engine, Creator: creator, Prober: health.NewProber(engine, 0),
			Builder: func(parallel int) *build.Builder {
				return build.NewBuilder(engine, build.Options{Parallelism: parallel})
			},
			Puller: build.NewPuller(engine, build.Options{}), Store: store, Secrets: Secrets{Reader: direct},
			Traffic: steps.DirectTraffic{}, Self: finder,
			Gateways: gateways, Others: gate, Clock: clock.RealClock{}, Version: opts.Version,
		}
		deps.Restorer = &restore.Steps{Deps: deps, Program: program}
		runner := &steps.Runner{Deps: deps}
		if err := mgr.Add(&backupSweeper{reader: direct, runner: &backup.Runner{Engine: engine, Clock: time.Now, Version: opts.Version}}); err != nil {
			return err
		}
		if err := mgr.Add(newTakeover(ctx, engine, finder, gate)); err != nil {
			return err
		}
		carry := newPaced(runner)
		if opts.WrapSteps != nil {
			carry = opts.WrapSteps(carry)
		}
		late, err := lateEvents(mgr, eventPause)
		if err != nil {
			return err
		}
		requests := &controllers.UpdateRequestReconciler{
			Client: cached, Direct: direct, Steps: carry, AtEnd: runner, Events: late, Gate: gate,
		}
		if err := requests.SetupWithManager(ctx, mgr); err != nil {
			return fmt.Errorf("set up the controller of UpdateRequests: %w", err)
		}
		watcher := &engineWatcher{engine: engine, out: make(chan event.TypedGenericEvent[string])}
		news := make(chan event.TypedGenericEvent[types.NamespacedName])
		follower := &follow.Follower{
			Looker: &follow.GitLooker{Secrets: Secrets{Reader: direct}, Enricher: opts.Enricher},
			Wake:   sendTo(news),
		}
		keep := &upkeep.Upkeep{Keeper: gateways, Wake: sendTo(news)}
		apps := &controllers.ApplicationReconciler{
			Client: cached, Observer: observer, Engine: watcher.out, Follower: follower, Gateways: keep, News: news, Events: mgr.GetEventRecorder("fairlead"),
		}
		if err := setUp(mgr, "Applications", apps); err != nil {
			return err
		}
		policy := &controllers.FollowReconciler{Client: cached, Identity: identity}
		if err := setUp(mgr, "update policies", policy); err != nil {
			return err
		}
		manifestSources := &controllers.ManifestSourceReconciler{
			Client: cached, Reader: &manifests.Git{Dir: opts.ManifestDir, Secrets: Secrets{Reader: direct}},
			As: actAs(mgr), Events: mgr.GetEventRecorder("fairlead"),
		}
		if err := setUp(mgr, "ManifestSources", manifestSources); err != nil {
			return err
		}
		checks := &healthcheck.Teller{Engine: engine, Gateways: gateways}
		for _, r := range []manager.Runnable{watcher, follower, keep, checks} {
			if err := mgr.Add(r); err != nil {
				return err
			}
		}
		if opts.Expose != nil {
			opts.Expose(Handles{Poke: follower.Poke})
		}
		if err := notifications(mgr, cached, direct); err != nil {
			return err
		}
		hosts := &controllers.DockerHostReconciler{Client: cached, Observer: observer, Endpoint: engine.DaemonHost(), Version: opts.Version}
		return setUp(mgr, "DockerHosts", hosts)
	}
}

// sendTo sends the names of objects to a controller.
func sendTo(out chan<- event.TypedGenericEvent[types.NamespacedName]) func(context.Context, types.NamespacedName) {
	return func(ctx context.Context, key types.NamespacedName) {
		select {
		case out <- event.TypedGenericEvent[types.NamespacedName]{Object: key}:
		case <-ctx.Done():
		}
	}
}

// actAs makes clients that act as a service account, whose rights then count. Its
// groups are added by the API server, so that the daemon needs no right to act as
// a group.
func actAs(mgr manager.Manager) func(user string) (client.Client, error) {
	return func(user string) (client.Client, error) {
		config := rest.CopyConfig(mgr.GetConfig())
		config.Impersonate = rest.ImpersonationConfig{UserName: user}
		return client.New(config, client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	}
}

// notifications adds the controller that tells people of updates.
func notifications(mgr manager.Manager, cached, direct client.Client) error {
	notifier := &controllers.NotifyReconciler{
		Client: cached, Direct: direct, Sender: &notify.Sender{Secrets: Secrets{Reader: direct}}, Events: mgr.GetEventRecorder("fairlead"),
	}
	return setUp(mgr, "notifications", notifier)
}

// Secrets reads Secrets from the API.
type Secrets struct{ Reader client.Reader }

// Secret returns the data of a Secret. The error says what to do.
func (s Secrets) Secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	var secret corev1.Secret
	err := s.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, failure.Terminalf("SecretNotFound", "there is no Secret %s in the namespace %s: create it, or remove the secretRef that names it", name, namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("read the Secret %s: %w", name, err)
	}
	return secret.Data, nil
}

// engineWatcher tells in which Compose projects something happened.
type engineWatcher struct {
	engine *docker.Client
	out    chan event.TypedGenericEvent[string]
}

// watched are the events that change what is shown of an application.
var watched = []string{"create", "start", "die", "oom", "destroy", "rename", "pause", "unpause", "health_status"}

// Start watches until ctx ends.
func (w *engineWatcher) Start(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx)
	for ctx.Err() == nil {
		err := w.engine.Watch(ctx, docker.EventFilter{Types: []string{"container"}, Actions: watched}, func(e docker.Event) {
			project, ok := e.Attributes[docker.LabelProject]
			if !ok && !e.Resync {
				return
			}
			select {
			case w.out <- event.TypedGenericEvent[string]{Object: project}:
			case <-ctx.Done():
			}
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop
		}
		log.Error(err, "the engine's events cannot be watched; applications are looked at now and then only")
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
		}
	}
	return nil
}
