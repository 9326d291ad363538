// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	// notifyTurn is how soon a delivery is looked at again whose receiver is
	// being told something else.
	notifyTurn = 500 * time.Millisecond
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

// Delivery is all that one receiver is to be told of one request.
type Delivery struct {
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
	// speaking are the receivers that are being told something.
	speaking map[types.NamespacedName]bool
	// failed are the events whose delivery failed in this process.
	failed map[attempted]bool
}

// attempted is an event for a receiver.
type attempted struct {
	Delivery
	event v1alpha1.NotificationEvent
}

// SetupWithManager registers the reconciler.
func (r *NotifyReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.FirstBackoff <= 0 {
		r.FirstBackoff = firstNotifyBackoff
	}
	r.speaking, r.failed = map[types.NamespacedName]bool{}, map[attempted]bool{}
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
	return deliveries(&app, ur)
}

// ofApplication names the deliveries that the requests of an application may need.
func (r *NotifyReconciler) ofApplication(ctx context.Context, o client.Object) []Delivery {
	app := o.(*v1alpha1.Application)
	if len(app.Spec.Notifications) == 0 {
		return nil
	}
	var list v1alpha1.UpdateRequestList
	if err := r.Client.List(ctx, &list, client.InNamespace(app.Namespace), client.MatchingFields{applicationField: app.Name}); err != nil {
		return nil
	}
	var out []Delivery
	for i := range list.Items {
		if len(notify.Occurred(&list.Items[i])) > 0 {
			out = append(out, deliveries(app, &list.Items[i])...)
		}
	}
	return out
}

func deliveries(app *v1alpha1.Application, ur *v1alpha1.UpdateRequest) []Delivery {
	var out []Delivery
	for _, n := range app.Spec.Notifications {
		out = append(out, Delivery{client.ObjectKeyFromObject(ur), n.Name})
	}
	return out
}

// Reconcile tells one receiver what it does not know yet of one request, in order.
func (r *NotifyReconciler) Reconcile(ctx context.Context, d Delivery) (ctrl.Result, error) {
	var seen v1alpha1.UpdateRequest
	if err := r.Client.Get(ctx, d.NamespacedName, &seen); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(d)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	var app v1alpha1.Application
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: seen.Namespace, Name: seen.Spec.ApplicationRef.Name}, &app); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	n := receiver(&app, d.Receiver)
	if n == nil {
		return ctrl.Result{}, nil
	}
	if len(notify.Due(n, &seen)) == 0 && len(notify.ToOpen(&app, &seen, r.Clock.Now())) == 0 {
		return ctrl.Result{}, nil
	}
	speaker := types.NamespacedName{Namespace: app.Namespace, Name: app.Name + "/" + n.Name}
	if !r.speak(speaker) {
		return ctrl.Result{RequeueAfter: notifyTurn}, nil
	}
	defer r.hush(speaker)
	// What decides is what is written, not what the cache has of it.
	var ur v1alpha1.UpdateRequest
	if err := r.Direct.Get(ctx, d.NamespacedName, &ur); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.open(ctx, &app, &ur); err != nil {
		if apierrors.IsConflict(err) {
			return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	for _, o := range notify.Due(n, &ur) {
		result, err := r.tell(ctx, &app, n, o, &ur)
		if err != nil || result.RequeueAfter > 0 {
			return result, err
		}
	}
	return ctrl.Result{}, nil
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
func (r *NotifyReconciler) tell(ctx context.Context, app *v1alpha1.Application, n *v1alpha1.Notification, o notify.Occurrence, ur *v1alpha1.UpdateRequest) (ctrl.Result, error) {
	log := logf.FromContext(ctx).WithValues("receiver", n.Name, "event", o.Event)
	id := attempted{Delivery{client.ObjectKeyFromObject(ur), n.Name}, o.Event}
	ledger := notify.ReadLedger(ur, n.Name)
	err := r.Sender.Send(ctx, n, o.Event, ur)
	if ctx.Err() != nil {
		return ctrl.Result{}, nil //nolint:nilerr // the daemon stops; the next one tells it
	}
	if err == nil {
		r.setFailed(id, false)
		return ctrl.Result{}, r.note(ctx, ur, n.Name, ledger.With(o.Event))
	}
	if r.Clock.Since(o.Time) > notify.Patience {
		r.setFailed(id, false)
		log.Info("a notification is given up", "error", err.Error())
		r.Events.Eventf(app, ur, corev1.EventTypeWarning, reasonNotificationGivenUp, "Notify", "%s",
			eventNote(fmt.Sprintf("the receiver %s could not be told of %s of %s: %v", n.Name, o.Event, ur.Name, err)))
		return ctrl.Result{}, r.note(ctx, ur, n.Name, ledger.WithGivenUp(o.Event))
	}
	if r.setFailed(id, true) {
		log.Info("a notification failed and is tried again", "error", err.Error())
		r.Events.Eventf(app, ur, corev1.EventTypeWarning, reasonNotificationFailed, "Notify", "%s",
			eventNote(fmt.Sprintf("the receiver %s could not be told of %s of %s, and is tried again: %v", n.Name, o.Event, ur.Name, err)))
	}
	var later *notify.Retry
	if errors.As(err, &later) {
		return ctrl.Result{RequeueAfter: min(max(later.After, r.FirstBackoff), maxNotifyBackoff)}, nil
	}
	return ctrl.Result{}, &undelivered{err}
}

// undelivered has a delivery tried again with backoff.
type undelivered struct{ error }

func (e *undelivered) Unwrap() error { return e.error }

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

// setFailed notes whether the delivery of an event failed, and reports whether that
// is new.
func (r *NotifyReconciler) setFailed(id attempted, failed bool) bool {
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

// forget drops what is known of a request that is gone.
func (r *NotifyReconciler) forget(d Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.failed, func(id attempted, _ bool) bool { return id.Delivery == d })
}

// speak makes sure that a receiver is told one thing at a time, so that one that
// hangs keeps one worker and no more.
func (r *NotifyReconciler) speak(receiver types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.speaking[receiver] {
		return false
	}
	r.speaking[receiver] = true
	return true
}

func (r *NotifyReconciler) hush(receiver types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.speaking, receiver)
}
