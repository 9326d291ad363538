// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/jobs"
)

func TestCancel(t *testing.T) {
	type cases struct {
		step   v1alpha1.StepName
		phase  v1alpha1.Phase
		reason string
		// stopped says that the step's work is ended early.
		stopped, undone bool
	}
	tests := []cases{
		{v1alpha1.StepPreflight, v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled, true, false},
		{v1alpha1.StepBackup, v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled, true, false},
		{v1alpha1.StepFetch, v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled, true, false},
		{v1alpha1.StepBuild, v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled, true, false},
		{v1alpha1.StepRollout, v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled, true, true},
		{v1alpha1.StepVerify, v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled, true, true},
		// What is verified is not thrown away, and a rollback is finished.
		{v1alpha1.StepCleanUp, v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded, false, false},
		{v1alpha1.StepRollback, v1alpha1.PhaseRolledBack, v1alpha1.ReasonHealthCheckFailed, false, true},
	}
	for _, tt := range tests {
		t.Run(string(tt.step), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.step == v1alpha1.StepRollback {
				w.steps.on("a", v1alpha1.StepRollout, fails(v1alpha1.ReasonHealthCheckFailed, "web is unhealthy"))
			}
			g := w.steps.hold("a", tt.step)
			w.request("a")
			g.await(t)
			w.patchRequest("a", `{"spec":{"cancel":true}}`)
			if !tt.stopped {
				w.await("a", "seen with the cancellation", func(ur *v1alpha1.UpdateRequest) bool {
					return ur.Status.ObservedGeneration == ur.Generation && ur.Spec.Cancel
				})
				g.release()
			}
			ur := w.awaitEnd("a", tt.phase, tt.reason)
			if tt.stopped {
				if cause := <-g.cause; !errors.Is(cause, jobs.ErrCancelled) {
					t.Errorf("the step was ended by %v", cause)
				}
				if s := stepOf(ur, tt.step); s.State != v1alpha1.StepInterrupted {
					t.Errorf("step: %+v", s)
				}
			}
			undone := 0
			if tt.undone {
				undone = 1
			}
			if n := w.steps.count("a", v1alpha1.StepRollback); n != undone {
				t.Errorf("the rollback ran %d times, want %d", n, undone)
			}
			if n := w.steps.count("a", tt.step); n != 1 {
				t.Errorf("the step ran %d times", n)
			}
			// The application is free for the next one.
			w.request("b")
			w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
		})
	}
}

func TestCancelInTheQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepBuild)
	w.request("a")
	g.await(t)
	w.request("b")
	w.awaitMessage("b", `^waits for the request a to end$`)
	w.patchRequest("b", `{"spec":{"cancel":true}}`)
	w.awaitEnd("b", v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled)
	if got := w.steps.runs("b"); len(got) != 0 {
		t.Errorf("steps ran: %v", got)
	}
	g.release()
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

func TestDeletionUndoesTheWork(t *testing.T) {
	for _, step := range append(slices.Clone(forward), v1alpha1.StepRollback) {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if step == v1alpha1.StepRollback {
				w.steps.on("a", v1alpha1.StepRollout, fails(v1alpha1.ReasonHealthCheckFailed, "web is unhealthy"))
			}
			g := w.steps.hold("a", step)
			w.request("a")
			g.await(t)
			w.delete("a")
			finished := step == v1alpha1.StepCleanUp || step == v1alpha1.StepRollback
			if finished {
				g.release()
			}
			w.awaitGone("a")
			touched := step == v1alpha1.StepRollout || step == v1alpha1.StepVerify || step == v1alpha1.StepRollback
			if n := w.steps.count("a", v1alpha1.StepRollback); (n == 1) != touched {
				t.Errorf("the rollback ran %d times", n)
			}
			if !finished {
				if cause := <-g.cause; !errors.Is(cause, jobs.ErrCancelled) {
					t.Errorf("the step was ended by %v", cause)
				}
			}
			w.request("b")
			w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
		})
	}
}

func TestDeletionInTheQueueAndAfterTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepBuild)
	w.request("a")
	g.await(t)
	w.request("b")
	w.awaitPhase("b", v1alpha1.PhasePending)
	w.delete("b")
	w.awaitGone("b")
	g.release()
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.delete("a")
	w.awaitGone("a")
	if got := w.steps.runs("b"); len(got) != 0 {
		t.Errorf("steps ran: %v", got)
	}
}

