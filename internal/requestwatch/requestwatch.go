// SPDX-License-Identifier: Apache-2.0

// Package requestwatch follows one UpdateRequest over restarts of the API server.
package requestwatch

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

const (
	firstPause = 200 * time.Millisecond
	lastPause  = time.Second
)

// Reader is the part of client.WithWatch that is needed.
type Reader interface {
	client.Reader
	Watch(ctx context.Context, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error)
}

// Event is one of: a state of the request, its deletion, or a lost connection.
type Event struct {
	// Request as it is now. It must not be changed.
	Request *v1alpha1.UpdateRequest
	// Deleted says that the request does not exist any more; the last event.
	Deleted bool
	// Lost is why the API server cannot be reached. It is tried again; the next
	// event with a Request says that the connection is back.
	Lost error
}

// Ended reports whether the request is in a final phase.
func Ended(ur *v1alpha1.UpdateRequest) bool {
	switch ur.Status.Phase {
	case v1alpha1.PhaseSucceeded, v1alpha1.PhaseRolledBack, v1alpha1.PhaseFailed, v1alpha1.PhaseCancelled:
		return true
	default:
		return false
	}
}

// Concluded reports whether the request has ended and the controller has also done
// what is left to do then, such as to end its log: it has let go of the object.
func Concluded(ur *v1alpha1.UpdateRequest) bool {
	return Ended(ur) && len(ur.Finalizers) == 0
}

// CleaningUp reports whether the request has succeeded, and what it replaced is still being removed.
func CleaningUp(ur *v1alpha1.UpdateRequest) bool {
	return ur.Status.CleanUpPending && len(ur.Finalizers) > 0
}

// Run calls handle with the state of the request that ur names, first with ur
// itself, then after every change, until handle returns true (Run returns nil),
// the request is deleted (nil, after an event that says so) or ctx ends (its
// error). It does not give up on a lost connection: that is up to handle.
func Run(ctx context.Context, c Reader, ur *v1alpha1.UpdateRequest, handle func(Event) (done bool)) error {
	r := runner{reader: c, current: ur, handle: handle}
	if handle(Event{Request: ur}) {
		return nil
	}
	pause := firstPause
	for {
		got, done := r.watch(ctx)
		if done {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Every watch ends after a while, for good reasons or bad ones. Whatever the
		// reason, the state is read afresh and watched from there. One that brought
		// nothing at all must not become a busy loop.
		if got {
			pause = firstPause
		} else if err := sleep(ctx, &pause); err != nil {
			return err
		}
		for {
			done, err := r.get(ctx)
			if done {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				break
			}
			r.lost = true
			if handle(Event{Lost: err}) {
				return nil
			}
			if err := sleep(ctx, &pause); err != nil {
				return err
			}
		}
	}
}

// sleep waits for pause, or until ctx ends, and doubles pause.
func sleep(ctx context.Context, pause *time.Duration) error {
	timer := time.NewTimer(*pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		*pause = min(2**pause, lastPause)
		return nil
	}
}

type runner struct {
	reader  Reader
	current *v1alpha1.UpdateRequest
	lost    bool // the last event was a lost connection
	handle  func(Event) bool
}

// get reads the request afresh.
func (r *runner) get(ctx context.Context) (done bool, err error) {
	var ur v1alpha1.UpdateRequest
	err = r.reader.Get(ctx, client.ObjectKeyFromObject(r.current), &ur)
	if apierrors.IsNotFound(err) || err == nil && ur.UID != r.current.UID {
		r.handle(Event{Deleted: true})
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if ur.ResourceVersion == r.current.ResourceVersion && !r.lost {
		return false, nil
	}
	r.current, r.lost = &ur, false
	return r.handle(Event{Request: &ur}), nil
}

// watch handles the changes of one watch from the current state on, and reports
// whether it brought any.
func (r *runner) watch(ctx context.Context) (got, done bool) {
	w, err := r.reader.Watch(ctx, &v1alpha1.UpdateRequestList{}, &client.ListOptions{
		Namespace:     r.current.Namespace,
		FieldSelector: fields.OneTermEqualSelector("metadata.name", r.current.Name),
		Raw:           &metav1.ListOptions{ResourceVersion: r.current.ResourceVersion},
	})
	if err != nil {
		return false, false
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return got, false
		case event, ok := <-w.ResultChan():
			if !ok || event.Type == watch.Error {
				return got, false
			}
			ur, isRequest := event.Object.(*v1alpha1.UpdateRequest)
			if !isRequest || ur.Name != r.current.Name {
				continue
			}
			got = true
			if event.Type == watch.Deleted {
				r.handle(Event{Deleted: true})
				return got, true
			}
			r.current = ur
			if r.handle(Event{Request: ur}) {
				return got, true
			}
		}
	}
}
