// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/hooks"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/steps"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Limits of the time between two attempts at a step.
const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
)

// statusWriter derives the status of one request in one pass. Nothing else
// writes it.
type statusWriter struct {
	ur  *v1alpha1.UpdateRequest
	now time.Time
	ids *runIDs
}

func (w *statusWriter) time() *metav1.Time {
	t := metav1.NewTime(w.now)
	return &t
}

// seen notes the version of a request that is new.
func (w *statusWriter) seen() {
	if st := &w.ur.Status; st.Phase == "" && st.SeenVersion == "" {
		st.SeenVersion = w.ur.ResourceVersion
	}
}

// apply puts in what a job recorded, in order.
func (w *statusWriter) apply(changes []func(*v1alpha1.UpdateRequestStatus)) {
	for _, change := range changes {
		change(&w.ur.Status)
	}
	// What a change put in still belongs to the job, which may be reading it.
	w.ur.Status = *w.ur.Status.DeepCopy()
}

func (w *statusWriter) step(name v1alpha1.StepName) *v1alpha1.StepStatus {
	st := &w.ur.Status
	i := slices.IndexFunc(st.Steps, func(s v1alpha1.StepStatus) bool { return s.Name == name })
	if i < 0 {
		st.Steps = append(st.Steps, v1alpha1.StepStatus{Name: name})
		i = len(st.Steps) - 1
	}
	return &st.Steps[i]
}

// start writes the intent to run a step.
func (w *statusWriter) start(d plan.Decision, s scope) {
	st := &w.ur.Status
	if st.StartedAt == nil {
		st.StartedAt = w.time()
	}
	if st.ID == "" {
		st.ID = w.ids.next(w.now, w.ur.UID, s.app.Spec.Compose.Directory, s.siblings)
		st.LogFile = updatelog.Path(s.app.Spec.Compose.Directory, st.ID)
	}
	if d.Step != v1alpha1.StepCleanUp {
		st.CleanUpPending = false // as an attempt left it that is not the last one
	}
	if d.Step == v1alpha1.StepRollback && st.Failure == nil {
		st.Failure = &v1alpha1.FailureStatus{Step: st.Step, Reason: d.Reason, Message: d.Message}
	}
	w.brokenOff(d.Step)
	step := w.step(d.Step)
	step.State = v1alpha1.StepRunning
	step.Attempt++
	if step.StartedAt == nil {
		step.StartedAt = w.time()
	}
	step.FinishedAt, step.Progress = nil, nil
	step.Reason, step.Message = "", ""
	st.Step, st.Phase = d.Step, d.Phase
	st.Message = progressMessage(d)
}

// cleanedUp records a clean-up of which nothing is left but what follows the end of the request.
func (w *statusWriter) cleanedUp(d plan.Decision, s scope) {
	w.start(d, s)
	w.stepEnded(attempt{d.Step, w.step(d.Step).Attempt}, nil)
}

// brokenOff ends a step that runs by the status while another one is started, or
// the request ends: the daemon was killed in it, and it is not gone on with.
func (w *statusWriter) brokenOff(unless v1alpha1.StepName) {
	for i := range w.ur.Status.Steps {
		if s := &w.ur.Status.Steps[i]; s.State == v1alpha1.StepRunning && s.Name != unless {
			s.State, s.Reason, s.Message = v1alpha1.StepInterrupted, "Interrupted", "was broken off, as the daemon ended"
			s.FinishedAt, s.Progress = w.time(), nil
		}
	}
}

func progressMessage(d plan.Decision) string {
	if d.Step == v1alpha1.StepRollback {
		return "going back: " + d.Message
	}
	return "step " + string(d.Step) + " " + runs(d.Reason)
}

func runs(reason string) string {
	if reason == "comes next" {
		return "runs"
	}
	return reason
}

// skip records that a step is not needed.
func (w *statusWriter) skip(d plan.Decision) {
	step := w.step(d.Step)
	step.State, step.Message = v1alpha1.StepSkipped, d.Reason
}

// attempt is one try at a step.
type attempt struct {
	step   v1alpha1.StepName
	number int32
}

