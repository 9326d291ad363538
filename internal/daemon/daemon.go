// SPDX-License-Identifier: Apache-2.0

// Package daemon composes the long-running process: data directory, control
// plane (or the connection to an existing cluster), manifests, controller
// manager and the HTTP endpoints; and stops them in the reverse order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-dev/fairlead/internal/auditfile"
	"github.com/fairlead-dev/fairlead/internal/bootstrap"
	"github.com/fairlead-dev/fairlead/internal/controlplane/options"
	"github.com/fairlead-dev/fairlead/internal/controlplane/subresource"
	"github.com/fairlead-dev/fairlead/internal/datadir"
	"github.com/fairlead-dev/fairlead/internal/endpoint"
	"github.com/fairlead-dev/fairlead/internal/filepages"
	"github.com/fairlead-dev/fairlead/internal/logging"
	"github.com/fairlead-dev/fairlead/internal/oidc"
	"github.com/fairlead-dev/fairlead/internal/ready"
)

// AuditFile is the file, in the data directory, that has a line for every write to the API.
const AuditFile = "audit.log"

const (
	// DefaultListen is the address of the HTTP API.
	DefaultListen = "127.0.0.1:8765"
	// DefaultBindAddress keeps the Kubernetes API on this host.
	DefaultBindAddress = "127.0.0.1"
	// DefaultSecurePort is the port that Kubernetes clients expect.
	DefaultSecurePort = 6443
	// DefaultMetrics is the address of the metrics endpoint.
	DefaultMetrics = "127.0.0.1:8766"
	// DefaultStopTimeout bounds an orderly stop.
	DefaultStopTimeout = 30 * time.Second

	// gcPercent trades a little CPU for memory: the heap of an idle daemon is
	// small next to what an update needs.
	gcPercent = 50

	// settleTime is how long after the start the libraries still warm up.
	settleTime = 5 * time.Second
)

// SetupFunc adds controllers, indexes and other runnables to the manager before
// it starts.
type SetupFunc func(ctx context.Context, mgr manager.Manager) error

// Options say how the daemon runs.
type Options struct {
	// DataDir is the directory of all state. Required.
	DataDir string
	// Kubeconfig, if set, names the cluster to be an agent of; then no control
	// plane is started here.
	Kubeconfig string
	// StartControlPlane starts the embedded API server. Required without Kubeconfig.
	StartControlPlane StartControlPlane
	// BindAddress, an IP address, and SecurePort, 0 for any free one, are where it
	// listens. Default DefaultBindAddress.
	BindAddress string
	SecurePort  int
	// Listen is the address of the HTTP endpoints; port 0 takes any free one.
	// Default DefaultListen.
	Listen string
	// TLS encrypts them. Without it, Listen must be an address of the loopback
	// interface, or InsecureHTTP set.
	TLS          endpoint.TLS
	InsecureHTTP bool
	// TrustedProxies are addresses whose X-Forwarded-For is believed; see
	// endpoint.ParseProxies.
	TrustedProxies []netip.Prefix
	// MetricsBindAddress is the address of the controllers' metrics; "0" or
	// empty serves none.
	MetricsBindAddress string
	// OIDC is a provider whose ID tokens the embedded API server accepts.
	OIDC oidc.Config
	// ReadyFile, if set, is written when everything is ready (see package ready),
	// and removed at the end.
	ReadyFile string
	// Manifests are installed before the controllers start.
	Manifests bootstrap.Manifests
	// Subresources are served by the embedded API server.
	Subresources []subresource.Route
	// Routes are served on Listen, beside the health endpoints, once the daemon is
	// ready; before that they answer 503.
	Routes []endpoint.Route
	// Scheme has the types that the controllers use. Required with Setup.
	Scheme *runtime.Scheme
	// Setup composes the controllers. Without any, no manager runs.
	Setup []SetupFunc
	// Logger is used by all parts. Required.
	Logger *logging.Logger
	// StopTimeout bounds the stop after ctx ends; default DefaultStopTimeout.
	StopTimeout time.Duration
}

