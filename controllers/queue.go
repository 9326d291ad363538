// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"slices"
	"time"

	k8sworkqueue "k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

type workqueue = k8sworkqueue.TypedRateLimitingInterface[reconcile.Request]

// IndexRequests lets the cache find UpdateRequests by their application.
func IndexRequests(ctx context.Context, mgr ctrl.Manager) error {
	return mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.UpdateRequest{}, applicationField, func(o client.Object) []string {
		return []string{o.(*v1alpha1.UpdateRequest).Spec.ApplicationRef.Name}
	})
}

// ofApplication names the requests of an application that have not ended.
func (r *UpdateRequestReconciler) ofApplication(ctx context.Context, o client.Object) []reconcile.Request {
	return r.pending(ctx, o.GetNamespace(), o.GetName())
}

// behind names the requests that may have waited for the given one. One that ended
// may have held up other applications, whose directory is the same.
func (r *UpdateRequestReconciler) behind(ctx context.Context, o client.Object) []reconcile.Request {
	ur := o.(*v1alpha1.UpdateRequest)
	out := r.pending(ctx, ur.Namespace, ur.Spec.ApplicationRef.Name)
	if !plan.Ended(ur.Status.Phase) && ur.DeletionTimestamp == nil {
		return out
	}
	var list v1alpha1.UpdateRequestList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return out
	}
	for i := range list.Items {
		next := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}
		if st := list.Items[i].Status; !plan.Ended(st.Phase) && !plan.Started(st) && !slices.Contains(out, next) {
			out = append(out, next)
		}
	}
	return out
}

// standBack is how long it is put off to tell requests that wait what they wait for, or
// that a newer one was made in their place: who made that one is to have the answer
// first, for which the writes of the others would leave no processor.
const standBack = 30 * time.Millisecond

// cameLater wakes, some time after a request was made while another one works, it and
// those that wait.
func (r *UpdateRequestReconciler) cameLater() handler.EventHandler {
	return handler.Funcs{CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue) {
		self := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.Object)}
		if e.IsInInitialList {
			// Each is looked at for itself. For turnPredicate, which is told apart from
			// this, it may have come later, and have been left to this.
			if !plan.Ended(e.Object.(*v1alpha1.UpdateRequest).Status.Phase) {
				q.Add(self)
			}
			return
		}
		pause := time.Duration(0)
		if r.waits(ctx, e.Object) {
			pause = standBack
		}
		q.AddAfter(self, pause)
		for _, other := range r.pending(ctx, e.Object.GetNamespace(), e.Object.(*v1alpha1.UpdateRequest).Spec.ApplicationRef.Name) {
			q.AddAfter(other, pause)
		}
	}}
}

// turnPredicate passes all but a request that was just made and has to wait, which
// cameLater wakes.
func (r *UpdateRequestReconciler) turnPredicate(ctx context.Context) predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool { return e.IsInInitialList || !r.waits(ctx, e.Object) }}
}

// waits reports whether a request has to wait for another one that works.
func (r *UpdateRequestReconciler) waits(ctx context.Context, o client.Object) bool {
	ur := o.(*v1alpha1.UpdateRequest)
	var list v1alpha1.UpdateRequestList
	if err := r.Client.List(ctx, &list, client.InNamespace(ur.Namespace), client.MatchingFields{applicationField: ur.Spec.ApplicationRef.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return false
	}
	return slices.ContainsFunc(list.Items, func(other v1alpha1.UpdateRequest) bool {
		return other.UID != ur.UID && !other.Spec.DryRun && plan.Started(other.Status) && !plan.Ended(other.Status.Phase)
	})
}

func (r *UpdateRequestReconciler) pending(ctx context.Context, namespace, app string) []reconcile.Request {
	var list v1alpha1.UpdateRequestList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{applicationField: app}, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if !plan.Ended(list.Items[i].Status.Phase) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}

// endedPredicate passes requests that just ended, or that went away, or that
// were first seen or suspended: with those that are made, all that changes the order
// of the others.
func endedPredicate() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return true },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(*v1alpha1.UpdateRequest), e.ObjectNew.(*v1alpha1.UpdateRequest)
			return over(is) != over(was) || was.Generation != is.Generation ||
				was.Status.SeenVersion != is.Status.SeenVersion
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// wishesAsMuch reports whether the newer request a brings what ur adds to its
// Application too, its profiles, with the same variables, and tries as hard: a
// commit that failed is tried again only where somebody said so.
func wishesAsMuch(a, ur *v1alpha1.UpdateRequest) bool {
	if ur.Spec.Force && !a.Spec.Force {
		return false
	}
	if ur.Spec.Retry && !a.Spec.Retry && !a.Spec.Force && a.Spec.Commit == ur.Spec.Commit {
		return false
	}
	return maps.Equal(a.Spec.Variables, ur.Spec.Variables) &&
		!slices.ContainsFunc(ur.Spec.Profiles, func(p string) bool { return !slices.Contains(a.Spec.Profiles, p) })
}
