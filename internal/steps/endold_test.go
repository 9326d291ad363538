// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
)

var shop = types.NamespacedName{Namespace: "prod", Name: "shop"}

// endsLater begins an ending that goes on until it may end, or is told to stop.
func endsLater(v *endings, request types.UID, err error) (may chan struct{}, stopped <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	may = make(chan struct{})
	e := &ending{request: request, cancel: cancel, done: make(chan struct{})}
	v.begin(shop, e)
	go func() {
		defer close(e.done)
		select {
		case <-may:
			e.err = err
		case <-ctx.Done():
		}
	}()
	return may, ctx.Done()
}

func TestEndingsAreAwaited(t *testing.T) {
	var v endings
	nothing := func() { t.Error("nothing is waited for") }
	if err := v.await(t.Context(), shop, "one", nothing); err != nil {
		t.Error(err)
	}
	refused := errors.New("the engine says no")
	may, stopped := endsLater(&v, "one", refused)
	if err := v.await(t.Context(), shop, "other", nothing); err != nil {
		t.Error(err)
	}
	meanwhile := false
	err := v.await(t.Context(), shop, "one", func() {
		select {
		case <-stopped:
			t.Error("it was told to stop")
		default:
		}
		meanwhile = true
		close(may)
	})
	if !meanwhile || !errors.Is(err, refused) {
		t.Errorf("done meanwhile: %v; it came to %v", meanwhile, err)
	}
	if err := v.await(t.Context(), shop, "one", nothing); err != nil {
		t.Error(err)
	}
}

func TestEndingsStop(t *testing.T) {
	var v endings
	if err := v.stop(t.Context(), shop); err != nil {
		t.Error(err)
	}
	_, stopped := endsLater(&v, "one", nil)
	if err := v.stop(t.Context(), shop); err != nil { // though it does not end by itself
		t.Error(err)
	}
	<-stopped

	_, stopped = endsLater(&v, "two", nil)
	cancelled, cancel := context.WithCancel(t.Context())
	if err := v.await(cancelled, shop, "two", cancel); err != nil {
		t.Error(err)
	}
	<-stopped

	// One that does not heed it is waited for again by the next who asks.
	stubborn := &ending{request: "three", cancel: func() {}, done: make(chan struct{})}
	v.begin(shop, stubborn)
	if err := v.stop(cancelled, shop); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(stubborn.done)
	if err := v.stop(t.Context(), shop); err != nil || v.take(shop, "") != nil {
		t.Errorf("it is there still: %v", err)
	}
}

// What a hook or a pre_stop comes to is written by the step that runs it.
func TestWhatEndsEarly(t *testing.T) {
	plain, stopping := "services: {web: {image: x}}", "services: {web: {image: x, pre_stop: [{command: [bye]}]}}"
	for _, tt := range []struct {
		name, model string
		change      func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest)
		want        bool
	}{
		{"an update", plain, func(*v1alpha1.Application, *v1alpha1.UpdateRequest) {}, true},
		{"with pre_stop", stopping, func(*v1alpha1.Application, *v1alpha1.UpdateRequest) {}, false},
		{"with hooks", plain, func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Hooks = []v1alpha1.Hook{{Name: "h"}} }, false},
		{"a restore", plain, func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
			ur.Spec.RestoreFrom = &v1alpha1.LocalReference{}
		}, false},
	} {
		s := newRun(tt.change)
		s.Gateways = &boxes.Keeper{}
		if got := s.endsEarly(project(t, "name: shop\n"+tt.model+"\n")); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	s := newRun()
	if s.endsEarly(project(t, "name: shop\n"+plain+"\n")) {
		t.Error("without gateways nothing is kept")
	}
}