// Run runs the daemon until ctx ends, which is a normal stop and returns nil, or
// until a part fails.
func Run(ctx context.Context, opts Options) (err error) {
	start := time.Now()
	if opts.Logger == nil {
		return errors.New("daemon: no logger given")
	}
	if opts.StopTimeout <= 0 {
		opts.StopTimeout = DefaultStopTimeout
	}
	if opts.Listen == "" {
		opts.Listen = DefaultListen
	}
	if opts.BindAddress == "" {
		opts.BindAddress = DefaultBindAddress
	}
	if opts.Kubeconfig == "" && opts.StartControlPlane == nil {
		return errors.New("daemon: neither a cluster nor a control plane given")
	}
	supervisor, err := takeSupervisor()
	if err != nil {
		return err
	}
	limitMemory()
	log := opts.Logger.Logr
	ctx = logr.NewContext(ctx, log)

	dir, err := datadir.Open(opts.DataDir, start)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()

	d := &running{opts: opts, dir: dir, log: log, health: endpoint.NewHealth(), supervisor: supervisor}
	defer func() { err = errors.Join(err, d.stop(ctx)) }()
	if err := d.up(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return err
	}
	if err := d.announce(start); err != nil {
		return err
	}
	settled := time.AfterFunc(settleTime, d.releaseMemory)
	defer settled.Stop()
	return d.wait(ctx)
}

// releaseMemory gives back what only the start needed.
func (d *running) releaseMemory() {
	debug.FreeOSMemory()
	if err := filepages.Release(); err != nil {
		d.log.V(1).Info("memory of the start is kept", "reason", err.Error())
	}
}

// running is what has been started so far.
type running struct {
	opts       Options
	dir        *datadir.Dir
	log        logr.Logger
	health     *endpoint.Health
	supervisor supervisor

	http        *endpoint.Server
	plane       ControlPlane
	audit       io.Closer
	config      *rest.Config
	kubeconfig  string
	stopManager context.CancelFunc
	managerDone chan error
}

func (d *running) up(ctx context.Context) error {
	var err error
	if d.http, err = endpoint.Serve(ctx, endpoint.Options{
		Address: d.opts.Listen, TLS: d.opts.TLS, InsecureHTTP: d.opts.InsecureHTTP, Dir: d.dir, Logger: d.log.WithName("http"),
	}, endpoint.BehindProxies(d.opts.TrustedProxies, d.health.Handler(d.opts.Routes))); err != nil {
		return err
	}
	if err := d.connect(ctx); err != nil {
		return err
	}
	if err := bootstrap.Apply(ctx, d.config, d.opts.Manifests); err != nil {
		return err
	}
	d.log.V(1).Info("custom resources and roles are installed")
	return d.startManager(ctx)
}

// connect provides the API to work against.
func (d *running) connect(ctx context.Context) error {
	if d.opts.Kubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", d.opts.Kubeconfig)
		if err != nil {
			return fmt.Errorf("kubeconfig %s: %w", d.opts.Kubeconfig, err)
		}
		config.QPS, config.Burst = 50, 100
		config.UserAgent = rest.DefaultKubernetesUserAgent()
		d.config, d.kubeconfig = config, d.opts.Kubeconfig
		d.log.Info("working as an agent of a cluster", "server", config.Host)
		return nil
	}
	audit := auditfile.New(d.dir.Join(AuditFile))
	d.audit = audit
	plane, err := d.opts.StartControlPlane(ctx, options.Options{
		DataDir: d.dir, BindAddress: d.opts.BindAddress, SecurePort: d.opts.SecurePort,
		Logger: d.log.WithName("controlplane"), EtcdLogger: d.opts.Logger.Etcd(), Subresources: d.opts.Subresources, Audit: audit, OIDC: d.opts.OIDC,
	})
	if err != nil {
		return err
	}
	d.plane, d.config, d.kubeconfig = plane, plane.RESTConfig(), plane.KubeconfigPath()
	d.health.Watch(func() error { return plane.Err() })
	d.log.Info("Kubernetes API is listening", "url", plane.URL(), "kubeconfig", d.kubeconfig)
	return nil
}

