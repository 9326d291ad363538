// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// endings are old containers that are being ended since their update is verified, while that is written
// down: an engine takes a tenth of a second for each. Verify waits for them a little, CleanUp until they have ended, and
// ends itself what is left, as after a restart of the daemon. There is one for each application at most. The zero value is ready.
type endings struct {
	mu sync.Mutex
	by map[types.NamespacedName]*ending
}

type ending struct {
	request types.UID
	cancel  context.CancelFunc
	// died is closed when none of their processes is left and nothing else is to be done than what the
	// engine does by itself, or never.
	died chan struct{}
	done chan struct{}
	err  error // when done is closed
}

// application tells the applications of the API apart.
func (s *run) application() types.NamespacedName { return applicationOf(s.Request) }

func applicationOf(request *v1alpha1.UpdateRequest) types.NamespacedName {
	return types.NamespacedName{Namespace: request.Namespace, Name: request.Spec.ApplicationRef.Name}
}

func (v *endings) begin(application types.NamespacedName, e *ending) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by == nil {
		v.by = map[types.NamespacedName]*ending{}
	}
	v.by[application] = e
}

// take returns what is being ended, nil if nothing is, or nothing of that request unless it is "".
func (v *endings) take(application types.NamespacedName, request types.UID) *ending {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.by[application]
	if e == nil || request != "" && e.request != request {
		return nil
	}
	delete(v.by, application)
	return e
}

// stopEndings lets no more old containers of the application be ended.
func (s *run) stopEndings(ctx context.Context) error {
	if !s.endings.has(s.application()) {
		return nil
	}
	if err := s.rec.Begun(ctx); err != nil {
		return err
	}
	return s.endings.stop(ctx, s.application())
}

func (v *endings) has(application types.NamespacedName) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.by[application] != nil
}

// stop lets no more containers of an application be ended, and waits for those that are being ended, or
// until ctx ends, of which it returns the cause.
func (v *endings) stop(ctx context.Context, application types.NamespacedName) error {
	e := v.take(application, "")
	if e == nil {
		return nil
	}
	e.cancel()
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		v.begin(application, e) // it is not over
		return context.Cause(ctx)
	}
}

// await waits until all that a request began to end has ended, though the engine may not be through with it, and
// returns what that came to. It reports false if nothing was begun. When ctx ends no more are ended.
func (v *endings) await(ctx context.Context, application types.NamespacedName, request types.UID) (over bool, err error) {
	e := v.take(application, request)
	if e == nil {
		return false, nil
	}
	stop := context.AfterFunc(ctx, e.cancel)
	defer stop()
	select {
	case <-e.done:
		if e.err != nil {
			e.cancel()
			return false, e.err
		}
	case <-e.died:
	}
	v.begin(application, e)
	return true, nil
}

// soon reports whether all that a request began to end has ended without an error within a time.
func (v *endings) soon(ctx context.Context, application types.NamespacedName, request types.UID, within time.Duration) bool {
	v.mu.Lock()
	e := v.by[application]
	v.mu.Unlock()
	if e == nil || e.request != request {
		return false
	}
	over := time.NewTimer(within)
	defer over.Stop()
	select {
	case <-e.died:
		return true
	case <-e.done:
		return e.err == nil
	case <-over.C:
	case <-ctx.Done():
	}
	return false
}

// gone waits until the engine is through with all that a request began to end, and returns what that came to. It reports false
// if nothing was begun. When ctx ends no more are ended.
func (v *endings) gone(ctx context.Context, application types.NamespacedName, request types.UID) (begun bool, err error) {
	e := v.take(application, request)
	if e == nil {
		return false, nil
	}
	stop := context.AfterFunc(ctx, e.cancel)
	defer stop()
	<-e.done
	e.cancel()
	return true, e.err
}
