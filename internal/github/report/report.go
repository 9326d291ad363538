// SPDX-License-Identifier: Apache-2.0

// Package report decides what GitHub is told of an UpdateRequest. It is pure.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Annotation of an UpdateRequest has, as a Record, what GitHub was told of it.
const Annotation = v1alpha1.AnnotationGitHubReported

// Outcome is how far an update is, as far as GitHub is concerned.
type Outcome string

// Outcomes.
const (
	// InProgress: it is being carried out, or undone.
	InProgress Outcome = "InProgress"
	// Succeeded: the commit runs.
	Succeeded Outcome = "Succeeded"
	// Blamed: it failed by the commit.
	Blamed Outcome = "Blamed"
	// Failed: it failed by something else.
	Failed Outcome = "Failed"
	// Cancelled: somebody stopped it.
	Cancelled Outcome = "Cancelled"
)

// Report is what GitHub is to be told.
type Report struct {
	// Commit that the request is about, as a full SHA.
	Commit  string
	Outcome Outcome
	// Description for people. Whoever may read the repository reads it, so it has
	// the kind of an error only, never its message.
	Description string
}

// Of is what is to be told of a request; false if nothing is, or not yet: the
// commit is not known, or it is not known whether there is anything to do, or
// there was nothing, or it is a dry run. blamed says that a failure is the
// commit's.
func Of(ur *v1alpha1.UpdateRequest, blamed bool) (Report, bool) {
	st := &ur.Status
	r := Report{Commit: st.Commit}
	if ur.Spec.DryRun || ur.Spec.BackupOnly || st.Commit == "" {
		return r, false
	}
	switch st.Phase {
	case v1alpha1.PhaseBackingUp, v1alpha1.PhaseFetching, v1alpha1.PhaseBuilding, v1alpha1.PhaseRollingOut, v1alpha1.PhaseRestoring, v1alpha1.PhaseVerifying,
		v1alpha1.PhaseCleaningUp, v1alpha1.PhaseRollingBack:
		r.Outcome, r.Description = InProgress, "is being carried out"
	case v1alpha1.PhaseSucceeded:
		if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionSucceeded); c != nil && c.Reason == v1alpha1.ReasonUnchanged {
			return r, false
		}
		r.Outcome, r.Description = Succeeded, "runs"+in(st.Duration)
		if ur.Spec.RollbackTo != nil || ur.Spec.RestoreFrom != nil {
			r.Description = "runs again" + in(st.Duration)
		}
	case v1alpha1.PhaseRolledBack, v1alpha1.PhaseFailed:
		if st.Failure != nil && st.Failure.Reason == v1alpha1.ReasonCommitFailedBefore {
			return r, false // what it was told then stays true
		}
		r.Outcome, r.Description = Failed, failed(st)
		if blamed {
			r.Outcome = Blamed
		}
	case v1alpha1.PhaseCancelled:
		if !begun(st) {
			return r, false
		}
		r.Outcome, r.Description = Cancelled, "was cancelled"
	default:
		return r, false
	}
	return r, true
}

func in(duration string) string {
	if duration == "" {
		return ""
	}
	return ", updated in " + duration
}

func failed(st *v1alpha1.UpdateRequestStatus) string {
	step, reason := st.Step, string(v1alpha1.PhaseFailed)
	if st.Failure != nil {
		step, reason = st.Failure.Step, cmp.Or(st.Failure.Reason, reason)
	}
	what := fmt.Sprintf("%s in step %s", reason, step)
	switch {
	case st.Phase == v1alpha1.PhaseRolledBack:
		return what + "; rolled back"
	case plan.Overwritten(*st):
		return what + "; data was overwritten, somebody must look at it"
	case plan.Touched(*st):
		return what + "; it could not be undone, somebody must look at it"
	}
	return what + "; nothing was changed"
}

// begun reports whether more was done than looking.
func begun(st *v1alpha1.UpdateRequestStatus) bool {
	for _, s := range st.Steps {
		if s.Name != v1alpha1.StepPreflight && s.State != v1alpha1.StepSkipped {
			return true
		}
	}
	return false
}

// CommitState is the outcome as the state of a commit status.
func (o Outcome) CommitState() client.State {
	switch o {
	case InProgress:
		return client.StatePending
	case Succeeded:
		return client.StateSuccess
	case Blamed:
		return client.StateFailure
	case Failed, Cancelled:
	}
	return client.StateError
}

// DeploymentState is the outcome as the state of a deployment.
func (o Outcome) DeploymentState() client.State {
	switch o {
	case InProgress:
		return client.StateInProgress
	case Cancelled:
		return client.StateInactive
	case Succeeded, Blamed, Failed:
	}
	return o.CommitState()
}

// Record is what GitHub was told of a request.
type Record struct {
	// Status that the commit was given last.
	Status client.State `json:"status,omitempty"`
	// Deployment by GitHub's ID, and the status it was given last.
	Deployment       int64        `json:"deployment,omitempty"`
	DeploymentStatus client.State `json:"deploymentStatus,omitempty"`
	// GivenUp says why no more is told of it.
	GivenUp string `json:"givenUp,omitempty"`
}

// RecordOf reads the annotation. One that somebody has spoiled counts as none.
func RecordOf(ur *v1alpha1.UpdateRequest) Record {
	var r Record
	if json.Unmarshal([]byte(ur.Annotations[Annotation]), &r) != nil {
		return Record{}
	}
	return r
}

// String is the value of the annotation.
func (r Record) String() string {
	out, _ := json.Marshal(r) // plain values
	return string(out)
}

// Missing reports whether the commit status, and the deployment, are to be written.
func (r Record) Missing(want Report, spec *v1alpha1.GitHubSpec) (status, deployment bool) {
	if r.GivenUp != "" {
		return false, false
	}
	return spec.CommitStatuses && r.Status != want.Outcome.CommitState(),
		spec.Environment != "" && r.DeploymentStatus != want.Outcome.DeploymentState()
}
