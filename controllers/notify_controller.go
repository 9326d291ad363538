// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	k8sworkqueue "k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/notify"
)

const (
	// notifyWorkers is how many receivers are spoken to at once.
	notifyWorkers = 8
	// Limits of the time between two attempts at a delivery.
	firstNotifyBackoff = time.Second
	maxNotifyBackoff   = 5 * time.Minute
	// notifyFailures end a pass: one may be the fault of what is told, more are
	// the receiver's.
	notifyFailures = 2
)

// Reasons of Events on an Application.
const (
	reasonNotificationFailed  = "NotificationFailed"
	reasonNotificationGivenUp = "NotificationGivenUp"
)

// NotificationSender delivers one event of a request to one receiver, once. Its
// errors hold no secrets.
type NotificationSender interface {
	Send(ctx context.Context, n *v1alpha1.Notification, e v1alpha1.NotificationEvent, ur *v1alpha1.UpdateRequest) error
}

// Delivery is all that one receiver of an application is to be told. The queue
// lets one worker at a time speak to a receiver, in order, so that one that hangs
// holds up nobody else.
type Delivery struct {
	// NamespacedName of the Application.
	types.NamespacedName
	Receiver string
}

// NotifyReconciler tells the receivers of an Application what becomes of its
// requests. It works beside the updates: it never writes a status and nothing
// waits for it. What a receiver was told is written to an annotation of the
// request right after, so that it is told again only if the daemon dies in
// between.
type NotifyReconciler struct {
	Client client.Client
	// Direct reads from the API server itself: a cache that is behind would have
	// things told twice.
	Direct client.Reader
	Sender NotificationSender
	Events events.EventRecorder
	Clock  clock.PassiveClock
	// FirstBackoff is the time before the second attempt; it doubles with each
	// one, up to five minutes. Default: 1 s.
	FirstBackoff time.Duration

	mu sync.Mutex
	// failed are the events whose delivery failed in this process.
	failed map[tried]bool
	// sent are those that were delivered, where writing that down failed.
	sent map[tried]bool
}

// tried is an event of a request for a receiver.
type tried struct {
	delivery Delivery
	request  types.UID
	event    v1alpha1.NotificationEvent
}

// SetupWithManager registers the reconciler.
func (r *NotifyReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.FirstBackoff <= 0 {
		r.FirstBackoff = firstNotifyBackoff
	}
	r.failed, r.sent = map[tried]bool{}, map[tried]bool{}
	return builder.TypedControllerManagedBy[Delivery](mgr).
		Named("notifications").
		Watches(&v1alpha1.UpdateRequest{}, handler.TypedEnqueueRequestsFromMapFunc(r.ofRequest), builder.WithPredicates(occurrencePredicate())).
		Watches(&v1alpha1.Application{}, handler.TypedEnqueueRequestsFromMapFunc(r.ofApplication), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.TypedOptions[Delivery]{
			MaxConcurrentReconciles: notifyWorkers,
			RateLimiter:             k8sworkqueue.NewTypedItemExponentialFailureRateLimiter[Delivery](r.FirstBackoff, maxNotifyBackoff),
		}).
		Complete(r)
}

// occurrencePredicate passes requests of which there may be something new to tell.
func occurrencePredicate() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(*v1alpha1.UpdateRequest), e.ObjectNew.(*v1alpha1.UpdateRequest)
			return len(notify.Occurred(was)) != len(notify.Occurred(is))
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// ofRequest names the deliveries that a request may need.
func (r *NotifyReconciler) ofRequest(ctx context.Context, o client.Object) []Delivery {
	ur := o.(*v1alpha1.UpdateRequest)
	if len(notify.Occurred(ur)) == 0 {
		return nil
	}
	var app v1alpha1.Application
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: ur.Namespace, Name: ur.Spec.ApplicationRef.Name}, &app); err != nil {
		return nil // when it comes, it is looked at
	}
	return r.ofApplication(ctx, &app)
}

// ofApplication names the deliveries of an application.
func (r *NotifyReconciler) ofApplication(_ context.Context, o client.Object) []Delivery {
	var out []Delivery
	for _, n := range o.(*v1alpha1.Application).Spec.Notifications {
		out = append(out, Delivery{client.ObjectKeyFromObject(o), n.Name})
	}
	return out
}

// Reconcile tells one receiver what it does not know yet, in order. What fails
// holds up the later events of its request only.
func (r *NotifyReconciler) Reconcile(ctx context.Context, d Delivery) (ctrl.Result, error) {
	var app v1alpha1.Application
	if err := r.Client.Get(ctx, d.NamespacedName, &app); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	n := receiver(&app, d.Receiver)
	if n == nil {
		return ctrl.Result{}, nil
	}
	var list v1alpha1.UpdateRequestList
	if err := r.Client.List(ctx, &list, client.InNamespace(app.Namespace), client.MatchingFields{applicationField: app.Name}); err != nil {
		return ctrl.Result{}, err
	}
	r.forget(d, list.Items)
	slices.SortFunc(list.Items, byStart)
	var failures []error
	for i := range list.Items {
		seen := &list.Items[i]
		if len(notify.Due(n, seen)) == 0 && len(notify.ToOpen(&app, seen, r.Clock.Now())) == 0 {
			continue
		}
		err := r.tellOf(ctx, &app, n, client.ObjectKeyFromObject(seen))
		switch {
		case ctx.Err() != nil:
			return ctrl.Result{}, nil //nolint:nilerr // the daemon stops; the next one goes on
		case apierrors.IsConflict(err):
			return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil // somebody wrote the request meanwhile
		case err != nil:
			failures = append(failures, err)
		}
		if len(failures) == notifyFailures {
			break
		}
	}
	var later *notify.Retry
	if err := errors.Join(failures...); errors.As(err, &later) {
		return ctrl.Result{RequeueAfter: min(max(later.After, r.FirstBackoff), maxNotifyBackoff)}, nil
	}
	return ctrl.Result{}, errors.Join(failures...)
}

