// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// EndRunner does what is left when a request has ended, such as its last hooks, if Due says that there is something.
// End returns an error only if ctx ended first.
type EndRunner interface {
	Due(app *v1alpha1.Application, request *v1alpha1.UpdateRequest) bool
	End(ctx context.Context, work steps.Work, rec steps.Recorder) error
}

// settle does what is left of a request that ended: the rest of its clean-up and its last hooks, as a job that
// keeps the application until it is done, then the end of its log. The finalizer
// goes last, so that a daemon that was killed comes by here again.
func (r *UpdateRequestReconciler) settle(ctx context.Context, ur *v1alpha1.UpdateRequest) (ctrl.Result, error) {
	key := client.ObjectKeyFromObject(ur)
	switch r.ending(ur) {
	case endRunning:
		done, err := r.pollEnd(ctx, ur)
		if err != nil || !done {
			return retrySoon(err)
		}
	case endDone:
	default:
		if !r.idle(key) {
			return ctrl.Result{}, nil
		}
		started, err := r.startEnd(ctx, ur)
		if err != nil || started {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{}, r.conclude(ctx, ur)
}

func retrySoon(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil
	}
	return ctrl.Result{}, err
}

// endState is how far what is left of a request that ended is in this process.
type endState int

const (
	endNone endState = iota
	endRunning
	endDone
)

// ending is how far a request is; its name may have been another one's.
type ending struct {
	uid   types.UID
	state endState
}

func (r *UpdateRequestReconciler) ending(ur *v1alpha1.UpdateRequest) endState {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.ends[client.ObjectKeyFromObject(ur)]; e.uid == ur.UID {
		return e.state
	}
	return endNone
}

func (r *UpdateRequestReconciler) setEnding(ur *v1alpha1.UpdateRequest, state endState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[client.ObjectKeyFromObject(ur)] = ending{ur.UID, state}
}

// forgetEnding drops what is known of a request that is settled or gone.
func (r *UpdateRequestReconciler) forgetEnding(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ends, key)
}

// startEnd starts what is left to do, if there is anything, or says that it waits for its turn.
func (r *UpdateRequestReconciler) startEnd(ctx context.Context, ur *v1alpha1.UpdateRequest) (bool, error) {
	if r.AtEnd == nil || !controllerutil.ContainsFinalizer(ur, requestFinalizer) {
		return false, nil
	}
	var app v1alpha1.Application
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: ur.Namespace, Name: ur.Spec.ApplicationRef.Name}, &app); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	if !r.AtEnd.Due(&app, ur) {
		return false, nil
	}
	key := client.ObjectKeyFromObject(ur)
	// It has the directory still, unless the daemon was restarted; then another request may. Hooks need not have it.
	if _, mine := r.claim(ur, scope{app: &app}.directory(ur)); ur.Status.CleanUpPending && !(mine && r.Gate.enter(key, true)) {
		return true, nil
	}
	work := steps.Work{Request: ur.DeepCopy(), Application: app.DeepCopy()}
	r.setEnding(ur, endRunning)
	if !r.jobs.Start(key, func(ctx context.Context, j *Job) error { return r.AtEnd.End(ctx, work, j) }) {
		r.forgetEnding(key)
	}
	return true, nil
}

// pollEnd writes what that came to, and nothing else of the status.
func (r *UpdateRequestReconciler) pollEnd(ctx context.Context, ur *v1alpha1.UpdateRequest) (done bool, err error) {
	key := client.ObjectKeyFromObject(ur)
	job, ok := r.jobs.Poll(key)
	if !ok {
		r.setEnding(ur, endDone)
		return true, nil
	}
	before := ur.DeepCopy()
	w := statusWriter{ur: ur, now: r.Clock.Now()}
	w.apply(job.Changes)
	if !equality.Semantic.DeepEqual(before.Status, ur.Status) {
		if err := r.Client.Status().Update(ctx, ur); err != nil {
			if apierrors.IsNotFound(err) {
				r.jobs.Cancel(key)
			}
			return false, fmt.Errorf("write status: %w", err)
		}
	}
	r.jobs.Acknowledge(key, len(job.Changes))
	r.emitHooks(before, ur)
	if !job.Done {
		return false, nil
	}
	if failure.IsInterrupted(job.Err) {
		return false, nil // the daemon stops; the next one goes on
	}
	if job.Err != nil {
		logf.FromContext(ctx).Error(job.Err, "what was left to do at the end of the request broke off")
	}
	r.jobs.Forget(key)
	r.setEnding(ur, endDone)
	return true, nil
}
