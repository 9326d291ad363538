// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func runningStep(name v1alpha1.StepName) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) {
		began := at(0)
		ur.Status.Step, ur.Status.Phase, ur.Status.StartedAt = name, plan.PhaseOf(name), &began
		ur.Status.Steps = append(ur.Status.Steps, v1alpha1.StepStatus{Name: name, State: v1alpha1.StepRunning, Attempt: 1, StartedAt: &began})
	}
}

func TestStepEnded(t *testing.T) {
	bad := failure.Terminalf(v1alpha1.ReasonBuildFailed, "no such file")
	tests := []struct {
		name    string
		step    v1alpha1.StepName
		err     error
		state   v1alpha1.StepState
		reason  string
		message string
		failure string
	}{
		{"success", v1alpha1.StepBuild, nil, v1alpha1.StepSucceeded, "", "", ""},
		{"terminal", v1alpha1.StepBuild, bad, v1alpha1.StepFailed, v1alpha1.ReasonBuildFailed, "no such file", v1alpha1.ReasonBuildFailed},
		{"wrapped terminal", v1alpha1.StepBuild, errors.Join(fmt.Errorf("service web: %w", bad)), v1alpha1.StepFailed, v1alpha1.ReasonBuildFailed, "no such file", v1alpha1.ReasonBuildFailed},
		{"a failed rollback does not replace the cause", v1alpha1.StepRollback, failure.Terminalf(v1alpha1.ReasonRollbackFailed, "stuck"),
			v1alpha1.StepFailed, v1alpha1.ReasonRollbackFailed, "stuck", ""},
		{"interrupted", v1alpha1.StepBuild, &failure.Interrupted{Err: context.Canceled}, v1alpha1.StepInterrupted, "Interrupted", "", ""},
		{"disturbance", v1alpha1.StepBuild, errors.New("connection refused"), v1alpha1.StepInterrupted, v1alpha1.ReasonRetrying, "connection refused", ""},
		{"somebody else's cancellation is a disturbance", v1alpha1.StepBuild, fmt.Errorf("solve: %w", context.Canceled),
			v1alpha1.StepInterrupted, v1alpha1.ReasonRetrying, "solve: context canceled", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ur := request("a", 1, runningStep(tt.step))
			w := statusWriter{ur: &ur, now: epoch.Add(time.Minute)}
			w.stepEnded(attempt{tt.step, 1}, tt.err)
			got := ur.Status.Steps[0]
			if got.State != tt.state || got.Reason != tt.reason || got.Message != tt.message {
				t.Errorf("got %+v", got)
			}
			if got.FinishedAt == nil || !got.FinishedAt.Time.Equal(w.now) {
				t.Errorf("finishedAt is %v", got.FinishedAt)
			}
			if f := ur.Status.Failure; (f == nil) != (tt.failure == "") || f != nil && (f.Reason != tt.failure || f.Step != tt.step) {
				t.Errorf("failure is %+v, want reason %q", f, tt.failure)
			}
		})
	}
}

