// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/hooks"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// fakeEnd runs the hooks for the end of requests as it is told.
type fakeEnd struct {
	mu    sync.Mutex
	runs  []string // names of requests
	phase v1alpha1.Phase
	do    func(ctx context.Context, rec steps.Recorder) error
}

func (f *fakeEnd) Due(app *v1alpha1.Application, request *v1alpha1.UpdateRequest) bool {
	return request.Status.CleanUpPending || hooks.DueAtEnd(app, request)
}

func (f *fakeEnd) End(ctx context.Context, work steps.Work, rec steps.Recorder) error {
	f.mu.Lock()
	f.runs, f.phase = append(f.runs, work.Request.Name), work.Request.Status.Phase
	do := f.do
	f.mu.Unlock()
	return do(ctx, rec)
}

func (f *fakeEnd) set(do func(ctx context.Context, rec steps.Recorder) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do = do
}

func (f *fakeEnd) ran() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.runs)
}

// ends records how the hook "tell" ended.
func ends(on v1alpha1.HookPoint, state v1alpha1.HookState) func(*v1alpha1.UpdateRequestStatus) {
	return func(st *v1alpha1.UpdateRequestStatus) {
		st.Hooks = []v1alpha1.HookStatus{{Name: "tell", At: on, State: state, Attempt: 1, Message: "as the test wants"}}
	}
}

func newEndWorld(t *testing.T, end *fakeEnd) *world {
	t.Helper()
	w := newWorld(t, func(w *world) { w.end = end })
	w.patch(&v1alpha1.Application{}, "shop",
		`{"spec":{"hooks":[{"name":"tell","at":["Success","Failure"],"http":{"url":"http://127.0.0.1/"}}]}}`)
	w.awaitApp("shop", "with its hook", func(a *v1alpha1.Application) bool { return len(a.Spec.Hooks) == 1 })
	return w
}

