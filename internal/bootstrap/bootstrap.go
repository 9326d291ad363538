// SPDX-License-Identifier: Apache-2.0

// Package bootstrap installs what Fairlead needs in a Kubernetes API: its custom
// resource definitions, its roles and the default namespace.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/yaml"
)

const (
	// FieldManager owns the fields that Fairlead applies.
	FieldManager = "fairlead"

	// VersionAnnotation records which Fairlead wrote a definition or role, so
	// that an older daemon in the same cluster does not take it back.
	VersionAnnotation = "fairlead.dev/version"

	// KeepAnnotation with the value "true" on a role keeps it as its administrator
	// made it.
	KeepAnnotation = "fairlead.dev/keep"

	// DefaultNamespace is created when it is missing.
	DefaultNamespace = corev1.NamespaceDefault

	establishTimeout = 30 * time.Second
)

// Manifests are the YAML documents to install.
type Manifests struct {
	// CRDs are CustomResourceDefinitions.
	CRDs [][]byte
	// Roles are ClusterRoles.
	Roles [][]byte
	// Version of the daemon that carries them, e.g. "v1.2.0". When it is no
	// semantic version (a development build), newer manifests are not recognised
	// and these always win.
	Version string
}

// Apply installs or upgrades m with server-side apply, waits until the custom
// resources are served, and makes sure that DefaultNamespace exists. An identity
// that may not write definitions, as is usual for an agent of somebody else's
// cluster, is enough when they are already there and serve the versions of m;
// otherwise the error says what to ask the cluster's administrator for.
func Apply(ctx context.Context, config *rest.Config, m Manifests) error {
	definitions, err := parse[apiextensionsv1.CustomResourceDefinition](m.CRDs, "CustomResourceDefinition")
	if err != nil {
		return err
	}
	roles, err := parse[rbacv1.ClusterRole](m.Roles, "ClusterRole")
	if err != nil {
		return err
	}
	extensions, err := apiextensions.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	b := bootstrapper{extensions: extensions, client: client, version: m.Version, log: logr.FromContextOrDiscard(ctx)}
	if err := b.applyDefinitions(ctx, definitions); err != nil {
		return err
	}
	if err := b.applyRoles(ctx, roles); err != nil {
		return err
	}
	return b.ensureNamespace(ctx)
}

type bootstrapper struct {
	extensions apiextensions.Interface
	client     kubernetes.Interface
	version    string
	log        logr.Logger
}

func (b bootstrapper) applyDefinitions(ctx context.Context, wanted []apiextensionsv1.CustomResourceDefinition) error {
	api := b.extensions.ApiextensionsV1().CustomResourceDefinitions()
	var pending []*apiextensionsv1.CustomResourceDefinition
	for i := range wanted {
		crd := &wanted[i]
		current, err := api.Get(ctx, crd.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsForbidden(err):
			return b.checkServed(wanted, err)
		case err != nil && !apierrors.IsNotFound(err):
			return fmt.Errorf("custom resource definition %s: %w", crd.Name, err)
		case err == nil && b.installedByNewer(current.Annotations):
			b.log.Info("keeping the custom resource definition of a newer Fairlead", "name", crd.Name,
				"installed", current.Annotations[VersionAnnotation], "own", b.version)
			pending = append(pending, current)
			continue
		}
		data, err := b.manifest(crd, &crd.ObjectMeta)
		if err != nil {
			return fmt.Errorf("custom resource definition %s: %w", crd.Name, err)
		}
		applied, err := api.Patch(ctx, crd.Name, types.ApplyPatchType, data, applyOptions())
		if apierrors.IsForbidden(err) {
			return b.checkServed(wanted, err)
		}
		if err != nil {
			return fmt.Errorf("custom resource definition %s: %w", crd.Name, err)
		}
		pending = append(pending, applied)
	}
	ctx, cancel := context.WithTimeout(ctx, establishTimeout)
	defer cancel()
	for _, crd := range pending {
		if err := b.awaitEstablished(ctx, crd); err != nil {
			return err
		}
	}
	return nil
}

// checkServed decides with the API's own discovery, which everybody may read,
// whether the missing permission forbidden matters.
func (b bootstrapper) checkServed(wanted []apiextensionsv1.CustomResourceDefinition, forbidden error) error {
	var lacking []string
	for _, crd := range wanted {
		for _, v := range crd.Spec.Versions {
			if !v.Served {
				continue
			}
			gv := crd.Spec.Group + "/" + v.Name
			list, err := b.client.Discovery().ServerResourcesForGroupVersion(gv)
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("which custom resources the cluster serves: %w", err)
			}
			if list == nil || !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == crd.Spec.Names.Plural }) {
				lacking = append(lacking, crd.Spec.Names.Plural+"."+gv)
			}
		}
	}
	if len(lacking) == 0 {
		b.log.V(1).Info("the custom resources are installed; this identity may not upgrade them")
		return nil
	}
	return fmt.Errorf("the cluster does not serve %s and this identity may not install it: "+
		"ask a cluster administrator to run `kubectl apply -k config/crd -k config/rbac` of this version of Fairlead, "+
		"or use a kubeconfig that may write customresourcedefinitions: %w", strings.Join(lacking, ", "), forbidden)
}

