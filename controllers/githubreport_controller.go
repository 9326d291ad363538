// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	github "github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/report"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

const (
	// reportFor is how long after its end GitHub is still told of a request.
	reportFor = 24 * time.Hour
	// Between two tries at least, where waiting helps; and where a person must act.
	firstReportRetry = time.Second
	lastReportRetry  = 5 * time.Minute
)

// GitHubConnector finds the repository of an application and a client for it.
type GitHubConnector interface {
	Connect(ctx context.Context, app *v1alpha1.Application) (*github.Client, github.Repo, error)
}

// GitHubReportReconciler writes commit statuses and deployments to GitHub. It
// compares what GitHub was told, which an annotation of each UpdateRequest has,
// with what there is to tell, so it misses nothing while GitHub or the daemon is
// away; and it has no part in the update. All requests of an application are told
// in their order, as the last success decides what GitHub shows as deployed.
type GitHubReportReconciler struct {
	Client client.Client
	GitHub GitHubConnector
	Events events.EventRecorder
	Clock  clock.PassiveClock
	// TargetURL is the address of a page about a request; may be nil.
	TargetURL func(request types.NamespacedName) string

	mu    sync.Mutex
	known map[types.NamespacedName]*reported // by application
}

// reported is what is known of the reports of one application beside the
// annotations.
type reported struct {
	// records are newer than the cache may be.
	records map[types.UID]report.Record
	// gone are requests that were deleted with something left to tell.
	gone []v1alpha1.UpdateRequest
	// tried are requests that could not be told of yet.
	tried map[types.UID]bool
	// failures in a row, and the last one that an Event was sent about.
	failures int
	told     string
	// until is when GitHub is tried again, whatever happens here meanwhile, unless
	// the Application is not of this generation any more.
	until      time.Time
	generation int64
}

// SetupWithManager registers the reconciler. IndexRequests must have been called.
func (r *GitHubReportReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	r.known = map[types.NamespacedName]*reported{}
	return ctrl.NewControllerManagedBy(mgr).Named("githubreport").
		For(&v1alpha1.Application{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.UpdateRequest{}, handler.Funcs{
			CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue) { enqueue(ctx, q, e.Object) },
			UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue) { enqueue(ctx, q, e.ObjectNew) },
			DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue) {
				r.deleted(e.Object.(*v1alpha1.UpdateRequest))
				enqueue(ctx, q, e.Object)
			},
		}, builder.WithPredicates(phasePredicate())).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(r)
}

func enqueue(ctx context.Context, q workqueue, o client.Object) {
	for _, req := range applicationOf(ctx, o) {
		q.Add(req)
	}
}

// of returns what is known of an application's reports. The reconciler of the
// application is the only one to use it but for gone, which mu guards.
func (r *GitHubReportReconciler) of(app types.NamespacedName) *reported {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.known[app]
	if !ok {
		k = &reported{records: map[types.UID]report.Record{}, tried: map[types.UID]bool{}}
		r.known[app] = k
	}
	return k
}