// byStart orders requests as they ran.
func byStart(a, b v1alpha1.UpdateRequest) int {
	if !a.Status.StartedAt.Equal(b.Status.StartedAt) {
		if a.Status.StartedAt.Before(b.Status.StartedAt) {
			return -1
		}
		return 1
	}
	if older(&a, &b) {
		return -1
	}
	return 1
}

// tellOf tells a receiver what it does not know of one request.
func (r *NotifyReconciler) tellOf(ctx context.Context, app *v1alpha1.Application, n *v1alpha1.Notification, request types.NamespacedName) error {
	// What decides is what is written, not what the cache has of it.
	var ur v1alpha1.UpdateRequest
	if err := r.Direct.Get(ctx, request, &ur); err != nil {
		return client.IgnoreNotFound(err)
	}
	if err := r.open(ctx, app, &ur); err != nil {
		return client.IgnoreNotFound(err)
	}
	for _, o := range notify.Due(n, &ur) {
		if err := r.tell(ctx, app, n, o, &ur); err != nil {
			return err
		}
	}
	return nil
}

func receiver(app *v1alpha1.Application, name string) *v1alpha1.Notification {
	for i := range app.Spec.Notifications {
		if n := &app.Spec.Notifications[i]; n.Name == name {
			return n
		}
	}
	return nil
}

// open opens the ledgers of all receivers at once, before any of them is told.
func (r *NotifyReconciler) open(ctx context.Context, app *v1alpha1.Application, ur *v1alpha1.UpdateRequest) error {
	names := notify.ToOpen(app, ur, r.Clock.Now())
	if len(names) == 0 {
		return nil
	}
	before := ur.DeepCopy()
	for _, name := range names {
		annotate(ur, name, "")
	}
	return r.Client.Patch(ctx, ur, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// tell delivers one event and writes that down. A delivery that fails is tried
// again for as long as notify.Patience after the event, and at least once in the
// life of a daemon.
func (r *NotifyReconciler) tell(ctx context.Context, app *v1alpha1.Application, n *v1alpha1.Notification, o notify.Occurrence, ur *v1alpha1.UpdateRequest) error {
	log := logf.FromContext(ctx).WithValues("receiver", n.Name, "event", o.Event)
	id := tried{Delivery{client.ObjectKeyFromObject(app), n.Name}, ur.UID, o.Event}
	ledger := notify.ReadLedger(ur, n.Name)
	var err error
	if !r.isSent(id) { // else only writing it down failed
		err = r.Sender.Send(ctx, n, o.Event, ur)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		r.setFailed(id, false)
		err = r.note(ctx, ur, n.Name, ledger.With(o.Event))
		r.setSent(id, err != nil)
		return err
	}
	if r.Clock.Since(o.Time) > notify.Patience {
		r.setFailed(id, false)
		log.Info("a notification is given up", "error", err.Error())
		r.Events.Eventf(app, ur, corev1.EventTypeWarning, reasonNotificationGivenUp, "Notify", "%s",
			eventNote(fmt.Sprintf("the receiver %s could not be told of %s of %s: %v", n.Name, o.Event, ur.Name, err)))
		return r.note(ctx, ur, n.Name, ledger.WithGivenUp(o.Event))
	}
	if r.setFailed(id, true) {
		log.Info("a notification failed and is tried again", "error", err.Error())
		r.Events.Eventf(app, ur, corev1.EventTypeWarning, reasonNotificationFailed, "Notify", "%s",
			eventNote(fmt.Sprintf("the receiver %s could not be told of %s of %s, and is tried again: %v", n.Name, o.Event, ur.Name, err)))
	}
	return err
}

// note writes down what a receiver was told. Each has an annotation of its own, so
// that they need not wait for each other.
func (r *NotifyReconciler) note(ctx context.Context, ur *v1alpha1.UpdateRequest, receiver, ledger string) error {
	before := ur.DeepCopy()
	annotate(ur, receiver, ledger)
	return client.IgnoreNotFound(r.Client.Patch(ctx, ur, client.MergeFrom(before)))
}

func annotate(ur *v1alpha1.UpdateRequest, receiver, ledger string) {
	if ur.Annotations == nil {
		ur.Annotations = map[string]string{}
	}
	ur.Annotations[notify.AnnotationOf(receiver)] = ledger
}

// setSent notes that an event was delivered and is not written down yet.
func (r *NotifyReconciler) setSent(id tried, sent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sent {
		r.sent[id] = true
	} else {
		delete(r.sent, id)
	}
}

func (r *NotifyReconciler) isSent(id tried) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[id]
}

// setFailed notes whether the delivery of an event failed, and reports whether that
// is new.
func (r *NotifyReconciler) setFailed(id tried, failed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !failed {
		delete(r.failed, id)
		return false
	}
	known := r.failed[id]
	r.failed[id] = true
	return !known
}

// forget drops what is known of requests that are gone.
func (r *NotifyReconciler) forget(d Delivery, requests []v1alpha1.UpdateRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := func(id tried, _ bool) bool {
		return id.delivery == d && !slices.ContainsFunc(requests, func(ur v1alpha1.UpdateRequest) bool { return ur.UID == id.request })
	}
	maps.DeleteFunc(r.failed, gone)
	maps.DeleteFunc(r.sent, gone)
}
