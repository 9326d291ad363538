// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// kind is one of ours, as a type parameter, so that each has its own schema in
// the document.
type kind interface {
	// names of the kind, and of the resource as RBAC has it.
	names() (kind, resource string)
}

type (
	applications   struct{}
	updateRequests struct{}
	releases       struct{}
	backups        struct{}
	dockerHosts    struct{}
)

func (applications) names() (string, string)   { return "Application", "applications" }
func (updateRequests) names() (string, string) { return "UpdateRequest", "updaterequests" }
func (releases) names() (string, string)       { return "Release", "releases" }
func (backups) names() (string, string)        { return "Backup", "backups" }
func (dockerHosts) names() (string, string)    { return "DockerHost", "dockerhosts" }

func kindOf[K kind]() string {
	var k K
	name, _ := k.names()
	return name
}

// object is an object of Kubernetes, exactly as the API server has it, but for
// metadata.managedFields.
type object[K kind] struct{ content map[string]any }

// MarshalJSON implements json.Marshaler.
func (o object[K]) MarshalJSON() ([]byte, error) { return json.Marshal(o.content) }

// UnmarshalJSON implements json.Unmarshaler.
func (o *object[K]) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &o.content) }

// Schema implements huma.SchemaProvider.
func (object[K]) Schema(huma.Registry) *huma.Schema { return schemaRef(kindOf[K]()) }

// objectList is a list of objects, as Kubernetes has it.
type objectList[K kind] struct{ content map[string]any }

// MarshalJSON implements json.Marshaler.
func (l objectList[K]) MarshalJSON() ([]byte, error) { return json.Marshal(l.content) }

// Schema implements huma.SchemaProvider.
func (objectList[K]) Schema(huma.Registry) *huma.Schema { return schemaRef(kindOf[K]() + "List") }

func schemaRef(name string) *huma.Schema { return &huma.Schema{Ref: "#/components/schemas/" + name} }

func newUnstructured[K kind]() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kindOf[K]()))
	return u
}

func asObject[K kind](u *unstructured.Unstructured) object[K] {
	u.SetManagedFields(nil)
	return object[K]{content: u.Object}
}

// named checks the body of a write, and gives it its kind, namespace and, if there
// is one, name.
func (o object[K]) named(namespace, name string) (*unstructured.Unstructured, error) {
	u := newUnstructured[K]()
	wanted := u.GroupVersionKind()
	for key, value := range o.content {
		u.Object[key] = value
	}
	bad := func(format string, args ...any) error {
		return problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, fmt.Sprintf(format, args...))
	}
	if u.GroupVersionKind() != wanted {
		return nil, bad("apiVersion and kind are %s, %s; leave them out, or write %s, %s", u.GetAPIVersion(), u.GetKind(), wanted.GroupVersion(), wanted.Kind)
	}
	for _, key := range []string{"metadata", "spec"} {
		if _, isMap := u.Object[key].(map[string]any); u.Object[key] != nil && !isMap {
			return nil, bad("%s must be an object", key)
		}
	}
	if ns := u.GetNamespace(); ns != "" && ns != namespace {
		return nil, bad("metadata.namespace is %s, but the path names %s", ns, namespace)
	}
	if n := u.GetName(); name != "" && n != "" && n != name {
		return nil, bad("metadata.name is %s, but the path names %s: an object cannot be renamed", n, name)
	}
	u.SetNamespace(namespace)
	if name != "" {
		u.SetName(name)
	}
	delete(u.Object, "status") // it is the controller's
	return u, nil
}

// fromTyped is the object that a typed one is.
func fromTyped[K kind](o client.Object) (object[K], error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return object[K]{}, err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kindOf[K]()))
	return asObject[K](u), nil
}

// Parts of inputs. huma takes them, and their documentation, from the tags; it
// sets only fields of embedded types that are exported.
type (
	// NamespacePath is the namespace in the path.
	NamespacePath struct {
		Namespace string `path:"namespace" maxLength:"63" doc:"Namespace"`
	}
	// NamePath is the name in the path.
	NamePath struct {
		Name string `path:"name" maxLength:"253" doc:"Name of the object"`
	}
	// ListQuery asks for a page of a list.
	ListQuery struct {
		Limit    int64  `query:"limit" minimum:"0" maximum:"1000" doc:"At most so many objects; metadata.continue of the answer leads to the rest. 0: all"`
		Continue string `query:"continue" doc:"metadata.continue of the answer before"`
	}
	// ApplicationQuery asks for what belongs to one Application.
	ApplicationQuery struct {
		Application string `query:"application" maxLength:"253" doc:"Only those of this Application"`
	}
)

