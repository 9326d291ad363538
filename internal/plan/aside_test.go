// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// stepsTaken are the steps that a request takes when all goes well.
func stepsTaken(spec v1alpha1.UpdateRequestSpec) (taken []v1alpha1.StepName, end Decision) {
	f := RequestFacts{Spec: spec, ApplicationFound: true}
	f.Status.Backup = "backup_20260304_050607"
	for {
		d := Next(f)
		switch d.Kind {
		case RunStep:
			taken = append(taken, d.Step)
			f.Status.Steps = append(f.Status.Steps, v1alpha1.StepStatus{Name: d.Step, State: v1alpha1.StepSucceeded})
		case SkipStep:
			f.Status.Steps = append(f.Status.Steps, v1alpha1.StepStatus{Name: d.Step, State: v1alpha1.StepSkipped})
		default:
			return taken, d
		}
	}
}

func TestBackupAndRestoreTakeTheirOwnSteps(t *testing.T) {
	back := &v1alpha1.LocalReference{Name: "shop-1"}
	for _, c := range []struct {
		spec   v1alpha1.UpdateRequestSpec
		steps  []v1alpha1.StepName
		reason string
	}{
		{v1alpha1.UpdateRequestSpec{BackupOnly: true}, []v1alpha1.StepName{"Preflight", "Backup", "CleanUp"}, v1alpha1.ReasonBackupMade},
		{v1alpha1.UpdateRequestSpec{RestoreFrom: back}, []v1alpha1.StepName{"Preflight", "Restore", "Verify", "CleanUp"}, v1alpha1.ReasonSucceeded},
		{v1alpha1.UpdateRequestSpec{RestoreFrom: back, DryRun: true}, []v1alpha1.StepName{"Preflight"}, v1alpha1.ReasonDryRun},
		{v1alpha1.UpdateRequestSpec{BackupOnly: true, DryRun: true}, []v1alpha1.StepName{"Preflight"}, v1alpha1.ReasonDryRun},
	} {
		taken, end := stepsTaken(c.spec)
		if !slices.Equal(taken, c.steps) || end.Kind != Finish || end.Phase != v1alpha1.PhaseSucceeded || end.Reason != c.reason {
			t.Errorf("%+v: %v, then %+v", c.spec, taken, end)
		}
	}
}

func TestRestoreIsNotStoppedInTheMidst(t *testing.T) {
	f := RequestFacts{Spec: v1alpha1.UpdateRequestSpec{RestoreFrom: &v1alpha1.LocalReference{Name: "shop-1"}, Cancel: true}, ApplicationFound: true}
	if d := Next(f); d.Kind != Finish || d.Phase != v1alpha1.PhaseCancelled {
		t.Errorf("before it began: %+v", d)
	}
	f.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepPreflight, State: v1alpha1.StepRunning}}
	f.Job = JobRunning
	if d := Next(f); d.Kind != CancelJob {
		t.Errorf("in its preflight: %+v", d)
	}
	restore := v1alpha1.StepStatus{Name: v1alpha1.StepRestore, State: v1alpha1.StepRunning}
	state := func(s v1alpha1.StepState, reason string) {
		restore.State, restore.Reason, restore.Message = s, reason, "the engine is away"
		f.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepPreflight, State: v1alpha1.StepSucceeded}, restore}
	}
	state(v1alpha1.StepRunning, "")
	if d := Next(f); d.Kind != AwaitJob {
		t.Errorf("while it restores: %+v", d)
	}
	f.Job = JobNone
	if d := Next(f); d.Kind != RunStep || d.Step != v1alpha1.StepRestore {
		t.Errorf("after the daemon was killed: %+v", d)
	}
	f.Status.Backup = "backup_20260304_050607"
	state(v1alpha1.StepInterrupted, v1alpha1.ReasonRetrying)
	if d := Next(f); d.Kind != Finish || d.Phase != v1alpha1.PhaseFailed || d.Reason != v1alpha1.ReasonCancelled || d.Message == "" {
		t.Errorf("between two attempts: %+v", d)
	}
	f.Spec.Cancel = false
	f.Status.Failure = &v1alpha1.FailureStatus{Step: v1alpha1.StepRestore, Reason: v1alpha1.ReasonRestoreFailed, Message: "why"}
	if d := Next(f); d.Kind != Finish || d.Phase != v1alpha1.PhaseFailed || d.Reason != v1alpha1.ReasonRestoreFailed {
		t.Errorf("after it failed: %+v", d)
	}
}
