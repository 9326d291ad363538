// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	eventsclient "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// eventPause is how long an Event of a request waits before it is written. The steps before a rollout follow each other
// within tenths of a second, and each has an Event, whose writing takes the processor from them: a second later an update
// most often waits for what it started.
const eventPause = time.Second

// lateSink writes Events some time after they happened, or at once when hurry is closed; each says when it happened.
type lateSink struct {
	events.EventSink
	pause time.Duration
	hurry <-chan struct{}
}

// Create waits, and then creates the Event.
func (s lateSink) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	late := time.NewTimer(s.pause)
	defer late.Stop()
	select {
	case <-late.C:
	case <-s.hurry:
	}
	return s.EventSink.Create(ctx, event)
}

// lateEvents records Events that are written late.
func lateEvents(mgr manager.Manager, pause time.Duration) (events.EventRecorder, error) {
	c, err := eventsclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	w, err := newEventWriter(&events.EventSinkImpl{Interface: c}, pause)
	if err != nil {
		return nil, err
	}
	return w.NewRecorder(mgr.GetScheme(), "fairlead"), mgr.Add(w)
}

// eventWriter writes what is recorded, as long as the process is there: the controllers have something to tell also when
// they end.
type eventWriter struct {
	events.EventBroadcaster
	hurry chan struct{}
}

func newEventWriter(to events.EventSink, pause time.Duration) (eventWriter, error) {
	hurry := make(chan struct{})
	w := eventWriter{events.NewBroadcaster(lateSink{to, pause, hurry}), hurry}
	return w, w.StartRecordingToSinkWithContext(context.Background())
}

// Start waits for the end of ctx, from which on Events are written at once.
func (w eventWriter) Start(ctx context.Context) error {
	<-ctx.Done()
	close(w.hurry)
	return nil
}

// NeedLeaderElection has ctx end before the controllers do.
func (eventWriter) NeedLeaderElection() bool { return false }
