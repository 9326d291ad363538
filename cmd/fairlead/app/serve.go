// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/config"
	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/bootstrap"
	"github.com/fairlead-dev/fairlead/internal/clientconfig"
	"github.com/fairlead-dev/fairlead/internal/controlplane/subresource"
	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/endpoint"
	"github.com/fairlead-dev/fairlead/internal/github/webhook"
	"github.com/fairlead-dev/fairlead/internal/httpapi/audit"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/logging"
	"github.com/fairlead-dev/fairlead/internal/oidc"
	"github.com/fairlead-dev/fairlead/internal/webui"
	"github.com/fairlead-dev/fairlead/internal/webui/session"
)

// serveFlags are the settings of the daemon.
type serveFlags struct {
	dataDir, kubeconfig        string
	bindAddress                string
	securePort                 int
	listen, metricsBindAddress string
	tls                        endpoint.TLS
	insecureHTTP               bool
	trustedProxies             []string
	dockerHost                 string
	logLevel, logFormat        string
	readyFile                  string
	controllers                bool

	// given reports whether somebody set a flag, by its name or its variable.
	given           func(flag string) bool
	publicURL       string
	webhookMaxBytes int64
	handoverTimeout time.Duration
	sessions        session.Limits
	oidc            oidc.Config
}

// composition is what the daemon runs besides the API.
type composition struct {
	// setup adds the controllers to the manager.
	setup []daemon.SetupFunc
	// subresources are served by the embedded API server.
	subresources []subresource.Route
	// routes are served beside the health endpoints.
	routes []endpoint.Route
	// root is served for paths that nothing else is for; nil for a 404. Browsers
	// are led to the web UI before.
	root http.Handler
	// rootNotReady answers for root before it is ready; nil for plain text.
	rootNotReady func(w http.ResponseWriter, reason string)
	// guard keeps all that is served from being flooded and guessed at.
	guard *guard.Guard
	// audit has a line for every write over HTTP.
	audit *audit.Log
}

// composeFunc makes the concrete adapters and controllers. ctx carries the
// logger and ends when the daemon is told to stop.
type composeFunc func(ctx context.Context, f serveFlags) (composition, error)

