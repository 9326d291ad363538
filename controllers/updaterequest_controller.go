// SPDX-License-Identifier: Apache-2.0

// Package controllers reconciles the objects of fairlead.dev with what runs on
// the Docker host. A reconciler observes, asks package plan what comes next,
// starts at most one step as a job outside of the worker, and writes the status
// once. The *_status.go files are the only writers of a status.
package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/jobs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// requestFinalizer keeps a request that is being deleted until its work is
// undone.
const requestFinalizer = "fairlead.dev/work"

// applicationField is the index of UpdateRequests by application.
const applicationField = "spec.applicationRef.name"

// Job is the work on one request.
type Job = jobs.Job[v1alpha1.UpdateRequestStatus]

// StepRunner carries out steps. Run blocks until the step ends, and returns
// early with failure.Interrupted when ctx ends. It must find out by itself what
// an earlier attempt left, and go on from there.
type StepRunner interface {
	Run(ctx context.Context, work steps.Work, rec steps.Recorder) error
	// Summarize ends the log of a request that ended. It may be called again.
	Summarize(request *v1alpha1.UpdateRequest) error
}

// UpdateRequestReconciler carries out UpdateRequests.
type UpdateRequestReconciler struct {
	Client client.Client
	// Direct reads from the API server itself. A request begins with the
	// Application as it is then: a cache that is behind would have the one who
	// first changed it and then asked for an update get one by the old settings.
	Direct client.Reader
	Steps  StepRunner
	Events events.EventRecorder
	Clock  clock.PassiveClock
	// AtEnd does what is left when a request has ended; may be nil.
	AtEnd EndRunner
	// Gate holds requests back while the daemon is being replaced. Default: one
	// that never does.
	Gate *Gate
	// Concurrent is the number of requests that are reconciled at once.
	// Default 4.
	Concurrent int

	jobs *jobs.Runner[types.NamespacedName, v1alpha1.UpdateRequestStatus]
	wake chan event.TypedGenericEvent[types.NamespacedName]

	stopped chan struct{} // closed when nobody reads wake any more

	mu       sync.Mutex
	claims   map[string]*claim                // by working tree
	attempts map[types.NamespacedName]attempt // what the job of a request does
	// refused are those whose last write failed: a step of one begins after the next write, or it would begin and be withdrawn
	// as fast as writes fail.
	refused map[types.NamespacedName]bool

	own  ownWrites
	ids  runIDs
	ends map[types.NamespacedName]ending
}

// SetupWithManager registers the reconciler.
func (r *UpdateRequestReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	r.init()
	if err := IndexRequests(ctx, mgr); err != nil {
		return err
	}
	if err := mgr.Add(&jobStopper{jobs: r.jobs, stopped: r.stopped}); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.UpdateRequest{}, builder.WithPredicates(r.turnPredicate(ctx))).
		Watches(&v1alpha1.UpdateRequest{}, r.cameLater()).
		Watches(&v1alpha1.Application{}, handler.EnqueueRequestsFromMapFunc(r.ofApplication),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.UpdateRequest{}, handler.EnqueueRequestsFromMapFunc(r.behind), builder.WithPredicates(endedPredicate())).
		WatchesRawSource(source.TypedChannel(r.wake, handler.TypedFuncs[types.NamespacedName, reconcile.Request]{
			GenericFunc: func(_ context.Context, e event.TypedGenericEvent[types.NamespacedName], q workqueue) {
				q.Add(reconcile.Request{NamespacedName: e.Object})
			},
		}, source.WithBufferSize[types.NamespacedName, reconcile.Request](1024))).
		WithOptions(controller.Options{MaxConcurrentReconciles: max(4, r.Concurrent)}).
		Complete(r)
}

func (r *UpdateRequestReconciler) init() {
	r.wake = make(chan event.TypedGenericEvent[types.NamespacedName])
	r.stopped = make(chan struct{})
	r.claims = map[string]*claim{}
	r.attempts = map[types.NamespacedName]attempt{}
	r.refused = map[types.NamespacedName]bool{}
	r.ends = map[types.NamespacedName]ending{}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Gate == nil {
		r.Gate = NewGate(0)
	}
	r.Gate.wake = r.wakeUp
	r.jobs = jobs.NewRunner[types.NamespacedName, v1alpha1.UpdateRequestStatus](r.wakeUp)
}

