// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
)

// sink tells which Events are created, and when.
type sink struct {
	events.EventSink
	created chan eventsv1.Event
}

func (s sink) Create(_ context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	s.created <- *event
	return event, nil
}

// Events are written some time after they happened, with the time of that, and at once by a daemon that ends.
func TestEventsAreLate(t *testing.T) {
	const pause = 100 * time.Millisecond
	to := sink{created: make(chan eventsv1.Event)}
	w, err := newEventWriter(to, pause)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Start(ctx) }()
	recorder := w.NewRecorder(scheme.Scheme, "test")
	regarding := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}}
	began := time.Now()
	recorder.Eventf(regarding, nil, corev1.EventTypeNormal, "Building", "Build", "it builds")
	got := <-to.created
	if waited := time.Since(began); waited < pause || got.Reason != "Building" {
		t.Errorf("%s was created after %s", got.Reason, waited)
	}
	if happened := got.EventTime.Sub(began); happened >= pause {
		t.Errorf("it says that it happened %s after it did", happened)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	recorder.Eventf(regarding, nil, corev1.EventTypeNormal, "Succeeded", "Finish", "it is over") // as a controller that ends after it
	if got := <-to.created; got.Reason != "Succeeded" {
		t.Errorf("created %s", got.Reason)
	}
}
