// SPDX-License-Identifier: Apache-2.0

package requestwatch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// server is an API in memory whose connections can be broken.
type server struct {
	client.WithWatch
	watched chan watch.Interface

	mu      sync.Mutex
	getErr  error
	options []client.ListOptions
}

func newServer(t *testing.T, objects ...client.Object) *server {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	s := &server{watched: make(chan watch.Interface, 100)}
	s.WithWatch = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.UpdateRequest{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				s.mu.Lock()
				err := s.getErr
				s.mu.Unlock()
				if err != nil {
					return err
				}
				return c.Get(ctx, key, obj, opts...)
			},
			Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
				w, err := c.Watch(ctx, list, opts...)
				var o client.ListOptions
				o.ApplyOptions(opts)
				s.mu.Lock()
				s.options = append(s.options, o)
				s.mu.Unlock()
				s.watched <- w
				return w, err
			},
		}).Build()
	return s
}

func (s *server) breakGet(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.getErr = err
}

func newRequest(name string) *v1alpha1.UpdateRequest {
	return &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: "u-1"}}
}

func (s *server) setPhase(t *testing.T, name string, phase v1alpha1.Phase) {
	t.Helper()
	var ur v1alpha1.UpdateRequest
	if err := s.WithWatch.Get(t.Context(), client.ObjectKey{Namespace: "prod", Name: name}, &ur); err != nil {
		t.Fatal(err)
	}
	ur.Status.Phase = phase
	if err := s.Status().Update(t.Context(), &ur); err != nil {
		t.Fatal(err)
	}
}

// run starts Run; its events come through the channel, and it ends with a final
// phase.
func run(t *testing.T, s *server) (<-chan Event, <-chan error) {
	t.Helper()
	var ur v1alpha1.UpdateRequest
	if err := s.WithWatch.Get(t.Context(), client.ObjectKey{Namespace: "prod", Name: "a"}, &ur); err != nil {
		t.Fatal(err)
	}
	events, result := make(chan Event, 100), make(chan error, 1)
	go func() {
		result <- Run(t.Context(), s, &ur, func(e Event) bool {
			events <- e
			return e.Request != nil && Ended(e.Request)
		})
	}()
	return events, result
}

func next(t *testing.T, events <-chan Event, phase v1alpha1.Phase) {
	t.Helper()
	if e := <-events; e.Request == nil || e.Request.Name != "a" || e.Request.Status.Phase != phase {
		t.Fatalf("%+v, want phase %q", e, phase)
	}
}

func TestRun(t *testing.T) {
	s := newServer(t, newRequest("a"), newRequest("b"))
	events, result := run(t, s)
	next(t, events, "")
	<-s.watched
	s.setPhase(t, "b", v1alpha1.PhaseFailed) // not ours
	s.setPhase(t, "a", v1alpha1.PhaseBuilding)
	next(t, events, v1alpha1.PhaseBuilding)
	s.setPhase(t, "a", v1alpha1.PhaseRolledBack)
	next(t, events, v1alpha1.PhaseRolledBack)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	o := s.options[0]
	if o.FieldSelector.String() != "metadata.name=a" || o.Namespace != "prod" || o.Raw.ResourceVersion == "" {
		t.Errorf("watched with %+v", o)
	}
}

func TestRunOverLostConnections(t *testing.T) {
	s := newServer(t, newRequest("a"))
	events, result := run(t, s)
	next(t, events, "")

	// A watch that just ends is no loss.
	(<-s.watched).Stop()
	w := <-s.watched

	// What cannot be reached is lost, and back later.
	s.breakGet(errors.New("connection refused"))
	w.Stop()
	if e := <-events; e.Lost == nil || !strings.Contains(e.Lost.Error(), "refused") {
		t.Fatalf("%+v", e)
	}
	s.breakGet(nil)
	awaitBack(t, events)

	// The end is seen by a watch again.
	<-s.watched
	s.setPhase(t, "a", v1alpha1.PhaseSucceeded)
	next(t, events, v1alpha1.PhaseSucceeded)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// awaitBack awaits the event that says that the connection is back; some more
// losses may come before.
func awaitBack(t *testing.T, events <-chan Event) {
	t.Helper()
	for e := range events {
		if e.Lost != nil {
			continue
		}
		if e.Request == nil {
			t.Fatalf("%+v", e)
		}
		return
	}
}

func TestRunEnds(t *testing.T) {
	t.Run("with the object", func(t *testing.T) {
		s := newServer(t, newRequest("a"))
		events, result := run(t, s)
		next(t, events, "")
		<-s.watched
		if err := s.Delete(t.Context(), newRequest("a")); err != nil {
			t.Fatal(err)
		}
		if e := <-events; !e.Deleted {
			t.Errorf("%+v", e)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
	t.Run("with an object of the same name", func(t *testing.T) {
		s := newServer(t, newRequest("a"))
		events, result := run(t, s)
		next(t, events, "")
		w := <-s.watched
		s.breakGet(errors.New("down"))
		w.Stop()
		<-events
		if err := s.Delete(t.Context(), newRequest("a")); err != nil {
			t.Fatal(err)
		}
		other := newRequest("a")
		other.UID = "u-2"
		if err := s.Create(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		s.breakGet(nil)
		for e := range events {
			if e.Lost != nil {
				continue
			}
			if !e.Deleted {
				t.Errorf("%+v", e)
			}
			break
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
	t.Run("with the context", func(t *testing.T) {
		s := newServer(t, newRequest("a"))
		ctx, cancel := context.WithCancel(t.Context())
		err := Run(ctx, s, newRequest("a"), func(Event) bool { cancel(); return false })
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("when told", func(t *testing.T) {
		if err := Run(t.Context(), nil, newRequest("a"), func(Event) bool { return true }); err != nil {
			t.Error(err)
		}
	})
}
