// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// namespacesBody is the namespaces that there are.
type namespacesBody struct {
	Namespaces []string `json:"namespaces" nullable:"false" doc:"Names, sorted; without those that are being deleted"`
}

type namespacesOutput struct{ Body namespacesBody }

func (a *API) registerNamespaces(h huma.API) {
	handle(a, h, huma.Operation{
		OperationID: "listNamespaces", Method: http.MethodGet, Path: "/api/v1/namespaces", Tags: []string{tagCaller},
		Summary: "List the namespaces", Description: "All of them needs a role in all namespaces; the namespaces of Kubernetes itself are left out. " +
			"Others are told those in which they may list Applications; where there are more than 100 namespaces, those without any may be missing.",
	}, a.listNamespaces)
	handle(a, h, huma.Operation{
		OperationID: "checkApplication", Method: http.MethodPost, Path: inNamespace + "applications/{name}/check", Tags: []string{tagApplications},
		DefaultStatus: http.StatusAccepted, Summary: "Look at an Application's source now",
		Description: "Sets the annotation " + v1alpha1.AnnotationCheck + ". The daemon has looked when status.update.handledCheck has the same value as that.",
	}, a.check)
}

// internalNamespaces hold nothing that people make.
var internalNamespaces = []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}

func (a *API) listNamespaces(ctx context.Context, _ *struct{}) (*namespacesOutput, error) {
	// The scheme may lack the type; metadata is all that is needed.
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := a.kube().List(ctx, list); apierrors.IsForbidden(err) {
		own, ownErr := a.ownNamespaces(ctx)
		switch {
		case ownErr != nil:
			return nil, ownErr
		case len(own) == 0:
			return nil, err
		}
		return &namespacesOutput{namespacesBody{Namespaces: own}}, nil
	} else if err != nil {
		return nil, err
	}
	out := &namespacesOutput{namespacesBody{Namespaces: []string{}}}
	for i := range list.Items {
		ns := &list.Items[i]
		if ns.DeletionTimestamp == nil && !slices.Contains(internalNamespaces, ns.Name) {
			out.Body.Namespaces = append(out.Body.Namespaces, ns.Name)
		}
	}
	slices.Sort(out.Body.Namespaces)
	return out, nil
}

const (
	// maxCandidates bounds for how many namespaces the API server is asked whether the
	// caller may look into them.
	maxCandidates = 100
	// namesPatience is how long it is waited for the daemon to know all namespaces,
	// which in a cluster of others it may not be allowed to.
	namesPatience = 3 * time.Second
)

// ownNamespaces are those whose Applications the caller may list, for whoever may not
// list namespaces. Which ones there are is known to the daemon alone; those with
// Applications come first.
func (a *API) ownNamespaces(ctx context.Context) ([]string, error) {
	known, err := a.cached()
	if err != nil {
		return nil, nil // without a memory there is nothing to try
	}
	var apps v1alpha1.ApplicationList
	if err := known.List(ctx, &apps); err != nil {
		return nil, err
	}
	var used []string
	for i := range apps.Items {
		used = append(used, apps.Items[i].Namespace)
	}
	slices.Sort(used)
	all := slices.Compact(used)
	names := &metav1.PartialObjectMetadataList{}
	names.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	patience, cancel := context.WithTimeout(ctx, namesPatience)
	defer cancel()
	if err := known.List(patience, names); err != nil {
		a.log.V(1).Info("the namespaces without Applications are not known", "reason", err.Error())
	}
	var unused []string
	for i := range names.Items {
		ns := &names.Items[i]
		if ns.DeletionTimestamp == nil && !slices.Contains(internalNamespaces, ns.Name) && !slices.Contains(all, ns.Name) {
			unused = append(unused, ns.Name)
		}
	}
	slices.Sort(unused)
	all = append(all, unused...)
	all = all[:min(len(all), maxCandidates)]
	may := make([]bool, len(all))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, ns := range all {
		g.Go(func() error {
			var err error
			may[i], err = a.allowed(gctx, right{verb: "list", resource: "applications", namespace: ns})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var own []string
	for i, ns := range all {
		if may[i] {
			own = append(own, ns)
		}
	}
	slices.Sort(own)
	return own, nil
}

// check is POST …/applications/{name}/check.
func (a *API) check(ctx context.Context, in *struct {
	NamespacePath
	NamePath
}) (*objectOutput[applications], error) {
	wants(ctx, "patch", "applications", in.Namespace, in.Name)
	u := newUnstructured[applications]()
	u.SetNamespace(in.Namespace)
	u.SetName(in.Name)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationCheck, time.Now().UTC().Format(time.RFC3339Nano))
	if err := a.kube().Patch(ctx, u, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		return nil, err
	}
	return &objectOutput[applications]{Body: asObject[applications](u)}, nil
}
