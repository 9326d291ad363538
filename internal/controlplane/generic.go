// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"crypto/rand"
	"fmt"
	"time"

	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/openapi"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	"k8s.io/kubernetes/pkg/kubeapiserver"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	served "github.com/fairlead-dev/fairlead/internal/controlplane/openapi"
	"github.com/fairlead-dev/fairlead/internal/pki"
)

const (
	// informerResync is how often upstream's own informers go over all they have.
	informerResync = 10 * time.Minute

	// loopbackLifetime is longer than any process runs: the certificate is in memory
	// alone, and nothing renews it.
	loopbackLifetime = 20 * 365 * 24 * time.Hour
)

// generic is what the servers of the chain have in common.
type generic struct {
	config    *genericapiserver.Config
	informers clientgoinformers.SharedInformerFactory
	storage   *serverstorage.DefaultStorageFactory
}

// newGeneric does what BuildGenericConfig of upstream does, for the parts that this
// server has: that makes two RSA keys at every start, which take a quarter of all
// the processor time that a start needs.
func newGeneric(opts options.CompletedOptions) (*generic, error) {
	config := genericapiserver.NewConfig(legacyscheme.Codecs)
	config.Flagz = opts.Flagz
	if err := opts.GenericServerRunOptions.ApplyTo(config); err != nil {
		return nil, err
	}
	if err := serveSecurely(opts.SecureServing.SecureServingOptions, config); err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("own client: %w", err)
	}
	informers := clientgoinformers.NewSharedInformerFactoryWithOptions(client, informerResync,
		clientgoinformers.WithTransform(cache.TransformStripManagedFields()))
	if err := opts.Features.ApplyTo(config, client, informers); err != nil {
		return nil, err
	}
	if err := opts.APIEnablement.ApplyTo(config, servedResources(), legacyscheme.Scheme); err != nil {
		return nil, err
	}

	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(served.Definitions)
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIConfig.Info.Title, config.OpenAPIV3Config.Info.Title = "Kubernetes", "Kubernetes"

	storage, err := newStorage(opts.Etcd, config)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	ctx := wait.ContextForChannel(config.DrainedNotify())
	if err := opts.Authentication.ApplyTo(ctx, &config.Authentication, config.SecureServing, config.EgressSelector,
		config.OpenAPIConfig, config.OpenAPIV3Config, client, informers, config.APIServerID); err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	config.Authorization.Authorizer, config.RuleResolver, _, err = controlplaneapiserver.BuildAuthorizer(ctx, opts,
		config.EgressSelector, config.APIServerID, informers)
	if err != nil {
		return nil, fmt.Errorf("authorization: %w", err)
	}
	if err := opts.Audit.ApplyTo(config); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	config.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	return &generic{config: config, informers: informers, storage: storage}, nil
}

func newStorage(opts *genericoptions.EtcdOptions, config *genericapiserver.Config) (*serverstorage.DefaultStorageFactory, error) {
	opts.StorageConfig.Transport.TracerProvider = config.TracerProvider
	factory := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(config.EffectiveVersion)
	factory.APIResourceConfig = config.MergedResourceConfig
	factory.DefaultResourceEncoding.SetEffectiveVersion(config.EffectiveVersion)
	storage, err := factory.Complete(opts).New()
	if err != nil {
		return nil, err
	}
	storage.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	return storage, opts.ApplyWithStorageFactoryTo(storage, config)
}

// serveSecurely sets up TLS, and the client with which the server asks itself: by a
// name and a certificate that only this process knows, and with a token of its own.
func serveSecurely(opts *genericoptions.SecureServingOptions, config *genericapiserver.Config) error {
	if err := opts.ApplyTo(&config.SecureServing); err != nil {
		return err
	}
	cert, key, err := pki.SelfSigned(time.Now(), genericapiserver.LoopbackClientServerNameOverride, loopbackLifetime)
	if err != nil {
		return fmt.Errorf("own client's certificate: %w", err)
	}
	provider, err := dynamiccertificates.NewStaticSNICertKeyContent("loopback", cert, key, genericapiserver.LoopbackClientServerNameOverride)
	if err != nil {
		return fmt.Errorf("own client's certificate: %w", err)
	}
	// The first one with a name counts.
	config.SecureServing.SNICerts = append([]dynamiccertificates.SNICertKeyContentProvider{provider}, config.SecureServing.SNICerts...)
	loopback, err := config.SecureServing.NewLoopbackClientConfig(rand.Text(), cert)
	if err != nil {
		return fmt.Errorf("own client: %w", err)
	}
	loopback.ContentType = "application/vnd.kubernetes.protobuf"
	loopback.DisableCompression = true
	config.LoopbackClientConfig = loopback
	return nil
}
