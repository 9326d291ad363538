// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/jobs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

func TestShutdownLeavesTheWorkResumable(t *testing.T) {
	for _, step := range append(slices.Clone(forward), v1alpha1.StepRollback) {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			phase, reason := v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded
			if step == v1alpha1.StepRollback {
				w.steps.on("a", v1alpha1.StepRollout, fails(v1alpha1.ReasonHealthCheckFailed, "web is unhealthy"))
				phase, reason = v1alpha1.PhaseRolledBack, v1alpha1.ReasonHealthCheckFailed
			}
			g := w.steps.hold("a", step)
			w.request("a")
			g.await(t)
			w.stop()
			if cause := <-g.cause; !errors.Is(cause, jobs.ErrShutdown) {
				t.Errorf("the step was ended by %v", cause)
			}
			var ur v1alpha1.UpdateRequest
			must(t, w.direct.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "a"}, &ur))
			if s := stepOf(&ur, step); s.State != v1alpha1.StepRunning || s.Attempt != 1 || ur.Status.Phase != plan.PhaseOf(step) {
				t.Errorf("after the shutdown: %s, %+v", ur.Status.Phase, s)
			}
			w.start()
			end := w.awaitEnd("a", phase, reason)
			if s := stepOf(end, step); s.State != v1alpha1.StepSucceeded || s.Attempt != 2 {
				t.Errorf("step: %+v", s)
			}
			for _, other := range end.Status.Steps {
				if other.Name != step && other.Attempt != 1 {
					t.Errorf("step %s ran %d times", other.Name, other.Attempt)
				}
			}
		})
	}
}

// The queue is the same after a restart: who runs goes on, who waits waits.
func TestRestartKeepsTheQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("z", v1alpha1.StepRollout)
	w.request("z")
	g.await(t)
	w.request("a", goesBack) // the name comes first, the request does not
	w.awaitPhase("a", v1alpha1.PhasePending)
	w.stop()
	again := w.steps.hold("z", v1alpha1.StepRollout)
	w.start()
	again.await(t)
	if got := w.steps.runs("a"); len(got) != 0 {
		t.Errorf("steps ran: %v", got)
	}
	again.release()
	w.awaitEnd("z", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

// A daemon that was killed after the end was written ends the log at its next
// start, and lets the object go.
func TestKilledBeforeTheConclusion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stop()
	ur := w.newRequest("a")
	ur.Finalizers = []string{"fairlead.dev/work"}
	must(t, w.direct.Create(t.Context(), ur))
	now := metav1.Now()
	ur.Status = v1alpha1.UpdateRequestStatus{
		ObservedGeneration: 1, Phase: v1alpha1.PhaseFailed, Message: "no such file", ID: "20260301_120000", StartedAt: &now, FinishedAt: &now,
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonBuildFailed, Message: "no such file", ObservedGeneration: 1, LastTransitionTime: now},
			{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonBuildFailed, Message: "no such file", ObservedGeneration: 1, LastTransitionTime: now},
		},
	}
	must(t, w.direct.Status().Update(t.Context(), ur))
	w.start()
	w.awaitEnd("a", v1alpha1.PhaseFailed, v1alpha1.ReasonBuildFailed)
	if got := w.steps.summary("a"); got != v1alpha1.PhaseFailed {
		t.Errorf("the log was ended with %q", got)
	}
	if got := w.steps.runs("a"); len(got) != 0 {
		t.Errorf("steps ran: %v", got)
	}
}

// startsStep reports whether a status is the intent to run a step.
func startsStep(o client.Object, step v1alpha1.StepName) bool {
	ur, ok := o.(*v1alpha1.UpdateRequest)
	return ok && ur.Status.Step == step && stepOf(ur, step).State == v1alpha1.StepRunning
}

