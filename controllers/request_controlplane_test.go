// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

var forward = []v1alpha1.StepName{
	v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild,
	v1alpha1.StepRollout, v1alpha1.StepVerify, v1alpha1.StepCleanUp,
}

func names(steps ...v1alpha1.StepName) []string {
	var out []string
	for _, s := range steps {
		out = append(out, string(s))
	}
	return out
}

func TestHappyPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.request("a")
	ur := w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)

	want := []v1alpha1.Phase{
		v1alpha1.PhasePreflight, v1alpha1.PhaseBackingUp, v1alpha1.PhaseFetching, v1alpha1.PhaseBuilding,
		v1alpha1.PhaseRollingOut, v1alpha1.PhaseVerifying, v1alpha1.PhaseCleaningUp, v1alpha1.PhaseSucceeded,
	}
	if got := w.phases("a"); !slices.Equal(got, want) {
		t.Errorf("phases: %v", got)
	}
	if got := w.steps.runs("a"); !slices.Equal(got, names(forward...)) {
		t.Errorf("steps: %v", got)
	}
	for i, s := range ur.Status.Steps {
		if s.Name != forward[i] || s.State != v1alpha1.StepSucceeded || s.Attempt != 1 || s.StartedAt == nil || s.FinishedAt == nil {
			t.Errorf("step %d: %+v", i, s)
		}
	}
	st := ur.Status
	if st.Commit != sha("c0de") || st.Release != "shop-2" || st.Duration == "" || st.Backup != "backup_"+st.ID ||
		st.LogFile != "/opt/shop/.update/logs/update_"+st.ID+".log" || st.ObservedGeneration != ur.Generation || len(st.Checks) != 1 {
		t.Errorf("status: %+v", st)
	}
	if want := "the application runs c0de000 as release shop-2"; st.Message != want {
		t.Errorf("message %q, want %q", st.Message, want)
	}
	if c := conditionOf(ur, v1alpha1.ConditionBackedUp); c.Status != metav1.ConditionTrue {
		t.Errorf("BackedUp: %+v", c)
	}
	if got := w.steps.summary("a"); got != v1alpha1.PhaseSucceeded {
		t.Errorf("the log was ended with %q", got)
	}
	w.until("its events", func() bool {
		got := w.events["a"]
		for _, p := range want {
			if !slices.Contains(got, "Normal "+string(p)) {
				return false
			}
		}
		return true
	})
	app := w.awaitApp("shop", "idle after the request", func(app *v1alpha1.Application) bool {
		return app.Status.LastRequest != nil && app.Status.ActiveRequest == ""
	})
	if l := app.Status.LastRequest; l.Name != "a" || l.Phase != v1alpha1.PhaseSucceeded || l.Commit != sha("c0de") {
		t.Errorf("last request: %+v", l)
	}
}

func TestFailedStep(t *testing.T) {
	for i, step := range forward[:6] {
		touched := step == v1alpha1.StepRollout || step == v1alpha1.StepVerify
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.steps.on("a", step, fails("ItBroke", "the thing is broken: mend it"))
			w.request("a")
			phase, runs := v1alpha1.PhaseFailed, names(forward[:i+1]...)
			if touched {
				phase, runs = v1alpha1.PhaseRolledBack, append(runs, "Rollback")
			}
			ur := w.awaitEnd("a", phase, "ItBroke")
			if got := w.steps.runs("a"); !slices.Equal(got, runs) {
				t.Errorf("steps %v, want %v", got, runs)
			}
			if s := stepOf(ur, step); s.State != v1alpha1.StepFailed || s.Reason != "ItBroke" || s.Message != "the thing is broken: mend it" {
				t.Errorf("step: %+v", s)
			}
			if f := ur.Status.Failure; f == nil || f.Step != step || f.Reason != "ItBroke" {
				t.Errorf("failure: %+v", f)
			}
			if !strings.HasPrefix(ur.Status.Message, "the thing is broken: mend it") {
				t.Errorf("message: %q", ur.Status.Message)
			}
			if touched {
				if want := "the thing is broken: mend it; the application runs release shop-1 again"; ur.Status.Message != want {
					t.Errorf("message: %q, want %q", ur.Status.Message, want)
				}
				if c := conditionOf(ur, v1alpha1.ConditionRolledBack); c.Status != metav1.ConditionTrue {
					t.Errorf("RolledBack: %+v", c)
				}
				if !slices.Contains(w.phases("a"), v1alpha1.PhaseRollingBack) {
					t.Errorf("phases: %v", w.phases("a"))
				}
			} else if c := conditionOf(ur, v1alpha1.ConditionRolledBack); c.Type != "" {
				t.Errorf("nothing was touched, but RolledBack is %+v", c)
			}
			if step == v1alpha1.StepBackup {
				if c := conditionOf(ur, v1alpha1.ConditionBackedUp); c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonBackupFailed {
					t.Errorf("BackedUp: %+v", c)
				}
			}
			w.until("a warning", func() bool { return slices.Contains(w.events["a"], "Warning ItBroke") })
		})
	}
}