// stepEnded puts in how the job that made an attempt ended. It does nothing
// unless that attempt is what runs by the status: the end may be written
// already, by a write whose answer was lost, and the next step begun; or the
// cache is behind, and the write will be refused.
func (w *statusWriter) stepEnded(a attempt, err error) {
	st := &w.ur.Status
	i := slices.IndexFunc(st.Steps, func(s v1alpha1.StepStatus) bool { return s.Name == a.step })
	if i < 0 || st.Step != a.step || st.Steps[i].Attempt != a.number || st.Steps[i].State != v1alpha1.StepRunning {
		return
	}
	step := &st.Steps[i]
	step.FinishedAt, step.Progress = w.time(), nil
	terminal := failure.AsTerminal(err)
	switch {
	case err == nil:
		step.State = v1alpha1.StepSucceeded
	case terminal != nil:
		// A condition without a reason would be refused.
		reason := cmp.Or(terminal.Reason, string(v1alpha1.PhaseFailed))
		step.State, step.Reason, step.Message = v1alpha1.StepFailed, reason, limit(terminal.Error())
		// A rollback has its cause already, and what could not be cleaned up after
		// an update that is verified is left to the next one.
		if st.Step != v1alpha1.StepRollback && st.Step != v1alpha1.StepCleanUp {
			st.Failure = &v1alpha1.FailureStatus{Step: st.Step, Reason: reason, Message: limit(terminal.Error()), Paused: terminal.Paused}
		}
	case failure.IsInterrupted(err):
		step.State, step.Reason, step.Message = v1alpha1.StepInterrupted, "Interrupted", ""
	case failure.IsNoSpace(err):
		step.State, step.Reason = v1alpha1.StepInterrupted, v1alpha1.ReasonNoSpace
		step.Message = limit("the disk is full: " + err.Error() + "; make room, and it goes on by itself")
	default:
		step.State, step.Reason, step.Message = v1alpha1.StepInterrupted, v1alpha1.ReasonRetrying, limit(err.Error())
	}
}

// backoff is the time until a step that met a disturbance may be tried again.
func (w *statusWriter) backoff(name v1alpha1.StepName) time.Duration {
	i := slices.IndexFunc(w.ur.Status.Steps, func(s v1alpha1.StepStatus) bool { return s.Name == name })
	if i < 0 {
		return 0
	}
	s := w.ur.Status.Steps[i]
	if !plan.Retries(s) || s.FinishedAt == nil {
		return 0
	}
	wait := firstBackoff << min(max(s.Attempt-1, 0), 10)
	return max(0, s.FinishedAt.Add(min(wait, maxBackoff)).Sub(w.now))
}

func (w *statusWriter) retrying(d plan.Decision) {
	w.ur.Status.Message = limit(fmt.Sprintf("step %s is tried again (attempt %d failed): %s", d.Step, w.step(d.Step).Attempt, w.step(d.Step).Message))
}

func (w *statusWriter) wait(d plan.Decision) {
	st := &w.ur.Status
	if !plan.Started(*st) {
		st.Phase = v1alpha1.PhasePending
	}
	st.Message = d.Message
}

func (w *statusWriter) cancelling() {
	w.ur.Status.Message = "cancelling: step " + string(w.ur.Status.Step) + " is being stopped"
}

// finish ends the request.
func (w *statusWriter) finish(d plan.Decision) {
	st := &w.ur.Status
	w.brokenOff("")
	st.Phase = d.Phase
	st.FinishedAt = w.time()
	if st.StartedAt != nil {
		st.Duration = w.now.Sub(st.StartedAt.Time).Round(time.Second).String()
	}
	st.Message = limit(endMessage(*st, d))
	for i := range st.Hooks {
		if h := &st.Hooks[i]; h.State == v1alpha1.HookRunning {
			h.State, h.Message, h.FinishedAt = v1alpha1.HookFailed, "was broken off, as the request ended", w.time()
		}
	}
	w.condition(v1alpha1.ConditionProgressing, metav1.ConditionFalse, d.Reason, st.Message)
	ok := metav1.ConditionFalse
	if d.Phase == v1alpha1.PhaseSucceeded {
		ok = metav1.ConditionTrue
	}
	w.condition(v1alpha1.ConditionSucceeded, ok, d.Reason, st.Message)
	if d.Reason == v1alpha1.ReasonRollbackFailed {
		w.condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, d.Reason, st.Message)
	} else {
		meta.RemoveStatusCondition(&st.Conditions, v1alpha1.ConditionStalled)
	}
}

func endMessage(st v1alpha1.UpdateRequestStatus, d plan.Decision) string {
	switch {
	case d.Phase == v1alpha1.PhaseSucceeded && d.Message == "":
		return fmt.Sprintf("the application runs %s as release %s", short(st.Commit), st.Release)
	case d.Phase == v1alpha1.PhaseRolledBack || d.Phase == v1alpha1.PhaseCancelled && st.Rollback != nil:
		var parts []string
		parts = append(parts, d.Message)
		if st.Rollback != nil && st.Rollback.Message != "" {
			parts = append(parts, st.Rollback.Message)
		}
		return strings.Join(parts, "; ")
	default:
		return d.Message
	}
}