func TestStatusWriteFaults(t *testing.T) {
	for _, step := range append(slices.Clone(forward), v1alpha1.StepRollback) {
		prepare := func(t *testing.T) (*world, v1alpha1.Phase, string) {
			t.Parallel()
			w := newWorld(t)
			if step == v1alpha1.StepRollback {
				w.steps.on("a", v1alpha1.StepRollout, fails(v1alpha1.ReasonHealthCheckFailed, "web is unhealthy"))
				return w, v1alpha1.PhaseRolledBack, v1alpha1.ReasonHealthCheckFailed
			}
			return w, v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded
		}
		onceAtStart := func(do func() error) func(client.Object) error {
			var once sync.Once
			return func(o client.Object) (err error) {
				if startsStep(o, step) {
					once.Do(func() { err = do() })
				}
				return err
			}
		}
		t.Run("conflict/"+string(step), func(t *testing.T) {
			w, phase, reason := prepare(t)
			ran := 0
			w.faulty.set(onceAtStart(func() error {
				w.patchRequest("a", `{"metadata":{"labels":{"somebody":"else"}}}`)
				ran = w.steps.count("a", step)
				return nil // the write goes on, and meets the newer version
			}), nil)
			w.request("a")
			ur := w.awaitEnd("a", phase, reason)
			if ran != 0 || w.steps.count("a", step) != 1 || stepOf(ur, step).Attempt != 1 {
				t.Errorf("the step ran %d times before the conflict, %d times in all: %+v", ran, w.steps.count("a", step), stepOf(ur, step))
			}
			if ur.Labels["somebody"] != "else" {
				t.Error("somebody's change is lost")
			}
		})
		t.Run("refused/"+string(step), func(t *testing.T) {
			w, phase, reason := prepare(t)
			w.faulty.set(onceAtStart(func() error { return errRefused }), nil)
			w.request("a")
			ur := w.awaitEnd("a", phase, reason)
			if w.steps.count("a", step) != 1 || stepOf(ur, step).Attempt != 1 {
				t.Errorf("the step ran %d times: %+v", w.steps.count("a", step), stepOf(ur, step))
			}
		})
		t.Run("answer lost/"+string(step), func(t *testing.T) {
			w, phase, reason := prepare(t)
			w.faulty.set(nil, onceAtStart(func() error { return errRefused }))
			w.request("a")
			ur := w.awaitEnd("a", phase, reason)
			// The intent counts as an attempt: whether the step began cannot be known.
			if w.steps.count("a", step) != 1 || stepOf(ur, step).Attempt != 2 {
				t.Errorf("the step ran %d times: %+v", w.steps.count("a", step), stepOf(ur, step))
			}
		})
	}
}

// A step of which it could not be written that it begins is stopped, and nothing goes on beside it: neither the
// request, that somebody cancels or deletes meanwhile, nor the next one.
func TestWithdrawnStepEndsFirst(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world){
		"cancelled": func(w *world) { w.patchRequest("a", `{"spec":{"cancel":true}}`) },
		"deleted":   func(w *world) { must(t, w.direct.Delete(t.Context(), w.newRequest("a"))) },
		"labelled":  func(w *world) { w.patchRequest("a", `{"metadata":{"labels":{"somebody":"else"}}}`) },
	} {
		for _, step := range []v1alpha1.StepName{v1alpha1.StepPreflight, v1alpha1.StepBuild} {
			t.Run(name+"/"+string(step), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				begins, held, release := make(chan struct{}), make(chan error), make(chan struct{})
				var looks, writes sync.Once
				w.steps.looks = func(ctx context.Context, work steps.Work) {
					if work.Request.Name != "a" || work.Step != step {
						return
					}
					looks.Do(func() {
						close(begins)
						<-ctx.Done()
						held <- context.Cause(ctx)
						<-release
					})
				}
				w.faulty.set(func(o client.Object) error {
					if o.GetName() == "a" && startsStep(o, step) {
						writes.Do(func() {
							<-begins
							meanwhile(w)
						})
					}
					return nil // the write goes on, and meets the newer version
				}, nil)
				w.request("a")
				if cause := <-held; !errors.Is(cause, jobs.ErrWithdrawn) {
					t.Errorf("it was stopped as %v", cause)
				}
				w.request("b", goesBack)
				w.awaitPhase("b", v1alpha1.PhasePending)
				var ur v1alpha1.UpdateRequest
				must(t, w.direct.Get(t.Context(), client.ObjectKeyFromObject(w.newRequest("a")), &ur))
				if plan.Ended(ur.Status.Phase) {
					t.Errorf("it is %s while its step goes on", ur.Status.Phase)
				}
				if w.steps.count("a", step) != 0 || w.steps.count("b", v1alpha1.StepPreflight) != 0 {
					t.Error("a step acted before the one that was withdrawn had ended")
				}
				close(release)
				switch name {
				case "cancelled":
					w.awaitEnd("a", v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled)
				case "deleted":
					w.awaitGone("a")
				case "labelled":
					w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
					if ran := w.steps.count("a", step); ran != 1 {
						t.Errorf("the step acted %d times", ran)
					}
				}
				w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
			})
		}
	}
}

