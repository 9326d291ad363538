// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/follow"
	"github.com/fairlead-dev/fairlead/internal/gateway/upkeep"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// applicationResync is how often an application is looked at without a reason.
const applicationResync = 5 * time.Minute

// Observer looks at what runs. It changes nothing.
type Observer interface {
	Application(ctx context.Context, app *v1alpha1.Application) (observe.Application, error)
}

// Follower knows the newest commits of the sources of applications.
type Follower interface {
	// Track takes note of an application as it is now, and returns what is known
	// of its source; false until something is.
	Track(app *v1alpha1.Application) (follow.Answer, bool)
	// Forget drops an application that is gone.
	Forget(key types.NamespacedName)
}

// Gateways knows how it goes with the gateways of applications.
type Gateways interface {
	// Track takes note of an application's Compose project, and whether a request
	// works on it, and returns what is known of its gateways; false until something is.
	Track(key types.NamespacedName, project string, busy bool) (upkeep.Answer, bool)
	// Forget drops an application that is gone.
	Forget(key types.NamespacedName)
}

// ApplicationReconciler keeps the status of Applications true to what runs. It
// never touches a container: only an UpdateRequest does.
type ApplicationReconciler struct {
	Client   client.Client
	Observer Observer
	Clock    clock.PassiveClock
	// Engine tells the names of Compose projects in which something happened;
	// "" means that anything may have. May be nil.
	Engine <-chan event.TypedGenericEvent[string]
	// Follower looks for newer commits, and Gateways sees to gateways; News tells for
	// which applications they found something. All may be nil.
	Follower Follower
	Gateways Gateways
	News     <-chan event.TypedGenericEvent[types.NamespacedName]
	// Events tells of drift, and of gateways. May be nil.
	Events events.EventRecorder
}

// SetupWithManager registers the reconciler.
func (r *ApplicationReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	b := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Application{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, checkPredicate()))).
		Watches(&v1alpha1.UpdateRequest{}, after(whenEnded), builder.WithPredicates(justEndedPredicate())).
		Watches(&v1alpha1.UpdateRequest{}, after(whenBegun), builder.WithPredicates(startedPredicate())).
		Watches(&v1alpha1.Release{}, after(func(client.Object) time.Duration { return burst }))
	if r.Engine != nil {
		b = b.WatchesRawSource(source.TypedChannel(r.Engine, handler.TypedFuncs[string, reconcile.Request]{
			GenericFunc: func(ctx context.Context, e event.TypedGenericEvent[string], q workqueue) {
				for _, key := range r.ofProject(ctx, e.Object) {
					q.AddAfter(reconcile.Request{NamespacedName: key}, burst)
				}
			},
		}))
	}
	if r.News != nil {
		b = b.WatchesRawSource(source.TypedChannel(r.News, handler.TypedFuncs[types.NamespacedName, reconcile.Request]{
			GenericFunc: func(_ context.Context, e event.TypedGenericEvent[types.NamespacedName], q workqueue) {
				q.Add(reconcile.Request{NamespacedName: e.Object})
			},
		}))
	}
	return b.Complete(r)
}

// checkPredicate passes objects whose source somebody wants to be looked at.
func checkPredicate() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			const name = v1alpha1.AnnotationCheck
			return e.ObjectOld.GetAnnotations()[name] != e.ObjectNew.GetAnnotations()[name]
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

func applicationOf(_ context.Context, o client.Object) []reconcile.Request {
	var name string
	switch o := o.(type) {
	case *v1alpha1.UpdateRequest:
		name = o.Spec.ApplicationRef.Name
	case *v1alpha1.Release:
		name = o.Spec.ApplicationRef.Name
	default:
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

const (
	// burst is how long a change is let be followed by others, to look once for all
	// of them: looking takes its share of the processor from the update itself, which
	// after a second most often waits for what it started.
	burst = time.Second
	// queued is the same for requests that wait or were superseded while they did:
	// somebody may make one after the other, and none of them changed what runs.
	queued = 3 * time.Second
)

// whenBegun is how long after an event of a request its application is looked at.
func whenBegun(o client.Object) time.Duration {
	if plan.Started(o.(*v1alpha1.UpdateRequest).Status) {
		return burst
	}
	return queued
}

// whenEnded is the same for a request that ended: what it did is to be seen at once.
func whenEnded(o client.Object) time.Duration {
	if plan.Started(o.(*v1alpha1.UpdateRequest).Status) {
		return 0
	}
	return queued
}

// after has the application of an object looked at some time after every event.
func after(pause func(client.Object) time.Duration) handler.EventHandler {
	later := func(ctx context.Context, o client.Object, q workqueue) {
		for _, req := range applicationOf(ctx, o) {
			q.AddAfter(req, pause(o))
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue) { later(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue) { later(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue) { later(ctx, e.Object, q) },
	}
}

// startedPredicate passes requests that came, went, or began.
func startedPredicate() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*v1alpha1.UpdateRequest), e.ObjectNew.(*v1alpha1.UpdateRequest)
		return plan.Started(was.Status) != plan.Started(is.Status)
	}}
}