// What cannot be cleaned up does not undo an update that has passed its
// verification.
func TestFailedCleanUpFailsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps.on("a", v1alpha1.StepCleanUp, fails("ItBroke", "the disk is full"))
	w.request("a")
	ur := w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if got := w.steps.runs("a"); !slices.Equal(got, names(forward...)) {
		t.Errorf("steps: %v", got)
	}
	if s := stepOf(ur, v1alpha1.StepCleanUp); s.State != v1alpha1.StepFailed || s.Message != "the disk is full" {
		t.Errorf("step: %+v", s)
	}
}

func TestFailedRollbackStalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps.on("a", v1alpha1.StepRollout, fails(v1alpha1.ReasonHealthCheckFailed, "web is unhealthy"))
	w.steps.on("a", v1alpha1.StepRollback, fails(v1alpha1.ReasonRollbackFailed, "the image is gone"))
	w.request("a")
	ur := w.awaitEnd("a", v1alpha1.PhaseFailed, v1alpha1.ReasonRollbackFailed)
	if want := "web is unhealthy; and going back failed: the image is gone"; ur.Status.Message != want {
		t.Errorf("message: %q, want %q", ur.Status.Message, want)
	}
	if n := w.steps.count("a", v1alpha1.StepRollback); n != 1 {
		t.Errorf("the rollback ran %d times", n)
	}
	for typ, want := range map[string]metav1.ConditionStatus{v1alpha1.ConditionStalled: metav1.ConditionTrue, v1alpha1.ConditionRolledBack: metav1.ConditionFalse} {
		if c := conditionOf(ur, typ); c.Status != want || c.Reason != v1alpha1.ReasonRollbackFailed {
			t.Errorf("%s: %+v", typ, c)
		}
	}
	if f := ur.Status.Failure; f.Step != v1alpha1.StepRollout || f.Reason != v1alpha1.ReasonHealthCheckFailed {
		t.Errorf("the cause is lost: %+v", f)
	}
}

func TestDisturbancesAreRetried(t *testing.T) {
	for _, step := range append(slices.Clone(forward), v1alpha1.StepRollback) {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			phase, reason := v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded
			if step == v1alpha1.StepRollback {
				w.steps.on("a", v1alpha1.StepRollout, fails(v1alpha1.ReasonHealthCheckFailed, "web is unhealthy"))
				phase, reason = v1alpha1.PhaseRolledBack, v1alpha1.ReasonHealthCheckFailed
			}
			w.steps.on("a", step, disturbed("the engine is away"))
			w.request("a")
			stalled := w.await("a", "stalled", func(ur *v1alpha1.UpdateRequest) bool {
				return conditionOf(ur, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue
			})
			if c := conditionOf(stalled, v1alpha1.ConditionStalled); c.Reason != v1alpha1.ReasonRetrying || !strings.Contains(c.Message, "the engine is away") {
				t.Errorf("Stalled: %+v", c)
			}
			if s := stepOf(stalled, step); s.State != v1alpha1.StepInterrupted || s.Attempt != 1 {
				t.Errorf("step: %+v", s)
			}
			if want := "step " + string(step) + " is tried again (attempt 1 failed): disturbance: the engine is away"; stalled.Status.Message != want {
				t.Errorf("message: %q, want %q", stalled.Status.Message, want)
			}
			ur := w.awaitEnd("a", phase, reason)
			if s := stepOf(ur, step); s.State != v1alpha1.StepSucceeded || s.Attempt != 2 || s.Message != "" {
				t.Errorf("step: %+v", s)
			}
			if c := conditionOf(ur, v1alpha1.ConditionStalled); c.Type != "" {
				t.Errorf("it is still stalled: %+v", c)
			}
		})
	}
}