// The finalizer comes before the first step acts: one that cannot be written withdraws that step.
func TestFinalizerFaults(t *testing.T) {
	for name, do := range map[string]func(w *world) error{
		"refused": func(*world) error { return errRefused },
		"deleted": func(w *world) error { return w.direct.Delete(t.Context(), w.newRequest("a")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			begins, held := make(chan struct{}), make(chan error, 1)
			var looks, patches sync.Once
			w.steps.looks = func(ctx context.Context, work steps.Work) {
				if work.Request.Name == "a" {
					looks.Do(func() {
						close(begins)
						<-ctx.Done()
						held <- context.Cause(ctx)
					})
				}
			}
			w.faulty.mu.Lock()
			w.faulty.patched = func(o client.Object) (err error) {
				if o.GetName() == "a" {
					patches.Do(func() {
						<-begins
						err = do(w)
					})
				}
				return err
			}
			w.faulty.mu.Unlock()
			w.request("a")
			if cause := <-held; !errors.Is(cause, jobs.ErrWithdrawn) {
				t.Errorf("the step was stopped as %v", cause)
			}
			want := 1
			if name == "deleted" {
				want = 0
				w.awaitGone("a")
			} else if ur := w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded); stepOf(ur, v1alpha1.StepPreflight).Attempt != 1 {
				t.Errorf("it counts as an attempt: %+v", ur.Status.Steps)
			}
			if ran := w.steps.count("a", v1alpha1.StepPreflight); ran != want {
				t.Errorf("the step acted %d times", ran)
			}
			w.request("b") // has the directory
			w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
		})
	}
}

// Where writes go on failing, no step begins beside each of them.
func TestAStepBeginsOnceWhileWritesFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	begun, refusals := 0, 0
	w.steps.looks = func(_ context.Context, work steps.Work) {
		mu.Lock()
		defer mu.Unlock()
		if work.Step == v1alpha1.StepBuild {
			begun++
		}
	}
	w.faulty.set(func(o client.Object) error {
		mu.Lock()
		defer mu.Unlock()
		if startsStep(o, v1alpha1.StepBuild) && refusals < 5 {
			refusals++
			return errRefused
		}
		return nil
	}, nil)
	w.request("a")
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if begun != 2 || refusals != 5 {
		t.Errorf("it began %d times beside %d writes that failed", begun, refusals)
	}
}

// The end of a step is not lost when its write fails.
func TestEndOfAStepIsWrittenLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	refuse := true
	w.faulty.set(func(o client.Object) error {
		if startsStep(o, v1alpha1.StepFetch) && refuse {
			refuse = false
			return errRefused
		}
		return nil
	}, nil)
	w.request("a")
	ur := w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if refuse {
		t.Fatal("nothing was refused")
	}
	if ur.Status.Backup != "backup_"+ur.Status.ID || w.steps.count("a", v1alpha1.StepBackup) != 1 {
		t.Errorf("what the backup recorded is %q; it ran %d times", ur.Status.Backup, w.steps.count("a", v1alpha1.StepBackup))
	}
}