func (b bootstrapper) awaitEstablished(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	if ready, err := established(crd); ready || err != nil {
		return err
	}
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, crd.Name).String()
	api := b.extensions.ApiextensionsV1().CustomResourceDefinitions()
	_, err := watchtools.Until(ctx, crd.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return api.Watch(ctx, o)
		},
	}, func(event watch.Event) (bool, error) {
		switch object := event.Object.(type) {
		case *apiextensionsv1.CustomResourceDefinition:
			if event.Type == watch.Deleted {
				return false, errors.New("it was deleted while it was being installed")
			}
			return established(object)
		case *metav1.Status:
			return false, apierrors.FromObject(object)
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("custom resource definition %s is not served yet: %w", crd.Name, err)
	}
	return nil
}

func established(crd *apiextensionsv1.CustomResourceDefinition) (bool, error) {
	for _, c := range crd.Status.Conditions {
		switch {
		case c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue:
			return true, nil
		case c.Type == apiextensionsv1.NamesAccepted && c.Status == apiextensionsv1.ConditionFalse:
			return false, fmt.Errorf("custom resource definition %s is refused: %s", crd.Name, c.Message)
		}
	}
	return false, nil
}

func (b bootstrapper) applyRoles(ctx context.Context, roles []rbacv1.ClusterRole) error {
	api := b.client.RbacV1().ClusterRoles()
	for i := range roles {
		role := &roles[i]
		current, err := api.Get(ctx, role.Name, metav1.GetOptions{})
		switch {
		case err != nil: // the write tells
		case b.installedByNewer(current.Annotations):
			continue
		case current.Annotations[KeepAnnotation] == "true":
			if !equality.Semantic.DeepEqual(current.Rules, role.Rules) {
				b.log.Info("the role is left as it is, by its annotation; it differs from that of this version", "role", role.Name, "annotation", KeepAnnotation)
			}
			continue
		}
		data, err := b.manifest(role, &role.ObjectMeta)
		if err != nil {
			return fmt.Errorf("role %s: %w", role.Name, err)
		}
		_, err = api.Patch(ctx, role.Name, types.ApplyPatchType, data, applyOptions())
		if apierrors.IsForbidden(err) {
			// Who may do what is the business of the cluster's administrator.
			b.log.V(1).Info("this identity may not install roles", "role", role.Name)
			return nil
		}
		if err != nil {
			return fmt.Errorf("role %s: %w", role.Name, err)
		}
	}
	return nil
}

func (b bootstrapper) ensureNamespace(ctx context.Context) error {
	api := b.client.CoreV1().Namespaces()
	_, err := api.Get(ctx, DefaultNamespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: DefaultNamespace}}
		_, err = api.Create(ctx, namespace, metav1.CreateOptions{FieldManager: FieldManager})
	}
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsForbidden(err) {
		return nil
	}
	return fmt.Errorf("namespace %s: %w", DefaultNamespace, err)
}

// manifest is the document to apply: object as it was parsed, marked with the
// version of this daemon. Status is never applied.
func (b bootstrapper) manifest(object any, meta *metav1.ObjectMeta) ([]byte, error) {
	if b.version != "" {
		metav1.SetMetaDataAnnotation(meta, VersionAnnotation, b.version)
	}
	data, err := yaml.Marshal(object)
	if err != nil {
		return nil, err
	}
	var document map[string]any
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	delete(document, "status")
	return yaml.Marshal(document)
}

func (b bootstrapper) installedByNewer(annotations map[string]string) bool {
	own, err := version.ParseSemantic(b.version)
	if err != nil {
		return false
	}
	installed, err := version.ParseSemantic(annotations[VersionAnnotation])
	return err == nil && own.LessThan(installed)
}

func applyOptions() metav1.PatchOptions {
	force := true
	return metav1.PatchOptions{FieldManager: FieldManager, Force: &force}
}

func parse[T any](docs [][]byte, kind string) ([]T, error) {
	parsed := make([]T, 0, len(docs))
	for _, doc := range docs {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &meta); err != nil {
			return nil, fmt.Errorf("embedded manifest: %w", err)
		}
		if meta.Kind != kind {
			return nil, fmt.Errorf("embedded manifest: expected a %s, found %q", kind, meta.Kind)
		}
		var object T
		if err := yaml.UnmarshalStrict(doc, &object); err != nil {
			return nil, fmt.Errorf("embedded manifest: %s: %w", kind, err)
		}
		parsed = append(parsed, object)
	}
	return parsed, nil
}