// newServeCommand is `fairlead serve`. Without compose only the API is served.
func newServeCommand(start daemon.StartControlPlane, compose composeFunc) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: API server, controllers and HTTP endpoints",
		Long: `Run the daemon on a Docker host.

It serves a Kubernetes API of its own, so kubectl and every other Kubernetes
client work against it, and carries out the UpdateRequests that it finds there.
With --kubeconfig it serves no API but works as an agent of that cluster.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := applyEnv(cmd.Flags()); err != nil {
				return err
			}
			f.given = cmd.Flags().Changed
			return serve(cmd.Context(), f, start, compose)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", clientconfig.DefaultDataDir, "directory of all state; only one daemon may use it")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "work as an agent of the cluster that this file names; no API is served here")
	flags.StringVar(&f.bindAddress, "bind-address", daemon.DefaultBindAddress, "IP address of the Kubernetes API")
	flags.IntVar(&f.securePort, "secure-port", daemon.DefaultSecurePort, "port of the Kubernetes API; 0 takes a free one")
	flags.StringVar(&f.listen, "listen", daemon.DefaultListen, "address of the HTTP endpoints")
	flags.BoolVar(&f.tls.Generate, "tls", false, "HTTPS at --listen, with a certificate signed by the data directory's own authority (pki/ca.crt)")
	flags.StringSliceVar(&f.tls.Names, "tls-san", nil, "more names and IP addresses for the certificate of --tls")
	flags.StringVar(&f.tls.CertFile, "tls-cert-file", "", "HTTPS at --listen with this certificate (PEM); it is read again when it changes")
	flags.StringVar(&f.tls.KeyFile, "tls-private-key-file", "", "the key of --tls-cert-file")
	flags.BoolVar(&f.insecureHTTP, "insecure-http", false, "allow --listen beyond this host without TLS: tokens travel in the clear")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxies", nil, "IP addresses and networks of proxies before --listen, whose X-Forwarded-For says who the client is")
	flags.StringVar(&f.metricsBindAddress, "metrics-bind-address", daemon.DefaultMetrics, `address of the metrics; "0" serves none`)
	flags.StringVar(&f.dockerHost, "docker-host", "", "Docker engine, e.g. unix:///var/run/docker.sock; default: DOCKER_HOST or the engine's default socket")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn, error, or a number for more detail")
	flags.StringVar(&f.logFormat, "log-format", logging.FormatAuto, "auto (console on a terminal, else json), console or json")
	flags.StringVar(&f.readyFile, "ready-file", "", "file to write with the actual addresses, as JSON, when the daemon is ready")
	flags.BoolVar(&f.controllers, "controllers", true, "run the controllers; without them only the API is served")
	flags.StringVar(&f.publicURL, "public-url", "", "where people reach --listen, e.g. https://fairlead.example.com; for links on GitHub, and for cookies of the web UI behind a proxy that speaks HTTPS")
	flags.Int64Var(&f.webhookMaxBytes, "webhook-max-bytes", webhook.DefaultMaxBody, "how large a delivery of a webhook may be")
	flags.DurationVar(&f.handoverTimeout, "handover-timeout", controllers.DefaultHandoverTimeout,
		"how long other updates may take to end before an update replaces the daemon's own container")
	flags.DurationVar(&f.sessions.Idle, "web-session-idle", 2*time.Hour, "how long somebody stays signed in to the web UI without using it")
	flags.DurationVar(&f.sessions.Absolute, "web-session-max", 12*time.Hour, "how long somebody stays signed in to the web UI at most; never longer than their token is valid")
	addOIDCFlags(flags, &f.oidc)
	describeEnv(flags)
	return cmd
}

func serve(ctx context.Context, f serveFlags, start daemon.StartControlPlane, compose composeFunc) error {
	logger, err := logging.New(os.Stderr, f.logFormat, f.logLevel, term.IsTerminal(int(os.Stderr.Fd())))
	if err != nil {
		return err
	}
	logger.Install()
	proxies, err := endpoint.ParseProxies(f.trustedProxies)
	if err != nil {
		return err
	}
	if err := f.oidc.Check(); err != nil {
		return err
	}
	crds, err := config.CRDs()
	if err != nil {
		return err
	}
	rolesOf := config.Roles
	if f.kubeconfig != "" {
		rolesOf = config.ClusterRoles
	}
	roles, err := rolesOf()
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	var c composition
	if f.controllers && compose != nil {
		logged := logr.NewContext(ctx, logger.Logr)
		u, err := findUpdater(logged, &f)
		if err != nil {
			return err
		}
		if c, err = compose(logged, f); err != nil {
			return err
		}
		if u != nil {
			u.compose(logged, &c)
		}
		c.routes = append(c.routes, endpoint.Route{Pattern: "/", Handler: webui.Root(c.root), NotReady: c.rootNotReady})
	}
	return daemon.Run(ctx, daemon.Options{
		DataDir: f.dataDir, Kubeconfig: f.kubeconfig, StartControlPlane: start,
		BindAddress: f.bindAddress, SecurePort: f.securePort,
		Listen: f.listen, TLS: f.tls, InsecureHTTP: f.insecureHTTP, TrustedProxies: proxies, OIDC: f.oidc, MetricsBindAddress: f.metricsBindAddress, ReadyFile: f.readyFile,
		Manifests:    bootstrap.Manifests{CRDs: crds, Roles: roles, Version: buildVersion()},
		Subresources: c.subresources, Routes: c.routes, Setup: c.setup, Scheme: scheme, Logger: logger,
	})
}

// version is set when a release is built; see the Makefile.
var version string

// buildVersion is the version of this binary: the one it was built as, else
// that of its module, "(devel)" for a build from a working tree.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// addOIDCFlags adds the settings of a provider that people sign in with. They are
// called as those of the Kubernetes API server where there are such.
func addOIDCFlags(flags *pflag.FlagSet, c *oidc.Config) {
	flags.StringVar(&c.IssuerURL, "oidc-issuer-url", "", "let people sign in with this OpenID Connect provider; its issuer, with https")
	flags.StringVar(&c.ClientID, "oidc-client-id", "", "ID under which this daemon is registered with the provider, with the redirect URI PUBLIC-URL/ui/sign-in/callback")
	flags.StringVar(&c.ClientSecretFile, "oidc-client-secret-file", "", "file with the client's secret, read whenever it is needed; none for a public client")
	flags.StringVar(&c.CAFile, "oidc-ca-file", "", "certificates (PEM) that the provider's own is signed by; default: those of the system")
	flags.StringVar(&c.UsernameClaim, "oidc-username-claim", "email", "claim of the ID token that names the user")
	flags.StringVar(&c.UsernamePrefix, "oidc-username-prefix", "oidc:", `comes before the user's name, in RBAC and in the audit log; "-" for nothing`)
	flags.StringVar(&c.GroupsClaim, "oidc-groups-claim", "groups", "claim of the ID token with the user's groups")
	flags.StringVar(&c.GroupsPrefix, "oidc-groups-prefix", "oidc:", `comes before each of them, in RBAC; "-" for nothing`)
	flags.StringToStringVar(&c.RequiredClaims, "oidc-required-claim", nil, "claims that an ID token must have, as claim=value")
	flags.StringSliceVar(&c.Scopes, "oidc-scopes", nil, "scopes to ask for; default: openid, profile, email, and groups and offline_access if the provider has them")
	flags.StringVar(&c.ProviderName, "oidc-provider-name", "", "what the sign-in page calls the provider; default: its host")
}
