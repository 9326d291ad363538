// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
)

// requestSource is an API server of one request, which counts the watches of it.
type requestSource struct {
	*API
	objects client.WithWatch
	watches atomic.Int32
	revoked atomic.Bool
	faulty  atomic.Bool   // a watch meets a fault of the program
	began   chan struct{} // has a value for each watch that began
}

func newRequestSource(t *testing.T) *requestSource {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	s := &requestSource{API: &API{opts: Options{Recheck: 10 * time.Millisecond}}, began: make(chan struct{}, 100)}
	s.followers = &followers{api: s.API, open: map[followKey]*followed{}}
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "r", UID: "1"}}
	s.objects = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(ur).WithObjects(ur).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if s.revoked.Load() {
				return apierrors.NewUnauthorized("revoked")
			}
			return c.Get(ctx, key, o, opts...)
		},
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			if s.faulty.Load() {
				panic("a fault")
			}
			w, err := c.Watch(ctx, list, opts...)
			s.watches.Add(1)
			s.began <- struct{}{}
			return w, err
		},
	}).Build()
	s.client.Store(&s.objects)
	return s
}

// joined waits until so many streams follow.
func (s *requestSource) joined(t *testing.T, streams int) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		n := 0
		s.followers.mu.Lock()
		for _, w := range s.followers.open {
			n += len(w.waiting)
		}
		s.followers.mu.Unlock()
		if n == streams {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%d of %d streams follow", n, streams)
		case <-ticker.C:
		}
	}
}

func (s *requestSource) nothingLeft(t *testing.T) {
	t.Helper()
	s.followers.mu.Lock()
	defer s.followers.mu.Unlock()
	if n := len(s.followers.open); n != 0 {
		t.Errorf("%d watches are left over", n)
	}
}

// as is the context of a caller.
func (s *requestSource) as(t *testing.T, caller byte) context.Context {
	return withRecord(t.Context(), &record{hash: tokenHash{caller}})
}

func (s *requestSource) read(t *testing.T) *v1alpha1.UpdateRequest {
	t.Helper()
	ur := &v1alpha1.UpdateRequest{}
	if err := s.objects.Get(t.Context(), client.ObjectKey{Namespace: "prod", Name: "r"}, ur); err != nil {
		t.Fatal(err)
	}
	return ur
}

func (s *requestSource) write(t *testing.T, message string, phase v1alpha1.Phase) {
	t.Helper()
	ur := s.read(t)
	ur.Status.Message, ur.Status.Phase = message, phase
	if err := s.objects.Status().Update(t.Context(), ur); err != nil {
		t.Fatal(err)
	}
}

// Many streams of one caller are one watch, each is told of the end, and nothing is
// left over.
func TestStreamsOfOneCallerShareAWatch(t *testing.T) {
	s := newRequestSource(t)
	ur := s.read(t)
	const streams = 50
	var wg sync.WaitGroup
	errs := make(chan error, 2*streams)
	for i := range 2 * streams {
		wg.Go(func() {
			last := ""
			err := s.followers.follow(s.as(t, byte(i%2)), ur, func(state *requestState) (bool, error) {
				event, err := state.encoded()
				if err != nil || len(event) == 0 {
					return false, fmt.Errorf("the event is %q, %w", event, err)
				}
				last = state.request.Status.Message
				return false, nil
			})
			if err == nil && last != "three" {
				err = fmt.Errorf("the last message was %q", last)
			}
			errs <- err
		})
	}
	// What comes before the last of them is lost, as the fake keeps no history.
	for range 2 {
		<-s.began
	}
	s.joined(t, 2*streams)
	for i, message := range []string{"one", "two", "three"} {
		phase := v1alpha1.PhaseBuilding
		if i == 2 {
			phase = v1alpha1.PhaseSucceeded
		}
		s.write(t, message, phase)
	}
	wg.Wait()
	for range 2 * streams {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := s.watches.Load(); n != 2 {
		t.Errorf("there were %d watches for two callers", n)
	}
	s.nothingLeft(t)
}

// A watch ends with the last stream that wanted it.
func TestTheWatchEndsWithItsStreams(t *testing.T) {
	s := newRequestSource(t)
	ctx, cancel := context.WithCancel(s.as(t, 1))
	ended := make(chan error, 1)
	go func() {
		ended <- s.followers.follow(ctx, s.read(t), func(*requestState) (bool, error) { return false, nil })
	}()
	<-s.began
	s.joined(t, 1)
	// One that leaves does not take it away from the others.
	if err := s.followers.follow(s.as(t, 1), s.read(t), func(*requestState) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	s.joined(t, 1)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	s.joined(t, 0)
	s.nothingLeft(t)
}

// A caller who may not see the request any more is told nothing more of it.
func TestARevokedCallerIsCutOff(t *testing.T) {
	s := newRequestSource(t)
	ended := make(chan error, 1)
	go func() {
		ended <- s.followers.follow(s.as(t, 1), s.read(t), func(*requestState) (bool, error) { return false, nil })
	}()
	<-s.began
	s.revoked.Store(true)
	if err := <-ended; !apierrors.IsUnauthorized(err) {
		t.Errorf("it ended with %v", err)
	}
}

func TestADeletedRequestEndsItsStreams(t *testing.T) {
	s := newRequestSource(t)
	ended, deleted := make(chan error, 1), false
	go func() {
		ended <- s.followers.follow(s.as(t, 1), s.read(t), func(state *requestState) (bool, error) {
			deleted = state.request == nil
			return false, nil
		})
	}()
	<-s.began
	if err := s.objects.Delete(t.Context(), s.read(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || !deleted {
		t.Errorf("it ended with %v, deleted: %t", err, deleted)
	}
}

// A fault in what streams share ends the streams, not the daemon.
func TestFaultEndsStreams(t *testing.T) {
	s := newRequestSource(t)
	s.faulty.Store(true)
	ur := &v1alpha1.UpdateRequest{}
	if err := s.objects.Get(t.Context(), client.ObjectKey{Namespace: "prod", Name: "r"}, ur); err != nil {
		t.Fatal(err)
	}
	ctx := withRecord(t.Context(), &record{})
	err := s.followers.follow(ctx, ur, func(*requestState) (bool, error) { return false, nil })
	if failure.AsPanic(err) == nil {
		t.Errorf("the stream of a request ends with %v", err)
	}
	s.followers.mu.Lock()
	if n := len(s.followers.open); n != 0 {
		t.Errorf("%d requests are still followed", n)
	}
	s.followers.mu.Unlock()

	sources := []*source{{event: eventApplication, kind: kindOf[applications](), version: "1"}, {event: eventRequest, kind: kindOf[updateRequests](), version: "1"}}
	_, err = (&namespaceStream{api: s.API, namespace: "prod", sources: sources}).watch(ctx)
	if failure.AsPanic(err) == nil {
		t.Errorf("the stream of a namespace ends with %v", err)
	}

	err = s.withHeart(ctx, nil, func(context.Context) error { panic("a fault") }, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if failure.AsPanic(err) == nil {
		t.Errorf("a stream that is rechecked ends with %v", err)
	}
}