// The hooks for the end run when the end is written; the next request waits for
// them, and what they come to changes nothing of how the request ended.
func TestHooksAtTheEnd(t *testing.T) {
	t.Parallel()
	entered, goOn := make(chan struct{}), make(chan struct{})
	end := &fakeEnd{do: func(ctx context.Context, rec steps.Recorder) error {
		close(entered)
		<-goOn
		rec.Record(ends(v1alpha1.HookSuccess, v1alpha1.HookFailed))
		return rec.Written(ctx)
	}}
	w := newEndWorld(t, end)
	w.request("one")
	<-entered
	w.awaitPhase("one", v1alpha1.PhaseSucceeded)
	if end.phase != v1alpha1.PhaseSucceeded {
		t.Errorf("the hooks ran in phase %s", end.phase)
	}
	w.request("two", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "beef" })
	w.awaitMessage("two", "waits for the request one")
	if got := w.steps.summary("one"); got != "" {
		t.Errorf("the log was ended before the hooks")
	}
	end.set(func(_ context.Context, rec steps.Recorder) error {
		rec.Record(ends(v1alpha1.HookSuccess, v1alpha1.HookSucceeded))
		return nil
	})
	close(goOn)
	one := w.awaitEnd("one", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if len(one.Status.Hooks) != 1 || one.Status.Hooks[0].State != v1alpha1.HookFailed {
		t.Errorf("the hooks are %+v", one.Status.Hooks)
	}
	w.awaitEnd("two", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.until("an Event of the hook", func() bool { return slices.Contains(w.events["one"], "Warning HookFailed") })
	if got := end.ran(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("the hooks ran for %v", got)
	}
	if w.steps.summary("one") != v1alpha1.PhaseSucceeded {
		t.Error("the log was not ended")
	}
}

// A daemon that stops while they run leaves them to the next one; one that had
// written that they ended does not run them again.
func TestHooksAtTheEndGoOnAfterARestart(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	end := &fakeEnd{do: func(ctx context.Context, _ steps.Recorder) error {
		close(entered)
		<-ctx.Done()
		return &failure.Interrupted{Err: context.Cause(ctx)}
	}}
	w := newEndWorld(t, end)
	w.steps.on("one", v1alpha1.StepBuild, fails(v1alpha1.ReasonBuildFailed, "no"))
	w.request("one")
	<-entered
	w.stop()
	end.set(func(ctx context.Context, rec steps.Recorder) error {
		rec.Record(ends(v1alpha1.HookFailure, v1alpha1.HookSucceeded))
		return rec.Written(ctx)
	})
	w.start()
	w.awaitEnd("one", v1alpha1.PhaseFailed, v1alpha1.ReasonBuildFailed)
	if got := end.ran(); len(got) != 2 {
		t.Errorf("the hooks ran for %v", got)
	}
}

// What a clean-up left is done before the next request begins, also by a daemon that was started meanwhile, whichever of the
// two it looks at first. A dry run waits for nobody.
func TestWhatACleanUpLeft(t *testing.T) {
	t.Parallel()
	entered, goOn := make(chan struct{}, 2), make(chan struct{})
	end := &fakeEnd{do: func(ctx context.Context, rec steps.Recorder) error {
		entered <- struct{}{}
		select {
		case <-ctx.Done():
			return &failure.Interrupted{Err: context.Cause(ctx)}
		case <-goOn:
		}
		rec.Record(func(st *v1alpha1.UpdateRequestStatus) { st.CleanUpPending = false })
		return nil
	}}
	w := newWorld(t, func(w *world) { w.end = end })
	leaves := func(_ context.Context, _ steps.Work, rec steps.Recorder) error {
		rec.Record(func(st *v1alpha1.UpdateRequestStatus) { st.CleanUpPending = true })
		return nil
	}
	w.steps.on("one", v1alpha1.StepCleanUp, leaves)
	w.request("one")
	<-entered
	w.awaitPhase("one", v1alpha1.PhaseSucceeded)
	w.request("two", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "beef" })
	w.awaitMessage("two", "waits for the request one")
	w.stop()
	w.start()
	<-entered
	w.awaitMessage("two", "waits for the request one")
	w.request("look", func(ur *v1alpha1.UpdateRequest) { ur.Spec.DryRun = true })
	w.awaitEnd("look", v1alpha1.PhaseSucceeded, v1alpha1.ReasonDryRun)
	w.await("two", "not begun", func(ur *v1alpha1.UpdateRequest) bool { return !plan.Started(ur.Status) })
	if w.steps.summary("one") != "" {
		t.Error("the log was ended before that")
	}
	close(goOn)
	one := w.awaitEnd("one", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if one.Status.CleanUpPending {
		t.Error("it is said to go on")
	}
	w.awaitEnd("two", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if got := end.ran(); !slices.Equal(got, []string{"one", "one"}) {
		t.Errorf("it was done for %v", got)
	}
}

// Neither a dry run nor a request that found nothing to do has an end worth a hook,
// and a hook that panics blocks nobody.
func TestHooksAtTheEndOfNothing(t *testing.T) {
	t.Parallel()
	end := &fakeEnd{do: func(context.Context, steps.Recorder) error { panic("out of cheese") }}
	w := newEndWorld(t, end)
	w.request("dry", func(ur *v1alpha1.UpdateRequest) { ur.Spec.DryRun = true })
	w.await("dry", "ended", func(ur *v1alpha1.UpdateRequest) bool { return plan.Ended(ur.Status.Phase) })
	w.steps.on("same", v1alpha1.StepPreflight, nothingToDo)
	w.request("same")
	w.awaitEnd("same", v1alpha1.PhaseSucceeded, v1alpha1.ReasonUnchanged)
	if got := end.ran(); len(got) > 0 {
		t.Errorf("the hooks ran for %v", got)
	}
	w.request("one", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "beef" })
	w.awaitEnd("one", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if got := end.ran(); !slices.Equal(got, []string{"one"}) {
		t.Errorf("the hooks ran for %v", got)
	}
}