// conditions derives those that follow from the rest of the status.
func (w *statusWriter) conditions() {
	st := &w.ur.Status
	st.ObservedGeneration = w.ur.Generation
	if !plan.Ended(st.Phase) {
		if st.Phase == "" {
			st.Phase = v1alpha1.PhasePending
		}
		reason, status := v1alpha1.ReasonRunning, metav1.ConditionTrue
		if !plan.Started(*st) {
			reason, status = v1alpha1.ReasonQueued, metav1.ConditionFalse
		}
		message := "phase " + string(st.Phase)
		w.condition(v1alpha1.ConditionProgressing, status, reason, message)
		w.condition(v1alpha1.ConditionSucceeded, metav1.ConditionUnknown, reason, message)
		w.stalled()
	}
	if st.Backup != "" {
		w.condition(v1alpha1.ConditionBackedUp, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "backup "+st.Backup+" is whole")
	}
	for _, s := range st.Steps {
		if s.Name == v1alpha1.StepBackup && s.State == v1alpha1.StepFailed && st.Backup == "" {
			w.condition(v1alpha1.ConditionBackedUp, metav1.ConditionFalse, v1alpha1.ReasonBackupFailed, s.Message)
		}
		if s.Name != v1alpha1.StepRollback {
			continue
		}
		switch s.State {
		case v1alpha1.StepSucceeded:
			w.condition(v1alpha1.ConditionRolledBack, metav1.ConditionTrue, v1alpha1.ReasonRolledBack, "the changes were undone")
		case v1alpha1.StepFailed:
			w.condition(v1alpha1.ConditionRolledBack, metav1.ConditionFalse, v1alpha1.ReasonRollbackFailed, s.Message)
		default:
			w.condition(v1alpha1.ConditionRolledBack, metav1.ConditionUnknown, v1alpha1.ReasonRunning, "going back")
		}
	}
}

// stalled says whether the request waits for a person or a disturbance to end.
func (w *statusWriter) stalled() {
	st := &w.ur.Status
	for _, s := range st.Steps {
		if plan.Retries(s) {
			w.condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, s.Reason, limit(s.Message))
			return
		}
	}
	meta.RemoveStatusCondition(&st.Conditions, v1alpha1.ConditionStalled)
}

func (w *statusWriter) condition(typ string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&w.ur.Status.Conditions, metav1.Condition{
		Type: typ, Status: status, Reason: reason, Message: limit(message),
		ObservedGeneration: w.ur.Generation, LastTransitionTime: metav1.NewTime(w.now),
	})
}

// emit tells as Events what people follow.
func (r *UpdateRequestReconciler) emit(before, after *v1alpha1.UpdateRequest, d plan.Decision) {
	r.emitHooks(before, after)
	if before.Status.Phase == after.Status.Phase {
		return
	}
	kind, action := corev1.EventTypeNormal, string(after.Status.Phase)
	switch after.Status.Phase {
	case v1alpha1.PhaseFailed, v1alpha1.PhaseRolledBack, v1alpha1.PhaseRollingBack:
		kind = corev1.EventTypeWarning
	}
	reason := string(after.Status.Phase)
	if d.Kind == plan.Finish && d.Reason != "" {
		reason = d.Reason
	}
	r.Events.Eventf(after, nil, kind, reason, action, "%s", eventNote(after.Status.Message))
}

// emitHooks tells of hooks that failed, also where that changes nothing else.
func (r *UpdateRequestReconciler) emitHooks(before, after *v1alpha1.UpdateRequest) {
	for _, h := range after.Status.Hooks {
		if h.State != v1alpha1.HookFailed {
			continue
		}
		if was := hooks.Find(&before.Status, h.Name, h.At, h.Service); was != nil && was.State == h.State && was.Attempt == h.Attempt {
			continue
		}
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, v1alpha1.ReasonHookFailed, "Hook", "%s",
			eventNote("the hook "+h.Name+" at "+string(h.At)+" "+h.Message))
	}
}

// eventNote keeps to the length that the API allows.
func eventNote(s string) string {
	const most = 1000
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// limit keeps a message to what the schema allows.
func limit(s string) string {
	const most = 30000
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func short(commit string) string { return steps.Short(commit) }