func TestStepEndedOnlyForTheStepThatRuns(t *testing.T) {
	for name, ur := range map[string]v1alpha1.UpdateRequest{
		"before the first step":           request("a", 1),
		"after the step was written down": request("a", 1, started),
		"when the next step has begun":    request("a", 1, started, runningStep(v1alpha1.StepBackup)),
		"when another attempt has begun": request("a", 1, runningStep(v1alpha1.StepPreflight), func(ur *v1alpha1.UpdateRequest) {
			ur.Status.Steps[0].Attempt = 2
		}),
	} {
		t.Run(name, func(t *testing.T) {
			before := ur.DeepCopy()
			w := statusWriter{ur: &ur, now: epoch}
			w.stepEnded(attempt{v1alpha1.StepPreflight, 1}, failure.Terminalf("Bad", "bad"))
			if !equality.Semantic.DeepEqual(ur.Status, before.Status) {
				t.Errorf("an outcome was put to a step that does not run: %+v", ur.Status)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	interrupted := func(attempt int32, reason string) v1alpha1.StepStatus {
		end := at(0)
		return v1alpha1.StepStatus{Name: v1alpha1.StepBuild, State: v1alpha1.StepInterrupted, Attempt: attempt, Reason: reason, FinishedAt: &end}
	}
	tests := []struct {
		name  string
		step  v1alpha1.StepStatus
		after time.Duration
		want  time.Duration
	}{
		{"first", interrupted(1, v1alpha1.ReasonRetrying), 0, time.Second},
		{"second", interrupted(2, v1alpha1.ReasonRetrying), 0, 2 * time.Second},
		{"fifth", interrupted(5, v1alpha1.ReasonRetrying), 0, 16 * time.Second},
		{"limit", interrupted(6, v1alpha1.ReasonRetrying), 0, 30 * time.Second},
		{"no overflow", interrupted(1<<30, v1alpha1.ReasonRetrying), 0, 30 * time.Second},
		{"some of it passed", interrupted(5, v1alpha1.ReasonRetrying), 10 * time.Second, 6 * time.Second},
		{"all of it passed", interrupted(5, v1alpha1.ReasonRetrying), time.Hour, 0},
		{"interrupted by us", interrupted(3, "Interrupted"), 0, 0},
		{"another step", v1alpha1.StepStatus{Name: v1alpha1.StepFetch}, 0, 0},
		{"no end", v1alpha1.StepStatus{Name: v1alpha1.StepBuild, State: v1alpha1.StepInterrupted, Reason: v1alpha1.ReasonRetrying}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ur := request("a", 1)
			ur.Status.Steps = []v1alpha1.StepStatus{tt.step}
			w := statusWriter{ur: &ur, now: epoch.Add(tt.after)}
			if got := w.backoff(v1alpha1.StepBuild); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestStartOfStep(t *testing.T) {
	app := &v1alpha1.Application{}
	app.Spec.Compose.Directory = "/opt/shop"
	ur := request("a", 1)
	w := statusWriter{ur: &ur, now: epoch, ids: &runIDs{}}
	w.start(plan.Decision{Kind: plan.RunStep, Step: v1alpha1.StepPreflight, Phase: v1alpha1.PhasePreflight, Reason: "comes next"}, scope{app: app})
	st := ur.Status
	if st.ID != "20260301_120000" || st.LogFile != "/opt/shop/.update/logs/update_20260301_120000.log" {
		t.Errorf("id %q, log %q", st.ID, st.LogFile)
	}
	if st.Message != "step Preflight runs" || st.Phase != v1alpha1.PhasePreflight || st.Step != v1alpha1.StepPreflight {
		t.Errorf("got %+v", st)
	}
	// The second attempt keeps the first one's start, and forgets how it ended.
	w.now = epoch.Add(time.Second)
	w.stepEnded(attempt{v1alpha1.StepPreflight, 1}, errors.New("away"))
	w.now = epoch.Add(time.Minute)
	w.start(plan.Decision{Kind: plan.RunStep, Step: v1alpha1.StepPreflight, Phase: v1alpha1.PhasePreflight, Reason: "is tried again"}, scope{app: app})
	step := ur.Status.Steps[0]
	if len(ur.Status.Steps) != 1 || step.Attempt != 2 || !step.StartedAt.Time.Equal(epoch) || step.FinishedAt != nil || step.Reason != "" || step.Message != "" {
		t.Errorf("second attempt: %+v", ur.Status.Steps)
	}
	if ur.Status.ID != "20260301_120000" || !ur.Status.StartedAt.Time.Equal(epoch) {
		t.Errorf("a second attempt is no second run: %+v", ur.Status)
	}
	// A cancellation in the rollout leads to a rollback, and is its cause.
	runningStep(v1alpha1.StepRollout)(&ur)
	w.start(plan.Decision{Kind: plan.RunStep, Step: v1alpha1.StepRollback, Phase: v1alpha1.PhaseRollingBack, Reason: v1alpha1.ReasonCancelled, Message: "cancelled"}, scope{app: app})
	if f := ur.Status.Failure; f == nil || f.Step != v1alpha1.StepRollout || f.Reason != v1alpha1.ReasonCancelled {
		t.Errorf("failure is %+v", f)
	}
	if ur.Status.Message != "going back: cancelled" {
		t.Errorf("message is %q", ur.Status.Message)
	}
}

// A request that is undone after all, or verified once more, leaves nothing to be cleaned up as after a success.
func TestOnlyACleanUpLeavesSomething(t *testing.T) {
	for step, left := range map[v1alpha1.StepName]bool{v1alpha1.StepRollback: false, v1alpha1.StepVerify: false, v1alpha1.StepCleanUp: true} {
		ur := request("a", 1, runningStep(v1alpha1.StepVerify), func(ur *v1alpha1.UpdateRequest) {
			ur.Status.ID, ur.Status.CleanUpPending = "20260102_030405", true
		})
		w := statusWriter{ur: &ur, now: at(1).Time}
		w.start(plan.Decision{Kind: plan.RunStep, Step: step, Phase: plan.PhaseOf(step)}, scope{})
		if ur.Status.CleanUpPending != left {
			t.Errorf("after the start of %s, the clean-up is pending: %v", step, ur.Status.CleanUpPending)
		}
	}
}

func TestFinishTellsTheStory(t *testing.T) {
	rolledBack := func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Rollback = &v1alpha1.RollbackStatus{Message: "the application runs release shop-1 again"}
	}
	tests := []struct {
		name     string
		change   func(*v1alpha1.UpdateRequest)
		decision plan.Decision
		ok       metav1.ConditionStatus
		message  string
		stalled  bool
	}{
		{"success", func(ur *v1alpha1.UpdateRequest) {
			ur.Status.Commit, ur.Status.Release = "0123456789abcdef0123456789abcdef01234567", "shop-2"
		}, plan.Decision{Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonSucceeded}, metav1.ConditionTrue,
			"the application runs 0123456 as release shop-2", false},
		{"unchanged", func(*v1alpha1.UpdateRequest) {}, plan.Decision{Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonUnchanged, Message: "nothing changed"},
			metav1.ConditionTrue, "nothing changed", false},
		{"failed", func(*v1alpha1.UpdateRequest) {}, plan.Decision{Phase: v1alpha1.PhaseFailed, Reason: v1alpha1.ReasonBuildFailed, Message: "no such file"},
			metav1.ConditionFalse, "no such file", false},
		{"rolled back", rolledBack, plan.Decision{Phase: v1alpha1.PhaseRolledBack, Reason: v1alpha1.ReasonHealthCheckFailed, Message: "web is unhealthy"},
			metav1.ConditionFalse, "web is unhealthy; the application runs release shop-1 again", false},
		{"cancelled and undone", rolledBack, plan.Decision{Phase: v1alpha1.PhaseCancelled, Reason: v1alpha1.ReasonCancelled, Message: "cancelled"},
			metav1.ConditionFalse, "cancelled; the application runs release shop-1 again", false},
		{"rollback failed", func(*v1alpha1.UpdateRequest) {}, plan.Decision{Phase: v1alpha1.PhaseFailed, Reason: v1alpha1.ReasonRollbackFailed, Message: "both failed"},
			metav1.ConditionFalse, "both failed", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ur := request("a", 1, runningStep(v1alpha1.StepVerify), tt.change)
			meta.SetStatusCondition(&ur.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: "Retrying"})
			w := statusWriter{ur: &ur, now: epoch.Add(83 * time.Second)}
			w.finish(tt.decision)
			w.conditions()
			if ur.Status.Message != tt.message {
				t.Errorf("message is %q, want %q", ur.Status.Message, tt.message)
			}
			if ur.Status.Duration != "1m23s" {
				t.Errorf("duration is %q", ur.Status.Duration)
			}
			c := meta.FindStatusCondition(ur.Status.Conditions, v1alpha1.ConditionSucceeded)
			if c == nil || c.Status != tt.ok || c.Reason != tt.decision.Reason || c.Message != tt.message {
				t.Errorf("Succeeded is %+v", c)
			}
			if got := meta.IsStatusConditionTrue(ur.Status.Conditions, v1alpha1.ConditionStalled); got != tt.stalled {
				t.Errorf("stalled is %t", got)
			}
		})
	}
}

func TestMessagesAreLimited(t *testing.T) {
	long := strings.Repeat("ä", 20000)
	for name, tt := range map[string]struct {
		got  string
		most int
	}{
		"status": {limit(long), 32768}, "event": {eventNote(long), 1024},
	} {
		if len(tt.got) > tt.most || len(tt.got) < 900 || !utf8.ValidString(tt.got) || !strings.HasSuffix(tt.got, "…") {
			t.Errorf("%s: %d bytes, valid %t", name, len(tt.got), utf8.ValidString(tt.got))
		}
	}
	if limit("short") != "short" || eventNote("short") != "short" {
		t.Error("a short message was changed")
	}
}
