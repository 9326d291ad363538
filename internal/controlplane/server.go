// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
	"github.com/fairlead-dev/fairlead/internal/controlplane/options"
	"github.com/fairlead-dev/fairlead/internal/controlplane/origin"
	"github.com/fairlead-dev/fairlead/internal/pki"
)

const (
	readyTimeout  = 60 * time.Second
	readyInterval = 20 * time.Millisecond
	renewalCheck  = 12 * time.Hour
	namespaceSync = 10 * time.Minute
	contextName   = "fairlead"
)

// Server is a running control plane.
type Server struct {
	opts     options.Options
	pki      pki.Files
	url      string
	dnsNames []string
	ips      []net.IP
	loopback *rest.Config
	own      *origin.Connections

	stopping context.CancelFunc // ends subresource handlers and helpers
	stopAPI  context.CancelFunc
	apiDone  chan struct{}
	helpers  sync.WaitGroup
	store    *etcd

	once sync.Once
	done chan struct{}
	mu   sync.Mutex
	err  error
}

// Start brings up etcd and the API server and returns when requests are served
// and the kubeconfig is written. ctx bounds only the start; afterwards the
// server runs until Stop, or until it fails, which Done tells.
func Start(ctx context.Context, opts options.Options) (_ *Server, err error) {
	if opts.DataDir == nil {
		return nil, errors.New("control plane: no data directory given")
	}
	if opts.EtcdLogger == nil {
		opts.EtcdLogger = zap.NewNop()
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	// The libraries log through the logger of the context: they get klog's.
	ctx = klog.NewContext(ctx, klog.Background())
	if err := disableFeatures(); err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	listener, err := listen(ctx, opts.BindAddress, opts.SecurePort)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, pki: pki.In(opts.DataDir), own: origin.NewConnections(),
		apiDone: make(chan struct{}), done: make(chan struct{})}
	stopping, cancelStopping := context.WithCancel(context.WithoutCancel(ctx))
	apiCtx, stopAPI := context.WithCancel(context.WithoutCancel(ctx))
	s.stopping, s.stopAPI = cancelStopping, stopAPI
	running := false
	defer func() {
		if err == nil {
			return
		}
		cancelStopping()
		stopAPI()
		if running {
			<-s.apiDone
		} else {
			err = errors.Join(err, listener.Close())
		}
		s.helpers.Wait()
		if s.store != nil {
			err = errors.Join(err, s.store.stop())
		}
	}()

	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("control plane: unexpected listener address %s", listener.Addr())
	}
	s.url = "https://" + net.JoinHostPort(reachable(addr.IP).String(), strconv.Itoa(addr.Port))
	s.dnsNames, s.ips = pki.ServingNames(addr.IP)
	if _, err := s.pki.Ensure(opts.Clock.Now(), s.dnsNames, s.ips); err != nil {
		return nil, err
	}
	if s.store, err = startEtcd(ctx, opts.DataDir.Join("etcd"), opts.EtcdLogger); err != nil {
		return nil, err
	}
	authentication, err := trust(opts.DataDir, opts.OIDC)
	if err != nil {
		return nil, fmt.Errorf("control plane: authentication with %s: %w", opts.OIDC.IssuerURL, err)
	}
	c, err := buildChain(apiCtx, chainConfig{listener: listener, pki: s.pki, etcdEndpoint: s.store.endpoint,
		subresources: opts.Subresources, audit: opts.Audit, authentication: authentication, stopping: stopping, own: s.own})
	if err != nil {
		return nil, err
	}
	s.loopback = c.loopback
	running = true
	go func() {
		defer close(s.apiDone)
		if err := c.run(apiCtx); err != nil {
			s.fail(fmt.Errorf("API server ended: %w", err))
		}
	}()
	if err := s.awaitReady(ctx); err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(s.RESTConfig())
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	if err := ensureRoles(ctx, client); err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	if err := s.writeKubeconfig(); err != nil {
		return nil, err
	}
	// Its constructor asks the API which kinds there are.
	namespaces, err := newNamespaceController(stopping, s.RESTConfig(), c)
	if err != nil {
		return nil, err
	}
	s.helpers.Go(func() { namespaces.Run(stopping, 2) })
	s.helpers.Go(func() { s.renew(stopping) })
	s.helpers.Go(func() { s.superviseStore(stopping) })
	return s, nil
}

