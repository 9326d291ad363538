// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func ended(names ...v1alpha1.StepName) []v1alpha1.StepStatus {
	var out []v1alpha1.StepStatus
	for _, n := range names {
		out = append(out, v1alpha1.StepStatus{Name: n, State: v1alpha1.StepSucceeded})
	}
	return out
}

func TestNext(t *testing.T) {
	pre, bk, fe, bu, ro, ve, cl, rb := v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild,
		v1alpha1.StepRollout, v1alpha1.StepVerify, v1alpha1.StepCleanUp, v1alpha1.StepRollback
	facts := func(change ...func(*RequestFacts)) RequestFacts {
		f := RequestFacts{ApplicationFound: true}
		f.Spec.ApplicationRef.Name = "shop"
		for _, c := range change {
			c(&f)
		}
		return f
	}
	steps := func(s ...v1alpha1.StepStatus) func(*RequestFacts) {
		return func(f *RequestFacts) { f.Status.Steps = append(f.Status.Steps, s...) }
	}
	done := func(n ...v1alpha1.StepName) func(*RequestFacts) { return steps(ended(n...)...) }
	step := func(n v1alpha1.StepName, s v1alpha1.StepState) v1alpha1.StepStatus {
		return v1alpha1.StepStatus{Name: n, State: s}
	}
	fail := func(n v1alpha1.StepName, reason string) func(*RequestFacts) {
		return func(f *RequestFacts) {
			f.Status.Failure = &v1alpha1.FailureStatus{Step: n, Reason: reason, Message: "why"}
		}
	}
	cancelled := func(f *RequestFacts) { f.Spec.Cancel = true }
	gone := func(f *RequestFacts) { f.ApplicationFound = false }
	busy := func(f *RequestFacts) { f.Job = JobRunning }
	tests := []struct {
		name  string
		facts RequestFacts
		want  Decision
	}{
		{"ended", facts(func(f *RequestFacts) { f.Status.Phase = v1alpha1.PhaseSucceeded }), Decision{Kind: Nothing}},
		{"first step", facts(), Decision{Kind: RunStep, Step: pre, Phase: v1alpha1.PhasePreflight}},
		{"no application", facts(func(f *RequestFacts) { f.ApplicationFound = false }), Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonApplicationNotFound}},
		{"queued", facts(func(f *RequestFacts) { f.Ahead = "a" }), Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonQueued}},
		{"dry runs do not queue", facts(func(f *RequestFacts) { f.Ahead, f.Spec.DryRun = "a", true }), Decision{Kind: RunStep, Step: pre, Phase: v1alpha1.PhasePreflight}},
		{"superseded", facts(func(f *RequestFacts) { f.Ahead, f.SupersededBy = "a", "c" }), Decision{Kind: Finish, Phase: v1alpha1.PhaseCancelled, Reason: v1alpha1.ReasonSuperseded}},
		{"suspended", facts(func(f *RequestFacts) { f.Spec.Suspend = true }), Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonSuspended}},
		{"application suspended", facts(func(f *RequestFacts) { f.ApplicationSuspended = true }), Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonSuspended}},
		{"suspended in between", facts(done(pre), func(f *RequestFacts) { f.Spec.Suspend = true }), Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonSuspended}},
		{"suspended, and a step was interrupted", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepRunning)), func(f *RequestFacts) { f.Spec.Suspend = true }),
			Decision{Kind: RunStep, Step: ro, Phase: v1alpha1.PhaseRollingOut}},
		{"suspended, and a step is tried again", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepInterrupted)), func(f *RequestFacts) { f.Spec.Suspend = true }),
			Decision{Kind: RunStep, Step: ro, Phase: v1alpha1.PhaseRollingOut}},
		{"a step runs", facts(steps(step(pre, v1alpha1.StepRunning)), busy), Decision{Kind: AwaitJob}},
		{"a step was interrupted", facts(done(pre), steps(step(bk, v1alpha1.StepRunning))), Decision{Kind: RunStep, Step: bk, Phase: v1alpha1.PhaseBackingUp}},
		{"dry run skips", facts(done(pre), func(f *RequestFacts) { f.Spec.DryRun = true }), Decision{Kind: SkipStep, Step: bk}},
		{"unchanged skips", facts(done(pre), func(f *RequestFacts) { f.Unchanged = true }), Decision{Kind: SkipStep, Step: bk}},
		{"rollback request skips fetch", facts(done(pre, bk), func(f *RequestFacts) { f.Spec.RollbackTo = &v1alpha1.LocalReference{Name: "r"} }), Decision{Kind: SkipStep, Step: fe}},
		{"rollout comes after build", facts(done(pre, bk, fe, bu)), Decision{Kind: RunStep, Step: ro, Phase: v1alpha1.PhaseRollingOut}},
		{"all done", facts(done(pre, bk, fe, bu, ro, ve, cl)), Decision{Kind: Finish, Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonSucceeded}},
		{"failed before anything was touched", facts(done(pre, bk, fe), steps(step(bu, v1alpha1.StepFailed)), fail(bu, v1alpha1.ReasonBuildFailed)),
			Decision{Kind: Finish, Phase: v1alpha1.PhaseFailed, Reason: v1alpha1.ReasonBuildFailed}},
		{"rollout failed", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepFailed)), fail(ro, v1alpha1.ReasonHealthCheckFailed)),
			Decision{Kind: RunStep, Step: rb, Phase: v1alpha1.PhaseRollingBack, Reason: v1alpha1.ReasonHealthCheckFailed}},
		{"failed and paused", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepFailed)), fail(ro, v1alpha1.ReasonHealthCheckFailed),
			func(f *RequestFacts) { f.Status.Failure.Paused = true }), Decision{Kind: Finish, Phase: v1alpha1.PhaseFailed, Reason: v1alpha1.ReasonHealthCheckFailed}},
		{"rollback interrupted", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepFailed), step(rb, v1alpha1.StepRunning)), fail(ro, v1alpha1.ReasonHealthCheckFailed)),
			Decision{Kind: RunStep, Step: rb, Phase: v1alpha1.PhaseRollingBack, Reason: v1alpha1.ReasonHealthCheckFailed}},
		{"rolled back", facts(done(pre, bk, fe, bu, rb), steps(step(ro, v1alpha1.StepFailed)), fail(ro, v1alpha1.ReasonHealthCheckFailed)),
			Decision{Kind: Finish, Phase: v1alpha1.PhaseRolledBack, Reason: v1alpha1.ReasonHealthCheckFailed}},
		{"a rollback is never rolled back", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepFailed), step(rb, v1alpha1.StepFailed)), fail(ro, v1alpha1.ReasonHealthCheckFailed)),
			Decision{Kind: Finish, Phase: v1alpha1.PhaseFailed, Reason: v1alpha1.ReasonRollbackFailed}},
		{"cancelled in the queue", facts(cancelled), Decision{Kind: Finish, Phase: v1alpha1.PhaseCancelled, Reason: v1alpha1.ReasonCancelled}},
		{"cancelled while a step runs", facts(done(pre), steps(step(bk, v1alpha1.StepRunning)), cancelled, busy), Decision{Kind: CancelJob, Reason: v1alpha1.ReasonCancelled}},
		{"cancelled before the rollout", facts(done(pre), steps(step(bk, v1alpha1.StepInterrupted)), cancelled), Decision{Kind: Finish, Phase: v1alpha1.PhaseCancelled, Reason: v1alpha1.ReasonCancelled}},
		{"cancelled in the rollout", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepInterrupted)), cancelled),
			Decision{Kind: RunStep, Step: rb, Phase: v1alpha1.PhaseRollingBack, Reason: v1alpha1.ReasonCancelled}},
		{"cancelled and undone", facts(done(pre, bk, fe, bu, rb), steps(step(ro, v1alpha1.StepInterrupted)), cancelled, fail(ro, v1alpha1.ReasonCancelled)),
			Decision{Kind: Finish, Phase: v1alpha1.PhaseCancelled, Reason: v1alpha1.ReasonCancelled}},
		{"a rollback is not cancelled", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepFailed), step(rb, v1alpha1.StepRunning)), cancelled, busy, fail(ro, v1alpha1.ReasonHealthCheckFailed)),
			Decision{Kind: AwaitJob}},
		{"too late to cancel", facts(done(pre, bk, fe, bu, ro, ve), cancelled), Decision{Kind: RunStep, Step: cl, Phase: v1alpha1.PhaseCleaningUp}},
		{"deleted while a step runs", facts(done(pre), steps(step(bk, v1alpha1.StepRunning)), busy, func(f *RequestFacts) { f.Deleting = true }), Decision{Kind: CancelJob, Reason: v1alpha1.ReasonCancelled}},
		{"the application was deleted in the rollout", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepInterrupted)), gone),
			Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonApplicationNotFound}},
		{"and the request too", facts(done(pre, bk, fe, bu), steps(step(ro, v1alpha1.StepInterrupted)), gone, cancelled),
			Decision{Kind: Finish, Phase: v1alpha1.PhaseFailed, Reason: v1alpha1.ReasonApplicationNotFound}},
		{"before anything was changed", facts(done(pre), steps(step(bk, v1alpha1.StepInterrupted)), gone, cancelled),
			Decision{Kind: Finish, Phase: v1alpha1.PhaseCancelled, Reason: v1alpha1.ReasonCancelled}},
		{"the step stops first", facts(done(pre), steps(step(bk, v1alpha1.StepRunning)), gone, cancelled, busy),
			Decision{Kind: CancelJob, Reason: v1alpha1.ReasonCancelled}},
		{"the application was deleted at the end", facts(done(pre, bk, fe, bu, ro, ve, cl), gone),
			Decision{Kind: Finish, Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonSucceeded}},
		{"a clean-up that failed", facts(done(pre, bk, fe, bu, ro, ve), steps(step(cl, v1alpha1.StepFailed))),
			Decision{Kind: Finish, Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonSucceeded}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Next(tt.facts)
			if got.Kind != tt.want.Kind || tt.want.Step != "" && got.Step != tt.want.Step || got.Phase != tt.want.Phase ||
				tt.want.Reason != "" && got.Reason != tt.want.Reason {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
