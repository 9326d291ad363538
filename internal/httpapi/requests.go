// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
)

// trigger is what requests that are made here say that they were made by.
const trigger = "http"

type (
	// RequestInput names an UpdateRequest in the path.
	RequestInput struct {
		NamespacePath
		NamePath
	}
	// CreateInput is an UpdateRequest to create.
	CreateInput struct {
		NamespacePath
		Body object[updateRequests]
	}
	createOutput struct {
		Location string `header:"Location" doc:"Path of the new request"`
		Body     object[updateRequests]
	}
	planInput struct {
		CreateInput
		Wait string `query:"wait" default:"60s" doc:"How long to wait for the plan, such as 30s; at most 5m"`
	}
	planOutput struct {
		Status   int
		Location string `header:"Location" doc:"Path of the new request"`
		Body     object[updateRequests]
	}
)

const maxPlanWait = 5 * time.Minute

func (a *API) create(ctx context.Context, in *CreateInput) (*createOutput, error) {
	u, err := a.createRequest(ctx, in, nil)
	if err != nil {
		return nil, err
	}
	return created(u), nil
}

func created(u *unstructured.Unstructured) *createOutput {
	return &createOutput{Location: requestPath(u.GetNamespace(), u.GetName()), Body: asObject[updateRequests](u)}
}

func requestPath(namespace, name string) string {
	return Prefix + "namespaces/" + url.PathEscape(namespace) + "/requests/" + url.PathEscape(name)
}

// createRequest creates what the body of in says, after change.
func (a *API) createRequest(ctx context.Context, in *CreateInput, change func(spec map[string]any)) (*unstructured.Unstructured, error) {
	wants(ctx, "create", "updaterequests", in.Namespace, "")
	u, err := in.Body.named(in.Namespace, "")
	if err != nil {
		return nil, err
	}
	if change != nil {
		spec, _ := u.Object["spec"].(map[string]any)
		if spec == nil {
			spec = map[string]any{}
			u.Object["spec"] = spec
		}
		change(spec)
	}
	return u, a.submit(ctx, u, in.Namespace, false)
}

// submit creates an UpdateRequest, named after its application unless it has a
// name; with trial it only asks whether it could.
func (a *API) submit(ctx context.Context, u *unstructured.Unstructured, namespace string, trial bool) error {
	u.SetNamespace(namespace)
	rec := recordOf(ctx)
	if u.GetName() == "" && u.GetGenerateName() == "" {
		app, _, _ := unstructured.NestedString(u.Object, "spec", "applicationRef", "name")
		if app == "" {
			return problem(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "spec.applicationRef.name is missing: the Application to update")
		}
		u.SetGenerateName(app + "-")
	}
	rec.name = u.GetName()
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	// Another API server than ours does not see to it.
	maps.DeleteFunc(annotations, func(key, _ string) bool { return v1alpha1.KeptByController(key) })
	annotations[v1alpha1.AnnotationRequestedBy], annotations[v1alpha1.AnnotationTrigger] = rec.who, trigger
	u.SetAnnotations(annotations)
	opts := &client.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
	if trial {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	if err := a.kube().Create(ctx, u, opts); err != nil {
		return err
	}
	rec.name = u.GetName()
	return nil
}

func (a *API) remove(ctx context.Context, in *RequestInput) (*struct{}, error) {
	wants(ctx, "delete", "updaterequests", in.Namespace, in.Name)
	return nil, a.kube().Delete(ctx, &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: in.Namespace, Name: in.Name}})
}

func (a *API) request(ctx context.Context, namespace, name string) (*v1alpha1.UpdateRequest, error) {
	ur := &v1alpha1.UpdateRequest{}
	return ur, a.kube().Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, ur)
}

func (a *API) cancel(ctx context.Context, in *RequestInput) (*objectOutput[updateRequests], error) {
	wants(ctx, "patch", "updaterequests", in.Namespace, in.Name)
	ur, err := a.request(ctx, in.Namespace, in.Name)
	if err != nil {
		return nil, err
	}
	// RBAC comes before the state: the patch is also sent where nothing is left
	// to cancel, as a trial then.
	opts := &client.PatchOptions{}
	if requestwatch.Ended(ur) {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	phase := ur.Status.Phase
	if err := a.kube().Patch(ctx, ur, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"cancel":true}}`)), opts); err != nil {
		return nil, err
	}
	if len(opts.DryRun) > 0 && phase != v1alpha1.PhaseCancelled {
		return nil, problem(http.StatusConflict, metav1.StatusReasonConflict,
			fmt.Sprintf("update request %s has ended already: %s", ur.Name, phase))
	}
	o, err := fromTyped[updateRequests](ur)
	return &objectOutput[updateRequests]{Body: o}, err
}

func (a *API) retry(ctx context.Context, in *RequestInput) (*createOutput, error) {
	wants(ctx, "create", "updaterequests", in.Namespace, "")
	old, err := a.request(ctx, in.Namespace, in.Name)
	if err != nil {
		return nil, err
	}
	again := &v1alpha1.UpdateRequest{Spec: *old.Spec.DeepCopy()}
	again.Spec.Retry, again.Spec.Cancel, again.Spec.Suspend = true, false, false
	if old.Status.Commit != "" && again.Spec.RollbackTo == nil && again.Spec.RestoreFrom == nil && !again.Spec.BackupOnly {
		again.Spec.Commit = old.Status.Commit // the same one, even if its branch has moved on
	}
	content, err := fromTyped[updateRequests](again)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content.content}
	// As in cancel: RBAC comes before the state.
	ended := requestwatch.Ended(old)
	if err := a.submit(ctx, u, in.Namespace, !ended); err != nil {
		return nil, err
	}
	if !ended {
		return nil, problem(http.StatusConflict, metav1.StatusReasonConflict,
			fmt.Sprintf("update request %s has not ended yet (%s): cancel it first, or wait", old.Name, orPending(old.Status.Phase)))
	}
	return created(u), nil
}

func orPending(p v1alpha1.Phase) v1alpha1.Phase {
	if p == "" {
		return v1alpha1.PhasePending
	}
	return p
}

func (a *API) plan(ctx context.Context, in *planInput) (*planOutput, error) {
	wait, err := time.ParseDuration(in.Wait)
	if err != nil || wait < 0 || wait > maxPlanWait {
		return nil, problem(http.StatusBadRequest, metav1.StatusReasonBadRequest, "wait="+in.Wait+": a duration such as 30s, at most 5m")
	}
	u, err := a.createRequest(ctx, &in.CreateInput, func(spec map[string]any) { spec["dryRun"] = true })
	if err != nil {
		return nil, err
	}
	ur, err := a.request(ctx, in.Namespace, u.GetName())
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.untilStop(ctx)
	defer cancel()
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	last := ur
	err = requestwatch.Run(waiting, a.kube(), ur, func(e requestwatch.Event) bool {
		if e.Request != nil {
			last = e.Request
		}
		return e.Deleted || requestwatch.Ended(last)
	})
	out := &planOutput{Status: http.StatusOK, Location: requestPath(last.Namespace, last.Name)}
	if !requestwatch.Ended(last) {
		out.Status = http.StatusAccepted
	}
	if err != nil && waiting.Err() == nil {
		return nil, err
	}
	out.Body, err = fromTyped[updateRequests](last)
	return out, err
}