type objectOutput[K kind] struct {
	Body object[K]
}

type listOutput[K kind] struct {
	Body objectList[K]
}

// registerReads registers list and get of a kind.
func registerReads[K kind](a *API, h huma.API, path, tag string) {
	name := kindOf[K]()
	list := huma.Operation{
		OperationID: "list" + name + "s", Method: http.MethodGet, Path: path, Tags: []string{tag}, Summary: "List " + name + "s",
		Errors: []int{http.StatusGone}, // what continue leads to may be gone
	}
	get := huma.Operation{OperationID: "get" + name, Method: http.MethodGet, Path: path + "/{name}", Tags: []string{tag}, Summary: "Get a " + name}
	switch any(*new(K)).(type) {
	case dockerHosts:
		handle(a, h, list, func(ctx context.Context, in *ListQuery) (*listOutput[K], error) {
			return listObjects[K](ctx, a, "", "", in)
		})
		handle(a, h, get, func(ctx context.Context, in *NamePath) (*objectOutput[K], error) {
			return getObject[K](ctx, a, "", in.Name)
		})
		return
	case applications:
		get.Summary = "Get an Application"
		handle(a, h, list, func(ctx context.Context, in *struct {
			NamespacePath
			ListQuery
		}) (*listOutput[K], error) {
			return listObjects[K](ctx, a, in.Namespace, "", &in.ListQuery)
		})
	default:
		handle(a, h, list, func(ctx context.Context, in *struct {
			NamespacePath
			ApplicationQuery
			ListQuery
		}) (*listOutput[K], error) {
			return listObjects[K](ctx, a, in.Namespace, in.Application, &in.ListQuery)
		})
	}
	handle(a, h, get, func(ctx context.Context, in *struct {
		NamespacePath
		NamePath
	}) (*objectOutput[K], error) {
		return getObject[K](ctx, a, in.Namespace, in.Name)
	})
}

func listObjects[K kind](ctx context.Context, a *API, namespace, application string, q *ListQuery) (*listOutput[K], error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kindOf[K]() + "List"))
	opts := &client.ListOptions{Namespace: namespace, Limit: q.Limit, Continue: q.Continue}
	if application != "" {
		opts.FieldSelector = ofApplication(application)
	}
	if err := a.kube().List(ctx, list, opts); err != nil {
		return nil, err
	}
	for i := range list.Items {
		list.Items[i].SetManagedFields(nil)
	}
	return &listOutput[K]{Body: objectList[K]{content: list.UnstructuredContent()}}, nil
}

func ofApplication(name string) fields.Selector {
	return fields.OneTermEqualSelector("spec.applicationRef.name", name)
}

func getObject[K kind](ctx context.Context, a *API, namespace, name string) (*objectOutput[K], error) {
	u := newUnstructured[K]()
	if err := a.kube().Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, u); err != nil {
		return nil, err
	}
	return &objectOutput[K]{Body: asObject[K](u)}, nil
}

// applicationVersion is which commit of an Application runs, and what is newer.
type applicationVersion struct {
	Application   string                  `json:"application"`
	Commit        string                  `json:"commit,omitempty"`
	Branch        string                  `json:"branch,omitempty"`
	Release       string                  `json:"release,omitempty"`
	Update        *v1alpha1.UpdateStatus  `json:"update,omitempty"`
	FailedCommits []v1alpha1.FailedCommit `json:"failedCommits,omitempty"`
}

// Schema implements huma.SchemaProvider: each field is one of the Application.
func (applicationVersion) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Required: []string{"application"}, Properties: map[string]*huma.Schema{
		"application": {Type: huma.TypeString, Description: "Name of the Application"},
	}}
	for _, field := range []string{"commit", "branch", "release", "update", "failedCommits"} {
		s.Properties[field] = schemaRef("Application/properties/status/properties/" + field)
	}
	return s
}

type versionOutput struct{ Body applicationVersion }

func (a *API) version(ctx context.Context, in *struct {
	NamespacePath
	NamePath
}) (*versionOutput, error) {
	var app v1alpha1.Application
	if err := a.kube().Get(ctx, client.ObjectKey{Namespace: in.Namespace, Name: in.Name}, &app); err != nil {
		return nil, err
	}
	st := &app.Status
	return &versionOutput{applicationVersion{Application: app.Name, Commit: st.Commit, Branch: st.Branch, Release: st.Release,
		Update: st.Update, FailedCommits: st.FailedCommits}}, nil
}