// wakeUp has a request reconciled.
func (r *UpdateRequestReconciler) wakeUp(request types.NamespacedName) {
	select {
	case r.wake <- event.TypedGenericEvent[types.NamespacedName]{Object: request}:
	case <-r.stopped:
	}
}

// Reconcile takes a request one decision further.
func (r *UpdateRequestReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var ur v1alpha1.UpdateRequest
	if err := r.Client.Get(ctx, req.NamespacedName, &ur); err != nil {
		if apierrors.IsNotFound(err) {
			r.own.forget(req.NamespacedName)
		}
		if apierrors.IsNotFound(err) && r.idle(req.NamespacedName) {
			r.forgetEnding(req.NamespacedName)
			// It may have claimed the application before it got its finalizer,
			// or have lost that by force.
			r.release(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	r.own.catchUp(&ur)
	if r.jobs.Withdrawn(req.NamespacedName) {
		return ctrl.Result{}, nil // nothing is done beside it; its end wakes us
	}
	if plan.Ended(ur.Status.Phase) {
		return r.settle(ctx, &ur)
	}
	if r.ending(&ur) != endNone {
		return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil // the cache is behind
	}
	work, err := r.gather(ctx, &ur)
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.advance(ctx, &ur, work)
}

// scope is what one pass knows of a request beside the object itself.
type scope struct {
	app *v1alpha1.Application
	// siblings are those of the cache, and not to be written to.
	siblings []v1alpha1.UpdateRequest
}

func (r *UpdateRequestReconciler) gather(ctx context.Context, ur *v1alpha1.UpdateRequest) (scope, error) {
	var s scope
	var app v1alpha1.Application
	key := types.NamespacedName{Namespace: ur.Namespace, Name: ur.Spec.ApplicationRef.Name}
	switch err := r.Client.Get(ctx, key, &app); {
	case err == nil:
		s.app = &app
	case !apierrors.IsNotFound(err):
		return s, err
	}
	var list v1alpha1.UpdateRequestList
	err := r.Client.List(ctx, &list, client.InNamespace(ur.Namespace), client.MatchingFields{applicationField: key.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return s, err
	}
	s.siblings = slices.DeleteFunc(list.Items, func(o v1alpha1.UpdateRequest) bool { return o.Name == ur.Name })
	return s, nil
}

// advance applies what the job came to, decides, and writes the status once. A step
// begins beside that write, which it waits for before it has any effect, and ends
// at once if the write is refused.
func (r *UpdateRequestReconciler) advance(ctx context.Context, ur *v1alpha1.UpdateRequest, s scope) (ctrl.Result, error) {
	key := client.ObjectKeyFromObject(ur)
	now := r.Clock.Now()
	before := ur.DeepCopy()
	w := statusWriter{ur: ur, now: now, ids: &r.ids}
	w.seen()

	job, hasJob := r.jobs.Poll(key)
	w.apply(job.Changes)
	if hasJob && job.Done {
		if p := failure.AsPanic(job.Err); p != nil {
			logf.FromContext(ctx).Error(job.Err, "a step panicked", "step", r.attemptOf(key).step, "value", p.Value, "stack", p.Stack)
		}
		w.stepEnded(r.attemptOf(key), job.Err)
	}
	facts := r.facts(ur, s, hasJob && !job.Done)
	decision := plan.Next(facts)
	if decision.Kind == plan.SkipStep {
		for ; decision.Kind == plan.SkipStep; decision = plan.Next(facts) {
			w.skip(decision)
			facts.Status = ur.Status
		}
	}
	if decision.Kind == plan.RunStep && decision.Step == v1alpha1.StepCleanUp && ur.Status.CleanUpPending {
		w.cleanedUp(decision, s)
		facts.Status = ur.Status
		decision = plan.Next(facts)
	}
	retryIn := time.Duration(0)
	switch decision.Kind {
	case plan.RunStep:
		if retryIn = w.backoff(decision.Step); retryIn > 0 {
			w.retrying(decision)
			decision.Kind = plan.WaitTurn
			break
		}
		if !r.Gate.enter(key, plan.Started(ur.Status)) {
			decision = plan.Decision{Kind: plan.WaitTurn, Reason: v1alpha1.ReasonQueued, Message: "waits until Fairlead itself is updated"}
			w.wait(decision)
			break
		}
		if behind, err := r.outdated(ctx, ur, s.app); err != nil {
			return ctrl.Result{}, err
		} else if behind {
			r.Gate.leave(key)
			return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil
		}
		dir := s.directory(ur)
		other, err := r.begun(ctx, ur, dir)
		if err != nil {
			return ctrl.Result{}, err
		}
		ok := other == ""
		if ok {
			other, ok = r.claim(ur, dir)
		}
		if !ok {
			decision = plan.Decision{Kind: plan.WaitTurn, Reason: v1alpha1.ReasonQueued, Message: "waits for the request " + other + " to end"}
			w.wait(decision)
			break
		}
		w.start(decision, s)
	case plan.Finish:
		w.finish(decision)
	case plan.WaitTurn:
		w.wait(decision)
	case plan.CancelJob:
		w.cancelling()
	case plan.AwaitJob, plan.Nothing, plan.SkipStep:
	}
	w.conditions()
	beside := decision.Kind == plan.RunStep && !r.wasRefused(key)
	work := steps.Work{Step: decision.Step, Request: ur.DeepCopy(), Application: s.app.DeepCopy(), FailedCommits: failedCommits(s)}
	if beside {
		if !r.begin(key, work) {
			return ctrl.Result{}, nil // the daemon stops
		}
		defer r.jobs.Withdraw(key) // unless it is confirmed
	}
	if err := r.write(ctx, before, ur, decision.Kind == plan.RunStep); apierrors.IsConflict(err) {
		// Somebody wrote the object meanwhile, or the cache is behind: look again, act on nothing. A step that has
		// ended must not begin again by what the cache has yet to learn.
		r.own.renew(ctx, r.Direct, key)
		r.setRefused(key, true)
		return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil
	} else if err != nil {
		r.setRefused(key, true)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	r.setRefused(key, false)
	if decision.Kind == plan.RunStep && (beside || r.begin(key, work)) {
		r.confirm(ur)
	} else if hasJob {
		r.jobs.Acknowledge(key, len(job.Changes))
		if job.Done {
			r.jobs.Forget(key)
		}
	}
	r.emit(before, ur, decision)
	if decision.Kind == plan.WaitTurn {
		r.Gate.leave(key)
	}
	if decision.Kind == plan.WaitTurn && !plan.Started(ur.Status) {
		r.release(key) // it may have got its turn, and was held back since
	}
	switch decision.Kind {
	case plan.CancelJob:
		r.jobs.Cancel(key)
	case plan.Finish:
		return r.settle(ctx, ur)
	}
	return ctrl.Result{RequeueAfter: retryIn}, nil
}

// outdated reports whether app, which ur is about to begin with, is not what the API
// server has. What has begun goes on with what the cache has by then.
func (r *UpdateRequestReconciler) outdated(ctx context.Context, ur *v1alpha1.UpdateRequest, app *v1alpha1.Application) (bool, error) {
	if plan.Started(ur.Status) || app == nil {
		return false, nil
	}
	var now v1alpha1.Application
	if err := r.Direct.Get(ctx, client.ObjectKeyFromObject(app), &now); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	return now.UID != app.UID || now.Generation != app.Generation, nil
}

// write writes what changed of the status, and before a step the finalizer.
func (r *UpdateRequestReconciler) write(ctx context.Context, before, ur *v1alpha1.UpdateRequest, begins bool) error {
	if begins && !controllerutil.ContainsFinalizer(ur, requestFinalizer) && ur.DeletionTimestamp == nil {
		if err := r.addFinalizer(ctx, before, ur); err != nil {
			return fmt.Errorf("write the finalizer: %w", err)
		}
	}
	if equality.Semantic.DeepEqual(before.Status, ur.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, ur); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	r.own.keep(ur)
	return nil
}

// facts gathers what plan.Next needs.
func (r *UpdateRequestReconciler) facts(ur *v1alpha1.UpdateRequest, s scope, running bool) plan.RequestFacts {
	f := plan.RequestFacts{
		Spec: ur.Spec, Status: ur.Status,
		Deleting:         ur.DeletionTimestamp != nil,
		ApplicationFound: s.app != nil,
		Unchanged:        !aside(ur) && unchanged(ur.Status),
	}
	if s.app != nil {
		f.ApplicationSuspended = s.app.Spec.Suspend
	}
	if running {
		f.Job = plan.JobRunning
	}
	if !plan.Started(ur.Status) {
		f.Ahead, f.SupersededBy = queue(ur, s.siblings)
	}
	return f
}

// aside reports whether a request brings the application to no commit or
// release: it makes a backup, or goes back to one.
func aside(ur *v1alpha1.UpdateRequest) bool { return ur.Spec.BackupOnly || ur.Spec.RestoreFrom != nil }

// follows reports whether a request may be superseded, or supersede: one that
// goes to a commit.
func follows(ur *v1alpha1.UpdateRequest) bool { return ur.Spec.RollbackTo == nil && !aside(ur) }

// unchanged reports whether preflight found nothing to do.
func unchanged(st v1alpha1.UpdateRequestStatus) bool {
	return st.Plan != nil && plan.Unchanged(st.Plan.Services) && st.Commit != "" && st.Commit == st.PreviousCommit
}

// queue says which request is before ur, and which newer one makes it
// pointless.
func queue(ur *v1alpha1.UpdateRequest, siblings []v1alpha1.UpdateRequest) (ahead, supersededBy string) {
	var first *v1alpha1.UpdateRequest
	for i := range siblings {
		o := &siblings[i]
		if over(o) || o.Spec.DryRun {
			continue
		}
		started := plan.Started(o.Status)
		switch {
		case started || older(o, ur) && !o.Spec.Suspend && o.DeletionTimestamp == nil:
			// The one that runs, else the next in turn.
			if first == nil || started || !plan.Started(first.Status) && older(o, first) {
				first, ahead = o, o.Name
			}
		case older(ur, o) && follows(o) && follows(ur) && !ur.Spec.DryRun &&
			!o.Spec.Suspend && !o.Spec.Cancel && o.DeletionTimestamp == nil && wishesAsMuch(o, ur):
			supersededBy = o.Name
		}
	}
	if ahead == "" {
		supersededBy = "" // it is its turn: it runs
	}
	return ahead, supersededBy
}

func older(a, b *v1alpha1.UpdateRequest) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	if order, err := resourceversion.CompareResourceVersion(seenVersion(a), seenVersion(b)); err == nil && order != 0 {
		return order < 0
	}
	return a.Name < b.Name
}

// seenVersion is the version of a request when it was first seen: that of its
// creation, unless somebody wrote to it within that moment.
func seenVersion(ur *v1alpha1.UpdateRequest) string {
	return cmp.Or(ur.Status.SeenVersion, ur.ResourceVersion)
}

// addFinalizer writes the finalizer to the request as it was before the pass,
// and puts into ur, whose status is on its way, what came of it.
func (r *UpdateRequestReconciler) addFinalizer(ctx context.Context, before, ur *v1alpha1.UpdateRequest) error {
	patched := before.DeepCopy()
	controllerutil.AddFinalizer(patched, requestFinalizer)
	if err := r.Client.Patch(ctx, patched, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	r.own.keep(patched)
	ur.ObjectMeta = *patched.ObjectMeta.DeepCopy()
	return nil
}

// conclude gives the application free and ends the log of a request that ended.
func (r *UpdateRequestReconciler) conclude(ctx context.Context, ur *v1alpha1.UpdateRequest) error {
	key := client.ObjectKeyFromObject(ur)
	r.release(key)
	if !controllerutil.ContainsFinalizer(ur, requestFinalizer) {
		r.forgetEnding(key)
		return nil
	}
	if err := r.Steps.Summarize(ur); err != nil {
		// The log tells less; the status has it all.
		logf.FromContext(ctx).Error(err, "the log could not be ended", "log", ur.Status.LogFile)
	}
	return r.dropFinalizer(ctx, ur)
}

func (r *UpdateRequestReconciler) dropFinalizer(ctx context.Context, ur *v1alpha1.UpdateRequest) error {
	before := ur.DeepCopy()
	controllerutil.RemoveFinalizer(ur, requestFinalizer)
	if err := r.Client.Patch(ctx, ur, client.MergeFrom(before)); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.own.keep(ur)
	return nil
}

// failedCommits are the commits of the application that failed, from its
// status and from requests that it does not know yet.
func failedCommits(s scope) []v1alpha1.FailedCommit {
	var known []v1alpha1.FailedCommit
	if s.app != nil {
		known = s.app.Status.FailedCommits
	}
	return mergeFailed(known, s.siblings)
}