func TestPanicIsADisturbance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps.on("a", v1alpha1.StepBuild, panics)
	w.request("a")
	ur := w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if s := stepOf(ur, v1alpha1.StepBuild); s.Attempt != 2 {
		t.Errorf("step: %+v", s)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.steps.hold("a", v1alpha1.StepBuild)
	w.request("a")
	g.await(t)
	// It neither waits for the one that runs nor holds up others.
	w.request("b", func(ur *v1alpha1.UpdateRequest) { ur.Spec.DryRun = true })
	ur := w.awaitEnd("b", v1alpha1.PhaseSucceeded, v1alpha1.ReasonDryRun)
	if got := w.steps.runs("b"); !slices.Equal(got, names(v1alpha1.StepPreflight)) {
		t.Errorf("steps: %v", got)
	}
	checkSkipped(t, ur, "dry run")
	if ur.Status.Plan == nil || ur.Status.Plan.Summary != "replace web" {
		t.Errorf("plan: %+v", ur.Status.Plan)
	}
	g.release()
	w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	app := w.awaitApp("shop", "idle", func(app *v1alpha1.Application) bool { return app.Status.LastRequest != nil })
	if app.Status.LastRequest.Name != "a" {
		t.Errorf("a dry run is taken for an update: %+v", app.Status.LastRequest)
	}
}

func TestUnchangedTouchesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps.on("a", v1alpha1.StepPreflight, nothingToDo)
	w.request("a")
	ur := w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonUnchanged)
	if got := w.steps.runs("a"); !slices.Equal(got, names(v1alpha1.StepPreflight)) {
		t.Errorf("steps: %v", got)
	}
	checkSkipped(t, ur, "nothing changed")
	if got := w.phases("a"); !slices.Equal(got, []v1alpha1.Phase{v1alpha1.PhasePreflight, v1alpha1.PhaseSucceeded}) {
		t.Errorf("phases: %v", got)
	}
}

func checkSkipped(t *testing.T, ur *v1alpha1.UpdateRequest, why string) {
	t.Helper()
	for _, step := range forward[1:] {
		if s := stepOf(ur, step); s.State != v1alpha1.StepSkipped || s.Message != why {
			t.Errorf("step %s: %+v", step, s)
		}
	}
}

func TestRollbackToAReleaseBuildsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.request("a", func(ur *v1alpha1.UpdateRequest) {
		ur.Spec.Commit, ur.Spec.RollbackTo = "", &v1alpha1.LocalReference{Name: "shop-1"}
	})
	ur := w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	want := names(v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepRollout, v1alpha1.StepVerify, v1alpha1.StepCleanUp)
	if got := w.steps.runs("a"); !slices.Equal(got, want) {
		t.Errorf("steps: %v", got)
	}
	for _, step := range []v1alpha1.StepName{v1alpha1.StepFetch, v1alpha1.StepBuild} {
		if s := stepOf(ur, step); s.State != v1alpha1.StepSkipped {
			t.Errorf("step %s: %+v", step, s)
		}
	}
}

func TestFailedCommitsAreRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps.on("a", v1alpha1.StepBuild, fails(v1alpha1.ReasonBuildFailed, "no such file"))
	w.request("a")
	w.awaitEnd("a", v1alpha1.PhaseFailed, v1alpha1.ReasonBuildFailed)
	app := w.awaitApp("shop", "knows the failed commit", func(app *v1alpha1.Application) bool { return len(app.Status.FailedCommits) == 1 })
	if f := app.Status.FailedCommits[0]; f.Commit != sha("c0de") || f.Request != "a" || f.Reason != v1alpha1.ReasonBuildFailed || f.Time.IsZero() {
		t.Errorf("got %+v", f)
	}
	// It is remembered when its request is gone, and the next preflight is told.
	w.delete("a")
	w.awaitGone("a")
	w.steps.on("b", v1alpha1.StepPreflight, fails(v1alpha1.ReasonCommitFailedBefore, "it failed before"))
	w.request("b")
	w.awaitEnd("b", v1alpha1.PhaseFailed, v1alpha1.ReasonCommitFailedBefore)
	if got := w.steps.lastWork("b").FailedCommits; len(got) != 1 || got[0].Commit != sha("c0de") || got[0].Request != "a" {
		t.Errorf("the preflight was told %+v", got)
	}
	// Once it works, it is forgotten.
	w.request("c", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Retry = true })
	w.awaitEnd("c", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.awaitApp("shop", "has forgotten it", func(app *v1alpha1.Application) bool { return len(app.Status.FailedCommits) == 0 })
}
