// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

type (
	// DryRunQuery asks for a trial.
	DryRunQuery struct {
		DryRun bool `query:"dryRun" doc:"Only find out whether it would be accepted, and what it would become: nothing is changed"`
	}
	newApplication struct {
		NamespacePath
		DryRunQuery
		Body object[applications]
	}
	applicationCreated struct {
		Location string `header:"Location" doc:"Path of the new Application"`
		Body     object[applications]
	}
	changedApplication struct {
		NamespacePath
		NamePath
		DryRunQuery
		Body object[applications]
	}
)

func (a *API) registerApplications(h huma.API) {
	const one = inNamespace + "applications/{name}"
	handle(a, h, huma.Operation{
		OperationID: "createApplication", Method: http.MethodPost, Path: inNamespace + "applications", Tags: []string{tagApplications},
		DefaultStatus: http.StatusCreated, Summary: "Create an Application",
		Description: "Fields that the kind does not have are refused. Whoever may do this decides what runs on the host.",
	}, a.createApplication)
	handle(a, h, huma.Operation{
		OperationID: "replaceApplication", Method: http.MethodPut, Path: one, Tags: []string{tagApplications},
		Summary: "Replace the spec of an Application",
		Description: "With metadata.resourceVersion of what was read, which is required: if somebody changed it meanwhile, the answer is 409. Labels and " +
			"annotations are replaced if metadata has them, and stay otherwise. errors of a 422 say which fields are wrong.",
	}, a.replaceApplication)
	handle(a, h, huma.Operation{
		OperationID: "patchApplication", Method: http.MethodPatch, Path: one, Tags: []string{tagApplications},
		Summary:     "Change fields of an Application",
		Description: "A JSON merge patch (RFC 7396): null removes a field. With metadata.resourceVersion, it is a 409 if somebody changed it meanwhile.",
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{mergePatchType: {Schema: schemaRef(kindOf[applications]())}}},
	}, a.patchApplication)
	handle(a, h, huma.Operation{
		OperationID: "deleteApplication", Method: http.MethodDelete, Path: one, Tags: []string{tagApplications},
		DefaultStatus: http.StatusNoContent, Summary: "Delete an Application",
		Description: "What runs on the host stays as it is, and so do its backups.",
	}, a.deleteApplication)
	handle(a, h, huma.Operation{
		OperationID: "getStatistics", Method: http.MethodGet, Path: one + "/statistics", Tags: []string{tagApplications},
		Summary: "Tell how the last updates went, how large the backups are, and when the disk will be full",
		Description: "Worked out of UpdateRequests, Backups and the DockerHost, as far as the caller may read them. fullAt and perDay are there once " +
			"the history of the disk is a day long and shows that it fills.",
	}, a.statistics)
}

func (q DryRunQuery) dryRun() []string {
	if q.DryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
}

func (a *API) createApplication(ctx context.Context, in *newApplication) (*applicationCreated, error) {
	rec := wants(ctx, "create", "applications", in.Namespace, "")
	u, err := in.Body.named(in.Namespace, "")
	if err != nil {
		return nil, err
	}
	rec.name = u.GetName()
	if err := a.kube().Create(ctx, u, &client.CreateOptions{DryRun: in.dryRun(), FieldValidation: metav1.FieldValidationStrict}); err != nil {
		return nil, err
	}
	return &applicationCreated{
		Location: Prefix + "namespaces/" + url.PathEscape(u.GetNamespace()) + "/applications/" + url.PathEscape(u.GetName()),
		Body:     asObject[applications](u),
	}, nil
}

func (a *API) replaceApplication(ctx context.Context, in *changedApplication) (*objectOutput[applications], error) {
	wants(ctx, "update", "applications", in.Namespace, in.Name)
	u, err := in.Body.named(in.Namespace, in.Name)
	if err != nil {
		return nil, err
	}
	if u.GetResourceVersion() == "" {
		return nil, problem(http.StatusBadRequest, metav1.StatusReasonBadRequest,
			"metadata.resourceVersion is missing: send that of what you read, so that nobody's change is lost")
	}
	now := newUnstructured[applications]()
	if err := a.kube().Get(ctx, client.ObjectKeyFromObject(u), now); err != nil {
		return nil, err
	}
	// What people do not write, as finalizers, stays; the version is the caller's.
	now.SetResourceVersion(u.GetResourceVersion())
	now.Object["spec"] = u.Object["spec"]
	if labels := u.GetLabels(); labels != nil {
		now.SetLabels(labels)
	}
	if annotations := u.GetAnnotations(); annotations != nil {
		now.SetAnnotations(annotations)
	}
	if err := a.kube().Update(ctx, now, &client.UpdateOptions{DryRun: in.dryRun(), FieldValidation: metav1.FieldValidationStrict}); err != nil {
		return nil, err
	}
	return &objectOutput[applications]{Body: asObject[applications](now)}, nil
}

func (a *API) patchApplication(ctx context.Context, in *changedApplication) (*objectOutput[applications], error) {
	wants(ctx, "patch", "applications", in.Namespace, in.Name)
	delete(in.Body.content, "status")
	patch, err := json.Marshal(in.Body)
	if err != nil {
		return nil, err
	}
	u := newUnstructured[applications]()
	u.SetNamespace(in.Namespace)
	u.SetName(in.Name)
	err = a.kube().Patch(ctx, u, client.RawPatch(types.MergePatchType, patch),
		&client.PatchOptions{DryRun: in.dryRun(), FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return nil, unknownField(err)
	}
	return &objectOutput[applications]{Body: asObject[applications](u)}, nil
}

func (a *API) deleteApplication(ctx context.Context, in *struct {
	NamespacePath
	NamePath
	DryRunQuery
}) (*struct{}, error) {
	wants(ctx, "delete", "applications", in.Namespace, in.Name)
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: in.Namespace, Name: in.Name}}
	return nil, a.kube().Delete(ctx, app, &client.DeleteOptions{DryRun: in.dryRun()})
}

// unknownField takes what is wrong with a patch out of a message that has the whole
// object in it.
func unknownField(err error) error {
	const words = "strict decoding error: "
	if i := strings.LastIndex(err.Error(), words); i >= 0 && apierrors.IsInvalid(err) {
		return problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error()[i:])
	}
	return err
}