// Somebody wipes the status while a step runs: the request begins anew, and the
// steps see for themselves what is done already.
func TestStatusWipedBySomebody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepBuild)
	w.request("a")
	g.await(t)
	w.request("b", goesBack)
	w.awaitPhase("b", v1alpha1.PhasePending)
	ur := w.newRequest("a")
	must(t, w.direct.Status().Patch(t.Context(), ur, client.RawPatch("application/merge-patch+json", []byte(`{"status":null}`))))
	w.await("a", "with a status again", func(ur *v1alpha1.UpdateRequest) bool {
		return stepOf(ur, v1alpha1.StepBuild).Name == "" && ur.Status.Phase != ""
	})
	g.release()
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

// Somebody writes an end into the status while a step runs: the step is stopped,
// and nobody else works on the application before it is.
func TestEndedBySomebody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepRollout)
	w.request("a")
	g.await(t)
	w.request("b", goesBack)
	w.awaitPhase("b", v1alpha1.PhasePending)
	ur := w.await("a", "in the rollout", func(ur *v1alpha1.UpdateRequest) bool { return ur.Status.Step == v1alpha1.StepRollout })
	now := metav1.Now()
	st := &ur.Status
	st.Phase, st.Message, st.FinishedAt = v1alpha1.PhaseFailed, "ended by hand", &now
	for i := range st.Steps {
		st.Steps[i].State = v1alpha1.StepSucceeded
		st.Steps[i].FinishedAt = &now
	}
	for i := range st.Conditions {
		st.Conditions[i].Status = metav1.ConditionFalse
	}
	must(t, w.direct.Status().Update(t.Context(), ur))
	if cause := <-g.cause; !errors.Is(cause, jobs.ErrCancelled) {
		t.Errorf("the step was ended by %v", cause)
	}
	w.await("a", "concluded", func(ur *v1alpha1.UpdateRequest) bool { return len(ur.Finalizers) == 0 })
	w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

// A rollback that meets disturbances waits between its attempts, also when the
// request is cancelled.
func TestCancelledRollbackBacksOff(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	fake := testclock.NewFakePassiveClock(now)
	w := newWorld(t, func(w *world) { w.clock = fake })
	g := w.steps.hold("a", v1alpha1.StepRollout)
	w.steps.on("a", v1alpha1.StepRollback, disturbed("the engine is away"), disturbed("the engine is still away"))
	w.request("a")
	g.await(t)
	w.patchRequest("a", `{"spec":{"cancel":true}}`)
	w.awaitMessage("a", `^step Rollback is tried again \(attempt 1 failed\)`)
	// The clock stands still, so that no wake-up may lead to another attempt.
	for _, label := range []string{"one", "two", "three"} {
		w.wakeAndSettle("a", label)
	}
	if n := w.steps.count("a", v1alpha1.StepRollback); n != 1 {
		t.Fatalf("the rollback was tried %d times at the same moment", n)
	}
	fake.SetTime(now.Add(2 * time.Second))
	w.wakeAndSettle("a", "four")
	w.awaitMessage("a", `^step Rollback is tried again \(attempt 2 failed\)`)
	fake.SetTime(now.Add(time.Minute))
	w.wakeAndSettle("a", "five")
	w.awaitEnd("a", v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled)
}

// wakeAndSettle has a request reconciled, and waits until that is over: a second
// request of another application that was created later has ended.
func (w *world) wakeAndSettle(name, label string) {
	w.t.Helper()
	w.patchRequest(name, `{"metadata":{"labels":{"wake":"`+label+`"}}}`)
	w.application("idle-" + label)
	w.request("idle-"+label, func(ur *v1alpha1.UpdateRequest) { ur.Spec.ApplicationRef.Name = "idle-" + label })
	w.awaitEnd("idle-"+label, v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

func (w *world) awaitAppGone(name string) {
	w.t.Helper()
	w.until("Application "+name+" gone", func() bool { _, have := w.apps[name]; return !have })
	// The controllers see it by a watch of their own.
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var app v1alpha1.Application
		if err := w.faulty.Get(ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &app); client.IgnoreNotFound(err) == nil && err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("the cache still has the Application %s", name)
		}
	}
}