// deleted keeps a request of which GitHub would otherwise never hear the end.
func (r *GitHubReportReconciler) deleted(ur *v1alpha1.UpdateRequest) {
	ur = ur.DeepCopy()
	now := metav1.NewTime(r.Clock.Now())
	if ur.Status.FinishedAt == nil {
		ur.Status.FinishedAt = &now
	}
	if !plan.Ended(ur.Status.Phase) {
		ur.Status.Phase = v1alpha1.PhaseCancelled
	}
	key := types.NamespacedName{Namespace: ur.Namespace, Name: ur.Spec.ApplicationRef.Name}
	k := r.of(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	k.gone = append(k.gone, *ur)
}

// task is one request that GitHub is to be told of.
type task struct {
	request            *v1alpha1.UpdateRequest
	gone               bool
	record             report.Record
	want               report.Report
	status, deployment bool
}

// Reconcile tells GitHub what it has not been told of an application's requests.
func (r *GitHubReportReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var app v1alpha1.Application
	err := r.Client.Get(ctx, req.NamespacedName, &app)
	if err == nil && reports(&app) {
		return r.tell(ctx, &app)
	}
	if err == nil || apierrors.IsNotFound(err) {
		r.mu.Lock()
		delete(r.known, req.NamespacedName)
		r.mu.Unlock()
	}
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

func reports(app *v1alpha1.Application) bool {
	g := app.Spec.GitHub
	return g != nil && (g.CommitStatuses || g.Environment != "")
}

func (r *GitHubReportReconciler) tell(ctx context.Context, app *v1alpha1.Application) (ctrl.Result, error) {
	k := r.of(client.ObjectKeyFromObject(app))
	tasks, err := r.tasks(ctx, app, k)
	if err != nil || len(tasks) == 0 {
		return ctrl.Result{}, err
	}
	if wait := k.until.Sub(r.Clock.Now()); wait > 0 && k.generation == app.Generation {
		r.keep(k, tasks)
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	gh, repo, err := r.GitHub.Connect(ctx, app)
	if err != nil {
		return r.later(ctx, app, k, tasks, err), nil
	}
	for i := range tasks {
		t := &tasks[i]
		before := t.record
		err := r.write(ctx, app, gh, repo, t)
		if errors.Is(err, github.ErrUnknownCommit) || errors.Is(err, github.ErrRefused) {
			r.giveUp(t, err.Error()) // no later request has to wait for it
			err = nil
		}
		if t.record != before {
			if err := r.save(ctx, k, t); err != nil {
				r.keep(k, tasks[i:])
				return ctrl.Result{}, err
			}
		}
		if err != nil {
			return r.later(ctx, app, k, tasks[i:], err), nil
		}
	}
	k.failures, k.told, k.until = 0, "", time.Time{}
	return ctrl.Result{}, nil
}

// tasks are the requests that GitHub is to be told of, in their order.
func (r *GitHubReportReconciler) tasks(ctx context.Context, app *v1alpha1.Application, k *reported) ([]task, error) {
	var list v1alpha1.UpdateRequestList
	if err := r.Client.List(ctx, &list, client.InNamespace(app.Namespace), client.MatchingFields{applicationField: app.Name}); err != nil {
		return nil, err
	}
	r.mu.Lock()
	gone := k.gone
	k.gone = nil
	r.mu.Unlock()
	all := slices.Concat(list.Items, gone)
	slices.SortStableFunc(all, func(a, b v1alpha1.UpdateRequest) int {
		if older(&a, &b) {
			return -1
		}
		return 1
	})
	var out []task
	there := map[types.UID]bool{}
	for i := range all {
		ur := &all[i]
		there[ur.UID] = true
		t := task{request: ur, record: report.RecordOf(ur)}
		t.gone = slices.ContainsFunc(gone, func(o v1alpha1.UpdateRequest) bool { return o.UID == ur.UID })
		if newer, ok := k.records[ur.UID]; ok {
			t.record = newer
		}
		var some bool
		if t.want, some = report.Of(ur, blamesCommit(&ur.Status)); !some {
			continue
		}
		if t.status, t.deployment = t.record.Missing(t.want, app.Spec.GitHub); !t.status && !t.deployment {
			continue
		}
		if end := ur.Status.FinishedAt; end != nil && r.Clock.Since(end.Time) > reportFor {
			if err := r.expire(ctx, k, &t); err != nil {
				r.mu.Lock()
				k.gone = append(k.gone, gone...)
				r.mu.Unlock()
				return nil, err
			}
			continue
		}
		out = append(out, t)
	}
	for uid := range k.records {
		if !there[uid] {
			delete(k.records, uid)
			delete(k.tried, uid)
		}
	}
	return out, nil
}

// expire gives a request up that ended too long ago. One that GitHub never was to
// hear of, as it ended before reports were asked for, is passed over.
func (r *GitHubReportReconciler) expire(ctx context.Context, k *reported, t *task) error {
	if t.record == (report.Record{}) && !k.tried[t.request.UID] {
		return nil
	}
	r.giveUp(t, fmt.Sprintf("it could not be told within %s", reportFor))
	return r.save(ctx, k, t)
}

func (r *GitHubReportReconciler) giveUp(t *task, why string) {
	t.record.GivenUp = why
	r.Events.Eventf(t.request, nil, corev1.EventTypeWarning, v1alpha1.ReasonGitHubGivenUp, "Report", "%s",
		eventNote("GitHub is not told how this update went: "+why))
}

// write writes what is missing, and notes in the task's record what was written.
func (r *GitHubReportReconciler) write(ctx context.Context, app *v1alpha1.Application, gh *github.Client, repo github.Repo, t *task) error {
	url := ""
	if r.TargetURL != nil {
		url = r.TargetURL(client.ObjectKeyFromObject(t.request))
	}
	if t.status {
		state := t.want.Outcome.CommitState()
		if err := gh.SetCommitStatus(ctx, repo, t.want.Commit, github.Status{
			State: state, Context: "fairlead/" + app.Namespace + "/" + app.Name, Description: t.want.Description, URL: url,
		}); err != nil {
			return err
		}
		t.record.Status = state
	}
	if !t.deployment {
		return nil
	}
	if t.record.Deployment == 0 {
		var err error
		if t.record.Deployment, err = gh.EnsureDeployment(ctx, repo, github.Deployment{
			Commit: t.want.Commit, Environment: app.Spec.GitHub.Environment, ID: string(t.request.UID),
			Description: app.Namespace + "/" + app.Name + ", request " + t.request.Name,
		}); err != nil {
			return err
		}
	}
	state := t.want.Outcome.DeploymentState()
	if err := gh.SetDeploymentStatus(ctx, repo, t.record.Deployment, github.Status{State: state, Description: t.want.Description, URL: url}); err != nil {
		return err
	}
	t.record.DeploymentStatus = state
	return nil
}

// save keeps a record: in memory at once, as the cache is behind, and with the
// request for the next daemon.
func (r *GitHubReportReconciler) save(ctx context.Context, k *reported, t *task) error {
	k.records[t.request.UID] = t.record
	if t.gone {
		return nil
	}
	before := t.request.DeepCopy()
	after := before.DeepCopy()
	metav1.SetMetaDataAnnotation(&after.ObjectMeta, report.Annotation, t.record.String())
	return client.IgnoreNotFound(r.Client.Patch(ctx, after, client.MergeFrom(before)))
}

// keep sees to it that tasks which are left are found again.
func (r *GitHubReportReconciler) keep(k *reported, left []task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range left {
		k.tried[left[i].request.UID] = true
		if left[i].gone {
			k.gone = append(k.gone, *left[i].request)
		}
	}
}

// later says when GitHub is tried again, for the tasks that are left. A person is
// told once of what waiting does not mend.
func (r *GitHubReportReconciler) later(ctx context.Context, app *v1alpha1.Application, k *reported, left []task, err error) ctrl.Result {
	if ctx.Err() != nil {
		return ctrl.Result{} // the daemon stops; the next one goes on
	}
	r.keep(k, left)
	wait := lastReportRetry
	switch limit := github.Limited(err); {
	case limit != nil:
		wait = max(firstReportRetry, limit.Until.Sub(r.Clock.Now())+firstReportRetry)
	case github.Temporary(err):
		// Beyond that many doublings it is longer than the longest.
		wait = min(lastReportRetry, firstReportRetry<<min(k.failures, 10))
		k.failures++
	case k.told != err.Error():
		k.told = err.Error()
		r.Events.Eventf(left[0].request, nil, corev1.EventTypeWarning, v1alpha1.ReasonGitHubDelayed, "Report", "%s",
			eventNote("GitHub could not be told how updates go; the updates themselves go on: "+k.told))
	}
	logf.FromContext(ctx).V(1).Info("GitHub could not be told how updates go", "reason", err.Error(), "requests", len(left), "again", wait)
	k.until, k.generation = r.Clock.Now().Add(wait), app.Generation
	return reconcile.Result{RequeueAfter: wait}
}
