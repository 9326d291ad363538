// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	authenticationrest "k8s.io/kubernetes/pkg/registry/authentication/rest"
	authorizationrest "k8s.io/kubernetes/pkg/registry/authorization/rest"
	coordinationrest "k8s.io/kubernetes/pkg/registry/coordination/rest"
	eventsrest "k8s.io/kubernetes/pkg/registry/events/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/admission/gc"

	"github.com/fairlead-dev/fairlead/internal/controlplane/auditing"
	"github.com/fairlead-dev/fairlead/internal/controlplane/origin"
	"github.com/fairlead-dev/fairlead/internal/controlplane/subresource"
	"github.com/fairlead-dev/fairlead/internal/pki"
)

const (
	tokenIssuer = "https://kubernetes.default.svc"

	// eventTTL keeps the story of a night readable the next day.
	eventTTL = 24 * time.Hour
	// watchGrace is how long a stop waits for watches to end, which are told to.
	watchGrace = 2 * time.Second

	serverName = "fairlead-apiserver"
)

// chainConfig is what the chain of API servers is built from.
type chainConfig struct {
	listener     net.Listener
	pki          pki.Files
	etcdEndpoint string
	subresources []subresource.Route
	audit        io.Writer // may be nil
	// authentication is the file of the structured authentication configuration;
	// empty for none.
	authentication string
	// stopping ends the handlers of subresources.
	stopping context.Context
	own      *origin.Connections
}

// chain is a chain of API servers that is ready to run.
type chain struct {
	run       func(context.Context) error
	loopback  *rest.Config
	informers clientgoinformers.SharedInformerFactory
}

// buildChain wires custom resources, the built-in kinds and the aggregator into
// one server. Nothing runs yet.
func buildChain(ctx context.Context, c chainConfig) (*chain, error) {
	opts, err := newOptions(c).Complete(ctx, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("API server options: %w", err)
	}
	if errs := opts.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("API server options: %w", errors.Join(errs...))
	}
	common, err := newGeneric(opts)
	if err != nil {
		return nil, fmt.Errorf("API server configuration: %w", err)
	}
	generic, informers := common.config, common.informers
	// As upstream has it, and our subresources besides.
	generic.LongRunningFunc = filters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward", "download"))
	generic.DisabledPostStartHooks.Insert(upstreamRolesHook)
	generic.EffectiveVersion = kubernetesVersion(generic.EffectiveVersion)
	if c.audit != nil {
		generic.AuditPolicyRuleEvaluator, generic.AuditBackend = auditing.Evaluator(), auditing.Backend(c.audit)
	}

	resolver := webhook.NewDefaultServiceResolver()
	native, initializers, err := controlplaneapiserver.CreateConfig(opts, generic, informers, nil, common.storage, resolver, nil)
	if err != nil {
		return nil, fmt.Errorf("API server configuration: %w", err)
	}
	authInfo := webhook.NewDefaultAuthenticationInfoResolverWrapper(native.ProxyTransport, generic.EgressSelector,
		generic.LoopbackClientConfig, generic.TracerProvider)
	// With more than one master a new custom resource is held back for seconds,
	// until the others have seen it.
	extensions, err := controlplaneapiserver.CreateAPIExtensionsConfig(*generic, informers, initializers, opts, 1, resolver, authInfo)
	if err != nil {
		return nil, fmt.Errorf("custom resource server configuration: %w", err)
	}
	aggregator, err := controlplaneapiserver.CreateAggregatorConfig(*generic, opts, informers, resolver, native.ProxyTransport,
		native.PeerProxy, initializers)
	if err != nil {
		return nil, fmt.Errorf("API aggregator configuration: %w", err)
	}
	// There are no remote API services to watch over.
	aggregator.ExtraConfig.DisableRemoteAvailableConditionController = true
	// The aggregator is the outermost server, so its handler is the innermost
	// place that sees every request after authentication and authorisation.
	aggregator.GenericConfig.BuildHandlerChainFunc = func(handler http.Handler, cfg *genericapiserver.Config) http.Handler {
		recheck := subresource.NewRechecker(cfg.Authentication.Authenticator, cfg.Authorization.Authorizer)
		handler = subresource.With(c.stopping, handler, c.subresources, recheck)
		return c.own.WithoutClaims(subresource.KeepAuthorization(genericapiserver.DefaultBuildHandlerChain(handler, cfg)))
	}
	return assemble(native, extensions, aggregator)
}

func assemble(native *controlplaneapiserver.Config, extensions *apiextensionsapiserver.Config, aggregator *aggregatorapiserver.Config) (*chain, error) {
	nativeConfig := native.Complete()
	notFound := notfoundhandler.New(native.Generic.Serializer, genericapifilters.NoMuxAndDiscoveryIncompleteKey)
	extensionServer, err := extensions.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return nil, fmt.Errorf("custom resource server: %w", err)
	}
	nativeServer, err := nativeConfig.New(serverName, extensionServer.GenericAPIServer)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	generic := native.Generic
	if err := nativeServer.InstallAPIs(
		nativeConfig.NewCoreGenericConfig(),
		authenticationrest.RESTStorageProvider{Authenticator: generic.Authentication.Authenticator, APIAudiences: generic.Authentication.APIAudiences},
		authorizationrest.RESTStorageProvider{Authorizer: generic.Authorization.Authorizer, RuleResolver: generic.RuleResolver},
		coordinationrest.RESTStorageProvider{},
		eventsrest.RESTStorageProvider{TTL: native.EventTTL},
		rbacrest.RESTStorageProvider{Authorizer: generic.Authorization.Authorizer},
	); err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	aggregatorServer, err := controlplaneapiserver.CreateAggregatorServer(aggregator.Complete(), nativeServer.GenericAPIServer,
		extensionServer.Informers.Apiextensions().V1().CustomResourceDefinitions(), true,
		controlplaneapiserver.DefaultGenericAPIServicePriorities())
	if err != nil {
		return nil, fmt.Errorf("API aggregator: %w", err)
	}
	prepared, err := aggregatorServer.PrepareRun()
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return &chain{run: prepared.Run, loopback: generic.LoopbackClientConfig, informers: native.VersionedInformers}, nil
}