// justEndedPredicate passes requests that ended. What lies between the beginning
// and the end of a request does not show in the status of its application, but
// for the containers, of which the engine tells.
func justEndedPredicate() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(*v1alpha1.UpdateRequest), e.ObjectNew.(*v1alpha1.UpdateRequest)
			return over(was) != over(is)
		},
	}
}

// phasePredicate passes requests that came, went, or changed their phase.
func phasePredicate() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.(*v1alpha1.UpdateRequest).Status.Phase != e.ObjectNew.(*v1alpha1.UpdateRequest).Status.Phase
	}}
}

func (r *ApplicationReconciler) ofProject(ctx context.Context, project string) []types.NamespacedName {
	var list v1alpha1.ApplicationList
	if err := r.Client.List(ctx, &list); err != nil {
		return nil
	}
	var keys []types.NamespacedName
	for i := range list.Items {
		if p := list.Items[i].Status.Project; project == "" || p == "" || p == project {
			keys = append(keys, client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
	return keys
}

// Reconcile observes an application and writes what it saw.
func (r *ApplicationReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var app v1alpha1.Application
	if err := r.Client.Get(ctx, req.NamespacedName, &app); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	earlier, err := requestsOf(ctx, r.Client, &app)
	if err != nil {
		return ctrl.Result{}, err
	}
	seen, observeErr := r.Observer.Application(ctx, &app)
	requests, err := requestsOf(ctx, r.Client, &app)
	if err != nil {
		return ctrl.Result{}, err
	}
	before, now := app.DeepCopy(), r.Clock.Now()
	if slices.ContainsFunc(earlier, active) {
		seen.Drift = nil // it was under way when it was looked at
	}
	writeApplicationStatus(&app, requests, seen, observeErr, now)
	if r.Follower != nil {
		answer, known := r.Follower.Track(&app)
		writeUpdateStatus(&app, requests, seen.RestoredAt, answer, known, now)
	}
	if r.Gateways != nil {
		answer, known := r.Gateways.Track(req.NamespacedName, app.Status.Project, app.Status.ActiveRequest != "")
		writeGateways(&app, answer, known, now)
	}
	if !equality.Semantic.DeepEqual(before.Status, app.Status) {
		if err := r.Client.Status().Update(ctx, &app); err != nil {
			if apierrors.IsConflict(err) {
				return ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil
			}
			return ctrl.Result{}, fmt.Errorf("write status: %w", err)
		}
		r.emitDrift(before, &app)
		r.emitGateways(before, &app)
	}
	if err := r.prune(ctx, &app, requests); err != nil {
		return ctrl.Result{}, err
	}
	if observeErr != nil {
		return ctrl.Result{RequeueAfter: 30 * time.Second}, nil //nolint:nilerr // the conditions tell it
	}
	return ctrl.Result{RequeueAfter: applicationResync}, nil
}

// forget drops an application that is gone.
func (r *ApplicationReconciler) forget(key types.NamespacedName) {
	if r.Follower != nil {
		r.Follower.Forget(key)
	}
	if r.Gateways != nil {
		r.Gateways.Forget(key)
	}
}

// requestsOf lists the requests of an application.
func requestsOf(ctx context.Context, reader client.Reader, app *v1alpha1.Application) ([]v1alpha1.UpdateRequest, error) {
	var list v1alpha1.UpdateRequestList
	err := reader.List(ctx, &list, client.InNamespace(app.Namespace), client.MatchingFields{applicationField: app.Name})
	return list.Items, err
}

// prune deletes ended requests beyond the number that is kept.
func (r *ApplicationReconciler) prune(ctx context.Context, app *v1alpha1.Application, requests []v1alpha1.UpdateRequest) error {
	keep := int(app.Spec.Retention.Requests)
	if keep <= 0 {
		return nil
	}
	ended := slices.DeleteFunc(slices.Clone(requests), func(ur v1alpha1.UpdateRequest) bool { return !plan.Ended(ur.Status.Phase) })
	if len(ended) <= keep {
		return nil
	}
	slices.SortFunc(ended, func(a, b v1alpha1.UpdateRequest) int {
		if older(&a, &b) {
			return -1
		}
		return 1
	})
	for i := range ended[:len(ended)-keep] {
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, &ended[i])); err != nil {
			return fmt.Errorf("delete the old request %s: %w", ended[i].Name, err)
		}
	}
	return nil
}
