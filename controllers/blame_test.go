// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// A commit is remembered as a failed one only for what it did itself.
func TestBlamesCommit(t *testing.T) {
	tests := []struct {
		step   v1alpha1.StepName
		reason string
		phase  v1alpha1.Phase
		want   bool
	}{
		{v1alpha1.StepBuild, v1alpha1.ReasonBuildFailed, v1alpha1.PhaseFailed, true},
		{v1alpha1.StepBuild, v1alpha1.ReasonNoSpace, v1alpha1.PhaseFailed, false},
		{v1alpha1.StepBuild, v1alpha1.ReasonPullFailed, v1alpha1.PhaseFailed, true},
		{v1alpha1.StepBuild, v1alpha1.ReasonRegistryUnauthorized, v1alpha1.PhaseFailed, false},
		{v1alpha1.StepRollout, v1alpha1.ReasonNoSpace, v1alpha1.PhaseRolledBack, false},
		{v1alpha1.StepRollout, v1alpha1.ReasonHostConflict, v1alpha1.PhaseRolledBack, false},
		{v1alpha1.StepRollout, v1alpha1.ReasonHealthCheckFailed, v1alpha1.PhaseRolledBack, true},
		{v1alpha1.StepRollout, v1alpha1.ReasonLocalEdits, v1alpha1.PhaseRolledBack, false},
		{v1alpha1.StepRollout, v1alpha1.ReasonCancelled, v1alpha1.PhaseCancelled, false},
		{v1alpha1.StepVerify, v1alpha1.ReasonVerifyFailed, v1alpha1.PhaseRolledBack, true},
		{v1alpha1.StepBackup, v1alpha1.ReasonBackupFailed, v1alpha1.PhaseFailed, false},
		{v1alpha1.StepPreflight, v1alpha1.ReasonPreflightFailed, v1alpha1.PhaseFailed, false},
	}
	for _, tt := range tests {
		st := v1alpha1.UpdateRequestStatus{Phase: tt.phase, Failure: &v1alpha1.FailureStatus{Step: tt.step, Reason: tt.reason}}
		if got := blamesCommit(&st); got != tt.want {
			t.Errorf("%s at %s: %v", tt.reason, tt.step, got)
		}
	}
}
