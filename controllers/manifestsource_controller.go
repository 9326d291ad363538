// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/manifests"
)

const (
	// manifestOwner is the field manager of what is applied from Git.
	manifestOwner = "fairlead-manifests"
	// manifestTimeout bounds one look at a directory.
	manifestTimeout = 2 * time.Minute
	// manifestInterval is spec.interval if it is not set.
	manifestInterval = 5 * time.Minute
)

// ManifestReader reads directories with manifests.
type ManifestReader interface {
	Read(ctx context.Context, ms *v1alpha1.ManifestSource) (manifests.Snapshot, error)
	// Forget drops what is kept of a ManifestSource that is gone.
	Forget(key types.NamespacedName) error
}

// ManifestSourceReconciler applies what lies in Git, with the rights of the
// service account that a ManifestSource names.
type ManifestSourceReconciler struct {
	Client client.Client
	Reader ManifestReader
	// As returns a client that acts as a service account, by its user name.
	As     func(user string) (client.Client, error)
	Events events.EventRecorder
	Clock  clock.PassiveClock
}

// SetupWithManager registers the reconciler.
func (r *ManifestSourceReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.ManifestSource{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, checkPredicate()))).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2}).
		Complete(r)
}

// Reconcile looks at the directory and applies it, whole or not at all.
func (r *ManifestSourceReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var ms v1alpha1.ManifestSource
	if err := r.Client.Get(ctx, req.NamespacedName, &ms); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, r.Reader.Forget(req.NamespacedName)
		}
		return ctrl.Result{}, err
	}
	if ms.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	before := ms.DeepCopy()
	var outcome manifestOutcome
	if !ms.Spec.Suspend {
		looking, cancel := context.WithTimeout(ctx, manifestTimeout)
		outcome = r.sync(looking, &ms)
		cancel()
	}
	if ctx.Err() != nil {
		return ctrl.Result{}, nil //nolint:nilerr // told to stop
	}
	writeManifestStatus(&ms, outcome, r.Clock.Now())
	if !equality.Semantic.DeepEqual(before.Status, ms.Status) {
		if err := r.Client.Status().Update(ctx, &ms); err != nil {
			// What was applied is applied again, which changes nothing.
			return ctrl.Result{}, fmt.Errorf("write status: %w", err)
		}
		r.emit(before, &ms)
	}
	if ms.Spec.Suspend {
		return ctrl.Result{}, nil
	}
	if outcome.retry {
		return ctrl.Result{}, outcome.err
	}
	return ctrl.Result{RequeueAfter: every(&ms)}, nil
}

// manifestOutcome is how a look went.
type manifestOutcome struct {
	snapshot manifests.Snapshot
	// plan is what was carried out; nil if nothing was, or not all.
	plan *manifests.Plan
	// reason and err say why not. retry says that it may go well in a moment.
	reason string
	err    error
	retry  bool
}

func (r *ManifestSourceReconciler) sync(ctx context.Context, ms *v1alpha1.ManifestSource) manifestOutcome {
	var out manifestOutcome
	fail := func(reason string, err error) manifestOutcome {
		var invalid *manifests.InvalidError
		if errors.As(err, &invalid) {
			reason = v1alpha1.ReasonInvalidManifest
		}
		out.reason, out.err = reason, err
		return out
	}
	var err error
	if out.snapshot, err = r.Reader.Read(ctx, ms); err != nil {
		return fail(v1alpha1.ReasonSourceUnusable, err)
	}
	objects, err := manifests.Decode(out.snapshot.Files, ms.Namespace)
	if err != nil {
		return fail(v1alpha1.ReasonInvalidManifest, err)
	}
	plan, err := manifests.Make(objects, ms.Status.Applied, firstLook(ms), ms.Spec.Prune)
	if err != nil {
		return fail(v1alpha1.ReasonInvalidManifest, err)
	}
	user := "system:serviceaccount:" + ms.Namespace + ":" + ms.Spec.ServiceAccountName
	api, err := r.As(user)
	if err != nil {
		return fail(v1alpha1.ReasonRefused, err)
	}
	a := applier{api: api, ms: ms, user: user}
	// All of it is tried before any of it is done.
	for _, options := range [][]client.ApplyOption{{client.DryRunAll}, nil} {
		for _, step := range plan.Steps {
			if err := a.apply(ctx, step, options...); err != nil {
				out.retry = transient(err)
				return fail(v1alpha1.ReasonRefused, err)
			}
		}
	}
	for _, name := range plan.Prune {
		deleted, err := a.prune(ctx, name)
		if err != nil {
			out.retry = transient(err)
			return fail(v1alpha1.ReasonRefused, err)
		}
		if deleted {
			logf.FromContext(ctx).Info("an Application that is not in Git any more was deleted", "application", name)
		}
	}
	out.plan = &plan
	return out
}