func newOptions(c chainConfig) *options.Options {
	o := options.NewOptions()
	addr, ok := c.listener.Addr().(*net.TCPAddr)
	if ok {
		o.SecureServing.BindAddress, o.SecureServing.BindPort = addr.IP, addr.Port
		o.GenericServerRunOptions.AdvertiseAddress = reachable(addr.IP)
	}
	// Without it, one client that watches holds up the stop until its time is over.
	o.GenericServerRunOptions.ShutdownWatchTerminationGracePeriod = watchGrace
	o.SecureServing.Listener = c.listener
	o.SecureServing.ServerCert.CertKey.CertFile = c.pki.ServerCert()
	o.SecureServing.ServerCert.CertKey.KeyFile = c.pki.ServerKey()

	o.Etcd.StorageConfig.Transport.ServerList = []string{c.etcdEndpoint}
	// The store is in this process and has a handful of watchers. A cache of all
	// objects in front of it costs memory, and a second at the start of every kind.
	o.Etcd.EnableWatchCache = false
	o.EventTTL = eventTTL

	o.Authentication = kubeoptions.NewBuiltInAuthenticationOptions().WithAnonymous().WithClientCert().WithRequestHeader().WithServiceAccounts()
	o.Authentication.ClientCert.ClientCA = c.pki.CACert()
	o.Authentication.AuthenticationConfigFile = c.authentication
	// A token that is revoked is refused at once. To check one costs a signature.
	o.Authentication.TokenSuccessCacheTTL = 0
	accounts := o.Authentication.ServiceAccounts
	accounts.Issuers = []string{tokenIssuer}
	accounts.KeyFiles = []string{c.pki.TokenKey()}
	accounts.OptionalTokenGetter = newTokenSubjects
	// A token lives exactly as long as was asked for.
	accounts.ExtendExpiration = false
	o.ServiceAccountSigningKeyFile = c.pki.TokenKey()
	o.Authorization.Modes = []string{"RBAC"}

	origin.Register(o.Admission.GenericAdmission.Plugins)
	o.Admission.GenericAdmission.RecommendedPluginOrder = append(slices.Clone(o.Admission.GenericAdmission.RecommendedPluginOrder), origin.Plugin)
	wanted := sets.New(lifecycle.PluginName, gc.PluginName, origin.Plugin)
	o.Admission.GenericAdmission.DefaultOffPlugins = sets.New(kubeoptions.AllOrderedPlugins...).Difference(wanted)
	o.Admission.GenericAdmission.EnablePlugins = wanted.UnsortedList()

	// Priority and fairness needs its own API group and protects large clusters.
	o.Features.EnablePriorityAndFairness = false
	o.Features.EnableProfiling = false
	return o
}

// servedResources are the built-in kinds that a Docker host needs.
func servedResources() *serverstorage.ResourceConfig {
	c := serverstorage.NewResourceConfig()
	c.EnableVersions(
		corev1.SchemeGroupVersion,
		authenticationv1.SchemeGroupVersion,
		authorizationv1.SchemeGroupVersion,
		coordinationv1.SchemeGroupVersion,
		eventsv1.SchemeGroupVersion,
		rbacv1.SchemeGroupVersion,
	)
	return c
}

// disableFeatures turns off what only makes sense with several API servers: it
// would write a lease every ten seconds.
func disableFeatures() error {
	return utilfeature.DefaultMutableFeatureGate.SetFromMap(map[string]bool{
		"APIServerIdentity":                   false,
		"UnknownVersionInteroperabilityProxy": false,
	})
}

// namedVersion reports the version of the Kubernetes libraries. Built as a
// library they do not know it themselves, and clients refuse to parse what they
// say instead.
type namedVersion struct {
	basecompatibility.EffectiveVersion
	gitVersion string
}

func kubernetesVersion(v basecompatibility.EffectiveVersion) basecompatibility.EffectiveVersion {
	git := "v" + v.BinaryVersion().String()
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range build.Deps {
			if dep.Path == "k8s.io/kubernetes" && dep.Version != "" {
				git = dep.Version
			}
		}
	}
	return namedVersion{EffectiveVersion: v, gitVersion: git}
}

// Info is the answer of /version.
func (v namedVersion) Info() *version.Info {
	info := v.EffectiveVersion.Info()
	if info == nil {
		return nil
	}
	named := *info
	named.GitVersion = v.gitVersion
	return &named
}

// reachable is an address at which this host reaches a listener bound to ip.
func reachable(ip net.IP) net.IP {
	switch {
	case ip == nil || ip.Equal(net.IPv4zero) || ip.Equal(net.IPv6unspecified):
		return net.IPv4(127, 0, 0, 1)
	default:
		return ip
	}
}