// Somebody takes the finalizer off and deletes the request: its work ends, and
// the application is free again once it has.
func TestRequestTornAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepRollout)
	w.request("a")
	g.await(t)
	w.request("b")
	w.awaitPhase("b", v1alpha1.PhasePending)
	w.patchRequest("a", `{"metadata":{"finalizers":null}}`)
	w.delete("a")
	w.awaitGone("a")
	if cause := <-g.cause; !errors.Is(cause, jobs.ErrCancelled) {
		t.Errorf("the step was ended by %v", cause)
	}
	w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.request("a", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Suspend = true })
	w.awaitMessage("a", `^suspended: set spec.suspend to false to start$`)
	// It holds nobody up.
	w.request("b")
	w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if got := w.steps.runs("a"); len(got) != 0 {
		t.Fatalf("steps ran: %v", got)
	}
	g := w.steps.hold("a", v1alpha1.StepBackup)
	w.patchRequest("a", `{"spec":{"suspend":false}}`)
	g.await(t)
	// In between: the step that runs is finished, the next one is not begun.
	w.patchRequest("a", `{"spec":{"suspend":true}}`)
	g.release()
	ur := w.awaitMessage("a", `^suspended before step Fetch: set spec.suspend to false to go on$`)
	if s := stepOf(ur, v1alpha1.StepBackup); s.State != v1alpha1.StepSucceeded {
		t.Errorf("step: %+v", s)
	}
	if got := w.steps.runs("a"); !slices.Equal(got, names(v1alpha1.StepPreflight, v1alpha1.StepBackup)) {
		t.Errorf("steps: %v", got)
	}
	w.patchRequest("a", `{"spec":{"suspend":false}}`)
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

func TestSuspendedApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepBuild)
	w.request("a")
	g.await(t)
	w.patch(&v1alpha1.Application{}, "shop", `{"spec":{"suspend":true}}`)
	w.request("b")
	g.release() // what runs goes on
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.awaitMessage("b", `^the Application is suspended: set its spec.suspend to false to start$`)
	w.request("c", func(ur *v1alpha1.UpdateRequest) { ur.Spec.DryRun = true })
	w.awaitEnd("c", v1alpha1.PhaseSucceeded, v1alpha1.ReasonDryRun)
	if got := w.steps.runs("b"); len(got) != 0 {
		t.Errorf("steps ran: %v", got)
	}
	w.patch(&v1alpha1.Application{}, "shop", `{"spec":{"suspend":false}}`)
	w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

// goesBack is a request that is neither superseded nor supersedes.
func goesBack(ur *v1alpha1.UpdateRequest) {
	ur.Spec.Commit, ur.Spec.RollbackTo = "", &v1alpha1.LocalReference{Name: "shop-1"}
}

func TestQueueInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 12
	g := w.steps.hold("r00", v1alpha1.StepRollout)
	var want []string
	for i := range n {
		name := fmt.Sprintf("r%02d", i)
		want = append(want, name)
		w.request(name, goesBack)
		if i == 0 {
			g.await(t)
		}
	}
	for _, name := range want[1:] {
		w.awaitMessage(name, `^waits for the request r00 to end$`)
	}
	g.release()
	for _, name := range want {
		w.awaitEnd(name, v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	}
	if got := w.steps.order(v1alpha1.StepPreflight); !slices.Equal(got, want) {
		t.Errorf("order: %v", got)
	}
}

func TestSuperseded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepBuild)
	w.request("a")
	g.await(t)
	w.request("b")
	w.awaitPhase("b", v1alpha1.PhasePending)
	w.request("c", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "beef" })
	ur := w.awaitEnd("b", v1alpha1.PhaseCancelled, v1alpha1.ReasonSuperseded)
	if want := "superseded by the newer request c before it started; nothing was changed"; ur.Status.Message != want {
		t.Errorf("message: %q", ur.Status.Message)
	}
	g.release()
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.awaitEnd("c", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if got := w.steps.runs("b"); len(got) != 0 {
		t.Errorf("steps ran: %v", got)
	}
}

func TestTwoApplicationsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.application("blog")
	a, b := w.steps.hold("a", v1alpha1.StepRollout), w.steps.hold("b", v1alpha1.StepRollout)
	w.request("a")
	w.request("b", func(ur *v1alpha1.UpdateRequest) { ur.Spec.ApplicationRef.Name = "blog" })
	a.await(t)
	b.await(t)
	a.release()
	b.release()
	for _, name := range []string{"a", "b"} {
		w.awaitEnd(name, v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	}
}

func TestApplicationThatComesLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.request("a", func(ur *v1alpha1.UpdateRequest) { ur.Spec.ApplicationRef.Name = "blog" })
	w.awaitMessage("a", `^there is no Application "blog" in this namespace: create it, or delete this request$`)
	w.application("blog")
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

func TestApplicationDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepRollout)
	w.request("a")
	g.await(t)
	app := &v1alpha1.Application{}
	app.Namespace, app.Name = w.ns, "shop"
	must(t, w.direct.Delete(t.Context(), app))
	w.awaitAppGone("shop")
	g.release()
	w.awaitMessage("a", `^the Application "shop" was deleted while the request was carried out: create it again to go on, or delete this request$`)
	if got := w.steps.runs("a"); !slices.Equal(got, names(forward[:5]...)) {
		t.Errorf("steps: %v", got)
	}
	w.application("shop")
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)

	// Without its Application a request can still be deleted, as with its
	// namespace; what it changed stays, as nothing says where it is.
	g = w.steps.hold("b", v1alpha1.StepRollout)
	w.request("b")
	g.await(t)
	app.ResourceVersion = ""
	must(t, w.direct.Delete(t.Context(), app))
	w.awaitAppGone("shop")
	w.delete("b")
	w.awaitGone("b")
	if n := w.steps.count("b", v1alpha1.StepRollback); n != 0 {
		t.Errorf("the rollback ran %d times", n)
	}
}