// startManager returns when the controllers run with filled caches.
func (d *running) startManager(ctx context.Context) error {
	if len(d.opts.Setup) == 0 {
		return nil
	}
	metrics := d.opts.MetricsBindAddress
	if metrics == "" {
		metrics = "0"
	}
	mgr, err := manager.New(d.config, manager.Options{
		Scheme:                  d.opts.Scheme,
		Logger:                  d.opts.Logger.Controllers(),
		Metrics:                 metricsserver.Options{BindAddress: metrics},
		GracefulShutdownTimeout: &d.opts.StopTimeout,
		// Secrets are read rarely and one at a time; a cache would hold them all
		// in memory and need permission to list them.
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}}},
	})
	if err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	for _, setup := range d.opts.Setup {
		if err := setup(ctx, mgr); err != nil {
			return fmt.Errorf("controllers: %w", err)
		}
	}
	d.log.V(1).Info("controllers are composed")
	// The manager starts plain runnables after its caches have synced.
	started := make(chan struct{})
	if err := mgr.Add(manager.RunnableFunc(func(context.Context) error { close(started); return nil })); err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	// The manager outlives ctx: it is stopped in its turn.
	managerCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.stopManager, d.managerDone = cancel, make(chan error, 1)
	go func() { d.managerDone <- mgr.Start(managerCtx) }()
	select {
	case <-started:
		if metrics != "0" {
			d.log.Info("metrics are listening", "address", metrics)
		}
		return nil
	case err := <-d.managerDone:
		d.managerDone <- nil // stop collects it
		return fmt.Errorf("controllers: %w", err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// announce tells everybody who waits that the daemon is ready.
func (d *running) announce(start time.Time) error {
	d.health.SetReady()
	if d.opts.ReadyFile != "" {
		if err := ready.Write(d.opts.ReadyFile, ready.Addresses{
			PID: os.Getpid(), Kubeconfig: d.kubeconfig, API: d.config.Host, HTTP: d.http.Addr(),
		}); err != nil {
			return err
		}
	}
	if err := d.supervisor.tell(stateReady); err != nil {
		d.log.Error(err, "systemd was not told that the daemon is ready")
	}
	d.log.Info("ready", "http", d.http.Addr(), "after", time.Since(start).Round(time.Millisecond))
	return nil
}

func (d *running) wait(ctx context.Context) error {
	var planeDone <-chan struct{}
	if d.plane != nil {
		planeDone = d.plane.Done()
	}
	select {
	case <-ctx.Done():
		d.log.Info("stopping")
		return nil
	case err := <-d.managerDone:
		d.managerDone <- nil
		if err == nil {
			err = errors.New("the manager ended by itself")
		}
		return fmt.Errorf("controllers: %w", err)
	case <-planeDone:
		return fmt.Errorf("control plane: %w", d.plane.Err())
	case err := <-d.http.Failed():
		return fmt.Errorf("HTTP server: %w", err)
	}
}

// stop ends what runs: endpoints, controllers, API server, etcd.
func (d *running) stop(ctx context.Context) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.opts.StopTimeout)
	defer cancel()
	d.health.SetStopping()
	var errs []error
	if d.opts.ReadyFile != "" {
		if err := os.Remove(d.opts.ReadyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := d.supervisor.tell(stateStopping); err != nil {
		d.log.V(1).Info("systemd was not told about the stop", "reason", err.Error())
	}
	if d.stopManager != nil {
		d.stopManager()
		select {
		case err := <-d.managerDone:
			errs = append(errs, err)
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("controllers did not stop: %w", context.Cause(ctx)))
		}
	}
	if d.http != nil {
		errs = append(errs, d.http.Stop(ctx))
	}
	if d.plane != nil {
		errs = append(errs, d.plane.Stop(ctx))
	}
	if d.audit != nil {
		errs = append(errs, d.audit.Close())
	}
	d.log.V(1).Info("stopped", "after", time.Since(start).Round(time.Millisecond))
	return errors.Join(errs...)
}

// limitMemory tunes the garbage collector unless the operator has.
func limitMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