// firstLook reports whether the directory was never applied before.
func firstLook(ms *v1alpha1.ManifestSource) bool {
	return ms.Status.Commit == "" || ms.Status.Directory != directoryOf(ms)
}

// directoryOf names what a ManifestSource reads.
func directoryOf(ms *v1alpha1.ManifestSource) string {
	return fmt.Sprintf("%s %s %s", ms.Spec.URL, ms.Spec.Ref, ms.Spec.Path)
}

// transient reports whether an error of the API passes by itself.
func transient(err error) bool {
	var invalid *manifests.InvalidError
	if errors.As(err, &invalid) {
		return false
	}
	return apierrors.ReasonForError(err) == metav1.StatusReasonUnknown || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || errors.Is(err, context.DeadlineExceeded)
}

// applier acts as the service account.
type applier struct {
	api  client.Client
	ms   *v1alpha1.ManifestSource
	user string
}

// apply carries out one step.
func (a applier) apply(ctx context.Context, step manifests.Step, options ...client.ApplyOption) error {
	if step.Action == manifests.Leave {
		return nil
	}
	there := &unstructured.Unstructured{}
	there.SetGroupVersionKind(step.GroupVersionKind())
	switch err := a.api.Get(ctx, client.ObjectKeyFromObject(step.Object), there); {
	case apierrors.IsNotFound(err):
		if step.Action == manifests.Renew {
			return nil // it was carried out, and is history
		}
	case err != nil:
		return a.refused(step.Object, err)
	default:
		if owner := there.GetLabels()[v1alpha1.LabelManifestSource]; owner != "" && owner != a.ms.Name {
			return &manifests.InvalidError{File: step.File, Line: step.Line, Err: fmt.Errorf(
				"the %s %s is applied by the ManifestSource %s already: keep it in one place", step.GetKind(), step.GetName(), owner)}
		}
	}
	o := step.DeepCopy()
	o.SetLabels(with(o.GetLabels(), v1alpha1.LabelManifestSource, a.ms.Name))
	if o.GetKind() == manifests.KindUpdateRequest {
		o.SetAnnotations(with(with(o.GetAnnotations(), v1alpha1.AnnotationTrigger, v1alpha1.TriggerManifests), v1alpha1.AnnotationRequestedBy, a.user))
	}
	options = append([]client.ApplyOption{client.FieldOwner(manifestOwner)}, options...)
	if err := a.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), options...); err != nil {
		return a.refused(step.Object, err)
	}
	return nil
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// refused says where an object lies that the API did not take, and what to do.
func (a applier) refused(o manifests.Object, err error) error {
	if transient(err) {
		return err
	}
	name := a.ms.Spec.ServiceAccountName
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot impersonate"):
		err = fmt.Errorf("the daemon may not act as the service account %s: %w; a cluster administrator can let it, see docs/guides/kubernetes.md", name, err)
	case apierrors.IsForbidden(err):
		err = fmt.Errorf("the service account %s may not do that: %w; an administrator can let it: kubectl -n %s create rolebinding %s --clusterrole=fairlead-operator --serviceaccount=%s:%s (fairlead-admin for Applications)",
			name, err, a.ms.Namespace, name, a.ms.Namespace, name)
	case apierrors.IsConflict(err):
		err = fmt.Errorf("somebody else set this field by hand: %w; take it out of Git, or give it back by kubectl apply --server-side --force-conflicts --field-manager=%s", err, manifestOwner)
	case apierrors.IsInvalid(err) && o.GetKind() == manifests.KindUpdateRequest:
		err = fmt.Errorf("%w; if there is an UpdateRequest %s for something else already, give this one a new name", err, o.GetName())
	}
	return fmt.Errorf("%s: %w", o.At(), err)
}

// prune deletes an Application that was applied from here, unless somebody took it
// over since.
func (a applier) prune(ctx context.Context, name string) (deleted bool, err error) {
	var app v1alpha1.Application
	err = a.api.Get(ctx, client.ObjectKey{Namespace: a.ms.Namespace, Name: name}, &app)
	if err == nil && app.Labels[v1alpha1.LabelManifestSource] == a.ms.Name {
		err = a.api.Delete(ctx, &app, client.Preconditions{UID: &app.UID})
		deleted = err == nil
	}
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("delete the Application %s, which is not in Git any more: %w", name, err)
	}
	return deleted, nil
}

// every is the time until the next look; sources of one interval fall apart.
func every(ms *v1alpha1.ManifestSource) time.Duration {
	d := manifestInterval
	if ms.Spec.Interval != nil && ms.Spec.Interval.Duration > 0 {
		d = ms.Spec.Interval.Duration
	}
	h := fnv.New32a()
	fmt.Fprint(h, ms.Namespace, "/", ms.Name)
	return d + d*time.Duration(h.Sum32()%1000)/10000
}