// RESTConfig returns a copy of the privileged configuration for clients in this
// process. It has no rate limit of its own and speaks JSON, which custom
// resources need. What its requests claim about their origin is believed.
func (s *Server) RESTConfig() *rest.Config {
	c := rest.CopyConfig(s.loopback)
	c.ContentType = ""
	c.QPS = -1
	c.Dial = s.own.Dial
	return c
}

// KubeconfigPath is the administrator's kubeconfig.
func (s *Server) KubeconfigPath() string {
	return clientconfig.KubeconfigIn(s.opts.DataDir.Path())
}

// URL is where clients on this host reach the API.
func (s *Server) URL() string { return s.url }

// Done is closed when the server has failed or was stopped.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is the reason of a failure, or nil. It is settled once Done is closed.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop ends the API server and then etcd. Requests in flight get until ctx ends
// to finish. Clients in this process should be stopped before.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping()
	s.stopAPI()
	var err error
	select {
	case <-s.apiDone:
	case <-ctx.Done():
		err = fmt.Errorf("API server did not finish its requests in time: %w", context.Cause(ctx))
	}
	s.helpers.Wait()
	s.once.Do(func() {
		if stopErr := s.store.stop(); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("etcd: %w", stopErr))
		}
		s.finish()
	})
	return err
}

func (s *Server) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.finish()
}

func (s *Server) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
	default:
		close(s.done)
	}
}

func (s *Server) superviseStore(ctx context.Context) {
	select {
	case <-ctx.Done():
	case err := <-s.store.err():
		s.fail(fmt.Errorf("etcd failed: %w", err))
	case <-s.store.stopped():
		s.fail(errors.New("etcd stopped by itself: its log lines say why"))
	}
}

// awaitReady asks the server itself until it answers that it is ready: its parts
// report readiness only there.
func (s *Server) awaitReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(s.RESTConfig())
	if err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for {
		status := 0
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status).Raw()
		if err == nil && status == http.StatusOK {
			return nil
		}
		s.opts.Logger.V(1).Info("not ready yet", "status", status, "answer", string(body))
		select {
		case <-ticker.C:
		case <-s.done:
			return s.Err()
		case <-ctx.Done():
			return fmt.Errorf("API server did not become ready: %w (last answer: %d %s, %w)", context.Cause(ctx), status, body, err)
		}
	}
}

// renew issues new certificates while the server runs; it picks them up from
// the files by itself.
func (s *Server) renew(ctx context.Context) {
	ticker := s.opts.Clock.NewTicker(renewalCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		changed, err := s.pki.Ensure(s.opts.Clock.Now(), s.dnsNames, s.ips)
		if err == nil && changed {
			err = s.writeKubeconfig()
		}
		switch {
		case err != nil:
			s.opts.Logger.Error(err, "certificates could not be renewed; trying again later", "every", renewalCheck)
		case changed:
			s.opts.Logger.Info("certificates renewed", "kubeconfig", s.KubeconfigPath())
		}
	}
}

func (s *Server) writeKubeconfig() error {
	ca, err := os.ReadFile(s.pki.CACert())
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	cert, err := os.ReadFile(s.pki.AdminCert())
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	key, err := os.ReadFile(s.pki.AdminKey())
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[contextName] = &clientcmdapi.Cluster{Server: s.url, CertificateAuthorityData: ca}
	config.AuthInfos[pki.AdminUser] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: pki.AdminUser, Namespace: clientconfig.DefaultNamespace}
	config.CurrentContext = contextName
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	return atomicfile.WriteFile(s.KubeconfigPath(), data, 0o600)
}

// newNamespaceController empties and removes deleted namespaces: without it
// they stay in "Terminating" for ever.
func newNamespaceController(ctx context.Context, config *rest.Config, c *chain) (*namespace.NamespaceController, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("namespace controller: %w", err)
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("namespace controller: %w", err)
	}
	resources, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("namespace controller: %w", err)
	}
	return namespace.NewNamespaceController(ctx, client, meta, resources.ServerPreferredNamespacedResources,
		c.informers.Core().V1().Namespaces(), namespaceSync, corev1.FinalizerKubernetes), nil
}

func listen(ctx context.Context, address string, port int) (net.Listener, error) {
	if net.ParseIP(address) == nil {
		return nil, fmt.Errorf("API server: %q is not an IP address", address)
	}
	target := net.JoinHostPort(address, strconv.Itoa(port))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", target)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("API server: %s is taken by another process (another cluster on this host?): "+
			"choose another port with --secure-port: %w", target, err)
	}
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return listener, nil
}
