// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// endings are old containers that are being ended since their update is verified, while that is written
// down: an engine takes a tenth of a second for each. CleanUp waits for them, and ends itself what is left,
// as after a restart of the daemon. There is one for each application at most. The zero value is ready.
type endings struct {
	mu sync.Mutex
	by map[types.NamespacedName]*ending
}

type ending struct {
	request types.UID
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // when done is closed
}

// endsEarly reports whether old containers may end without anything to be written of it first, as of hooks.
func (s *run) endsEarly(project *compose.Project) bool {
	return s.Gateways != nil && s.Request.Spec.RestoreFrom == nil && len(s.Application.Spec.Hooks) == 0 &&
		!slices.ContainsFunc(project.Services(), func(svc compose.Service) bool { return len(svc.PreStop) > 0 })
}

// endOld begins to end the old containers that were kept for a way back, and does not wait.
func (s *run) endOld(project *compose.Project) {
	if !s.endsEarly(project) {
		return
	}
	held, err := claim.Shared(s.Application.Spec.Compose.Directory) // longer than the step has it
	if err != nil {
		return
	}
	log, err := updatelog.Open(s.Request.Status.LogFile)
	if err != nil {
		log = updatelog.Lost(s.Request.Status.LogFile, err)
	}
	work := s.Work
	work.Step, work.Request = v1alpha1.StepCleanUp, s.Request.DeepCopy()
	ctx, cancel := context.WithCancel(context.Background())
	own := &run{Deps: s.Deps, Work: work, rec: nowhere{}, log: log, clones: s.clones, sights: s.sights, engineRoot: s.engineRoot, endings: s.endings}
	e := &ending{request: s.Request.UID, cancel: cancel, done: make(chan struct{})}
	s.endings.begin(s.application(), e)
	go func() {
		defer close(e.done)
		defer func() { _, _ = log.Close(), held.Release() }()
		listed := sync.OnceValues(func() ([]v1alpha1.Release, error) { return own.Store.Releases(ctx, own.Application) })
		e.err = own.together(func() error { return own.settle(ctx, listed, func() {}) })
	}()
}

// application tells the applications of the API apart.
func (s *run) application() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Application.Namespace, Name: s.Application.Name}
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

// await waits until all that a request began to end is, and returns what that came to. When ctx ends no more are
// ended. meanwhile is called before it waits.
func (v *endings) await(ctx context.Context, application types.NamespacedName, request types.UID, meanwhile func()) error {
	e := v.take(application, request)
	if e == nil {
		return nil
	}
	meanwhile()
	stop := context.AfterFunc(ctx, e.cancel)
	<-e.done
	stop()
	e.cancel()
	return e.err
}

// waitsForOld tells that there is time for something else.
func (e *executor) waitsForOld() {
	if e.ending != nil {
		e.ending()
	}
}
