// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/report"
)

func steps(names ...v1alpha1.StepName) []v1alpha1.StepStatus {
	var out []v1alpha1.StepStatus
	for _, n := range names {
		out = append(out, v1alpha1.StepStatus{Name: n, State: v1alpha1.StepSucceeded})
	}
	return out
}

func fail(step v1alpha1.StepName, reason string) *v1alpha1.FailureStatus {
	return &v1alpha1.FailureStatus{Step: step, Reason: reason, Message: "TOP SECRET"}
}

func TestOf(t *testing.T) {
	t.Parallel()
	type status = v1alpha1.UpdateRequestStatus
	tests := map[string]struct {
		spec       v1alpha1.UpdateRequestSpec
		status     status
		blamed     bool
		outcome    report.Outcome // empty: nothing is told
		text       string
		commit     client.State
		deployment client.State
	}{
		"just created":           {status: status{}},
		"pending":                {status: status{Phase: v1alpha1.PhasePending, Commit: "c"}},
		"preflight":              {status: status{Phase: v1alpha1.PhasePreflight, Commit: "c"}},
		"commit not known":       {status: status{Phase: v1alpha1.PhaseFailed, Failure: fail(v1alpha1.StepPreflight, v1alpha1.ReasonCommitNotFound)}},
		"dry run":                {spec: v1alpha1.UpdateRequestSpec{DryRun: true}, status: status{Phase: v1alpha1.PhaseBackingUp, Commit: "c"}},
		"backing up":             {status: status{Phase: v1alpha1.PhaseBackingUp, Commit: "c"}, outcome: report.InProgress, text: "is being carried out", commit: "pending", deployment: "in_progress"},
		"cleaning up":            {status: status{Phase: v1alpha1.PhaseCleaningUp, Commit: "c"}, outcome: report.InProgress, text: "is being carried out", commit: "pending", deployment: "in_progress"},
		"rolling back":           {status: status{Phase: v1alpha1.PhaseRollingBack, Commit: "c"}, outcome: report.InProgress, text: "is being carried out", commit: "pending", deployment: "in_progress"},
		"succeeded":              {status: status{Phase: v1alpha1.PhaseSucceeded, Commit: "c", Duration: "1m3s"}, outcome: report.Succeeded, text: "runs, updated in 1m3s", commit: "success", deployment: "success"},
		"went back":              {spec: v1alpha1.UpdateRequestSpec{RollbackTo: &v1alpha1.LocalReference{Name: "r"}}, status: status{Phase: v1alpha1.PhaseSucceeded, Commit: "c"}, outcome: report.Succeeded, text: "runs again", commit: "success", deployment: "success"},
		"nothing to do":          {status: status{Phase: v1alpha1.PhaseSucceeded, Commit: "c", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionSucceeded, Reason: v1alpha1.ReasonUnchanged}}}},
		"refused, failed before": {status: status{Phase: v1alpha1.PhaseFailed, Commit: "c", Failure: fail(v1alpha1.StepPreflight, v1alpha1.ReasonCommitFailedBefore)}},
		"preflight failed": {
			status:  status{Phase: v1alpha1.PhaseFailed, Commit: "c", Failure: fail(v1alpha1.StepPreflight, v1alpha1.ReasonNoSpace), Steps: steps(v1alpha1.StepPreflight)},
			outcome: report.Failed, text: "NoSpace in step Preflight; nothing was changed", commit: "error", deployment: "error",
		},
		"build failed": {
			status: status{Phase: v1alpha1.PhaseFailed, Commit: "c", Failure: fail(v1alpha1.StepBuild, v1alpha1.ReasonBuildFailed), Steps: steps(v1alpha1.StepPreflight, v1alpha1.StepBuild)}, blamed: true,
			outcome: report.Blamed, text: "BuildFailed in step Build; nothing was changed", commit: "failure", deployment: "failure",
		},
		"rolled back": {
			status: status{Phase: v1alpha1.PhaseRolledBack, Commit: "c", Failure: fail(v1alpha1.StepRollout, v1alpha1.ReasonHealthCheckFailed), Steps: steps(v1alpha1.StepRollout)}, blamed: true,
			outcome: report.Blamed, text: "HealthCheckFailed in step Rollout; rolled back", commit: "failure", deployment: "failure",
		},
		"rollback failed": {
			status:  status{Phase: v1alpha1.PhaseFailed, Commit: "c", Failure: fail(v1alpha1.StepVerify, v1alpha1.ReasonVerifyFailed), Steps: steps(v1alpha1.StepRollout)},
			outcome: report.Failed, text: "VerifyFailed in step Verify; it could not be undone, somebody must look at it", commit: "error", deployment: "error",
		},
		"restore failed early": {
			status:  status{Phase: v1alpha1.PhaseFailed, Commit: "c", Failure: fail(v1alpha1.StepRestore, v1alpha1.ReasonRestoreFailed), Steps: []v1alpha1.StepStatus{{Name: v1alpha1.StepRestore, State: v1alpha1.StepFailed}}},
			outcome: report.Failed, text: "RestoreFailed in step Restore; nothing was changed", commit: "error", deployment: "error",
		},
		"restore failed": {
			status:  status{Phase: v1alpha1.PhaseFailed, Commit: "c", Backup: "b", Failure: fail(v1alpha1.StepRestore, v1alpha1.ReasonRestoreFailed), Steps: []v1alpha1.StepStatus{{Name: v1alpha1.StepRestore, State: v1alpha1.StepFailed}}},
			outcome: report.Failed, text: "RestoreFailed in step Restore; data was overwritten, somebody must look at it", commit: "error", deployment: "error",
		},
		"restored, not verified": {
			status:  status{Phase: v1alpha1.PhaseFailed, Commit: "c", Failure: fail(v1alpha1.StepVerify, v1alpha1.ReasonVerifyFailed), Steps: steps(v1alpha1.StepRestore)},
			outcome: report.Failed, text: "VerifyFailed in step Verify; data was overwritten, somebody must look at it", commit: "error", deployment: "error",
		},
		"cancelled": {
			status:  status{Phase: v1alpha1.PhaseCancelled, Commit: "c", Steps: steps(v1alpha1.StepPreflight, v1alpha1.StepBackup)},
			outcome: report.Cancelled, text: "was cancelled", commit: "error", deployment: "inactive",
		},
		"cancelled at once": {status: status{Phase: v1alpha1.PhaseCancelled, Commit: "c", Steps: steps(v1alpha1.StepPreflight)}},
		"superseded":        {status: status{Phase: v1alpha1.PhaseCancelled}},
	}
	for name, test := range tests {
		ur := &v1alpha1.UpdateRequest{Spec: test.spec, Status: test.status}
		got, ok := report.Of(ur, test.blamed)
		if ok != (test.outcome != "") {
			t.Errorf("%s: told %v, %+v", name, ok, got)
			continue
		}
		if !ok {
			continue
		}
		if got.Commit != "c" || got.Outcome != test.outcome || got.Description != test.text ||
			got.Outcome.CommitState() != test.commit || got.Outcome.DeploymentState() != test.deployment {
			t.Errorf("%s: got %+v, %s, %s", name, got, got.Outcome.CommitState(), got.Outcome.DeploymentState())
		}
		if strings.Contains(got.Description, "SECRET") || len(got.Description) > client.MaxDescription {
			t.Errorf("%s: the world is told %q", name, got.Description)
		}
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	ur := &v1alpha1.UpdateRequest{}
	if report.RecordOf(ur) != (report.Record{}) {
		t.Error("without an annotation there is a record")
	}
	r := report.Record{Status: client.StatePending, Deployment: 42, DeploymentStatus: client.StateInProgress}
	ur.Annotations = map[string]string{report.Annotation: r.String()}
	if got := report.RecordOf(ur); got != r {
		t.Errorf("read %+v", got)
	}
	ur.Annotations[report.Annotation] = `{"status":"pending","deployment":"x`
	if got := report.RecordOf(ur); got != (report.Record{}) {
		t.Errorf("a spoiled annotation is read as %+v", got)
	}
	both := &v1alpha1.GitHubSpec{CommitStatuses: true, Environment: "production"}
	missing := func(spec *v1alpha1.GitHubSpec, o report.Outcome, r report.Record, status, deployment bool) {
		t.Helper()
		if s, d := r.Missing(report.Report{Outcome: o}, spec); s != status || d != deployment {
			t.Errorf("%s of %+v: %v, %v", o, r, s, d)
		}
	}
	missing(both, report.InProgress, report.Record{}, true, true)
	missing(both, report.InProgress, r, false, false)
	missing(both, report.Succeeded, r, true, true)
	missing(&v1alpha1.GitHubSpec{CommitStatuses: true}, report.Succeeded, r, true, false)
	missing(&v1alpha1.GitHubSpec{Environment: "production"}, report.Succeeded, r, false, true)
	missing(&v1alpha1.GitHubSpec{}, report.Succeeded, r, false, false)
	r.GivenUp = "no"
	missing(both, report.Succeeded, r, false, false)
}
