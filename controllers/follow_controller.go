// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// followName tells this controller from the one of Applications.
const followName = "update-policy"

// FollowReconciler makes UpdateRequests for Applications that follow their
// source by themselves. It makes them and does nothing else: no status, no
// container, no other object.
type FollowReconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	// Identity is who makes the requests, as they tell it.
	Identity string
}

// SetupWithManager registers the reconciler.
func (r *FollowReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(followName).
		For(&v1alpha1.Application{}). // its status too: there is what is newest
		Watches(&v1alpha1.UpdateRequest{}, handler.EnqueueRequestsFromMapFunc(applicationOf), builder.WithPredicates(phasePredicate())).
		Complete(r)
}

// Reconcile makes a request if one is due, and comes back when one may be.
func (r *FollowReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var app v1alpha1.Application
	if err := r.Client.Get(ctx, req.NamespacedName, &app); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if app.Spec.Update.Policy != v1alpha1.UpdateAutomatic || app.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	requests, err := requestsOf(ctx, r.Client, &app)
	if err != nil {
		return ctrl.Result{}, err
	}
	now := r.Clock.Now()
	known := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionUpdateAvailable)
	unreachable := known == nil || known.Status == metav1.ConditionUnknown
	switch d := plan.Follow(followFacts(&app, requests, unreachable, now)); d.Kind {
	case plan.FollowWait:
		return ctrl.Result{RequeueAfter: max(d.Until.Sub(now), time.Second)}, nil
	case plan.FollowRequestIt:
		return ctrl.Result{}, r.request(ctx, &app, d.Commit)
	}
	return ctrl.Result{}, nil
}

// request makes the UpdateRequest for a commit. Its name follows from the
// commit, so that a daemon that was killed, or a cache that is behind, does not
// make a second one: if there is one of that name, there was a request for the
// commit already.
func (r *FollowReconciler) request(ctx context.Context, app *v1alpha1.Application, commit string) error {
	ur := &v1alpha1.UpdateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: app.Namespace,
			Annotations: map[string]string{
				v1alpha1.AnnotationTrigger:     v1alpha1.TriggerUpdatePolicy,
				v1alpha1.AnnotationRequestedBy: r.Identity,
			},
		},
		Spec: v1alpha1.UpdateRequestSpec{ApplicationRef: v1alpha1.LocalReference{Name: app.Name}, Commit: commit},
	}
	for _, ur.Name = range followedNames(app.Name, commit) {
		err := r.Client.Create(ctx, ur)
		if err == nil {
			logf.FromContext(ctx).Info("an update is requested, as spec.update says", "request", ur.Name, "commit", commit)
			return nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make the request %s: %w", ur.Name, err)
		}
		var there v1alpha1.UpdateRequest
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(ur), &there); err != nil {
			return err // also when the cache does not have it yet: looked at again
		}
		if there.Spec.ApplicationRef == ur.Spec.ApplicationRef && there.Spec.Commit == commit && !there.Spec.DryRun {
			return nil
		}
	}
	return fmt.Errorf("the names %v are taken by requests for something else", followedNames(app.Name, commit))
}

// followedNames are the name of the request for a commit, and the one in case
// somebody gave that to something else.
func followedNames(app, commit string) []string {
	return []string{app + "-" + commit[:min(12, len(commit))], app + "-" + commit}
}
