// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// JobState is what the runner of jobs says of a request's job.
type JobState string

// Job states.
const (
	// JobNone means that no job of this process works on the request.
	JobNone JobState = ""
	// JobRunning means that a step runs.
	JobRunning JobState = "Running"
)

// RequestFacts is what Next decides from.
type RequestFacts struct {
	Spec   v1alpha1.UpdateRequestSpec
	Status v1alpha1.UpdateRequestStatus
	// Deleting says that the object is being deleted.
	Deleting bool
	// ApplicationFound is false when there is no such Application.
	ApplicationFound bool
	// ApplicationSuspended is the Application's spec.suspend.
	ApplicationSuspended bool
	// Ahead is the request that must end before this one may start.
	Ahead string
	// SupersededBy is a newer request that makes this one pointless as long
	// as it has not started.
	SupersededBy string
	Job          JobState
	// Unchanged says that preflight found nothing to do.
	Unchanged bool
}

// Kind is what is to be done with a request.
type Kind string

// Kinds of decision.
const (
	// Nothing: the request has ended.
	Nothing Kind = "Nothing"
	// WaitTurn: look again when something changes.
	WaitTurn Kind = "Wait"
	// RunStep: write the intent, then run Step.
	RunStep Kind = "RunStep"
	// SkipStep: record that Step is not needed.
	SkipStep Kind = "SkipStep"
	// AwaitJob: the step's job runs.
	AwaitJob Kind = "AwaitJob"
	// CancelJob: stop the job that runs.
	CancelJob Kind = "CancelJob"
	// Finish: end the request in Phase.
	Finish Kind = "Finish"
)

// Decision is the answer of Next.
type Decision struct {
	Kind    Kind
	Step    v1alpha1.StepName
	Phase   v1alpha1.Phase
	Reason  string
	Message string
}

// Steps of each kind of request in their order; the rollback is not among them.
var (
	updating = []v1alpha1.StepName{
		v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild,
		v1alpha1.StepRollout, v1alpha1.StepVerify, v1alpha1.StepCleanUp,
	}
	// The restore saves what it overwrites by itself, at the point where nothing
	// writes any more.
	restoring = []v1alpha1.StepName{v1alpha1.StepPreflight, v1alpha1.StepRestore, v1alpha1.StepVerify, v1alpha1.StepCleanUp}
	saving    = []v1alpha1.StepName{v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepCleanUp}
)

func forward(spec v1alpha1.UpdateRequestSpec) []v1alpha1.StepName {
	switch {
	case spec.RestoreFrom != nil:
		return restoring
	case spec.BackupOnly:
		return saving
	}
	return updating
}

// PhaseOf is the phase in which a step runs.
func PhaseOf(s v1alpha1.StepName) v1alpha1.Phase {
	switch s {
	case v1alpha1.StepPreflight:
		return v1alpha1.PhasePreflight
	case v1alpha1.StepBackup:
		return v1alpha1.PhaseBackingUp
	case v1alpha1.StepFetch:
		return v1alpha1.PhaseFetching
	case v1alpha1.StepBuild:
		return v1alpha1.PhaseBuilding
	case v1alpha1.StepRollout:
		return v1alpha1.PhaseRollingOut
	case v1alpha1.StepRestore:
		return v1alpha1.PhaseRestoring
	case v1alpha1.StepVerify:
		return v1alpha1.PhaseVerifying
	case v1alpha1.StepRollback:
		return v1alpha1.PhaseRollingBack
	default:
		return v1alpha1.PhaseCleaningUp
	}
}

// Ended reports whether p is final.
func Ended(p v1alpha1.Phase) bool {
	switch p {
	case v1alpha1.PhaseSucceeded, v1alpha1.PhaseRolledBack, v1alpha1.PhaseFailed, v1alpha1.PhaseCancelled:
		return true
	}
	return false
}

// Started reports whether a step of the request was begun.
func Started(st v1alpha1.UpdateRequestStatus) bool { return len(st.Steps) > 0 }

// Next says what comes next for a request, and why. A status is never trusted
// for what runs on the engine: every step looks for itself what an earlier
// attempt left.
func Next(f RequestFacts) Decision {
	d := next(f)
	if d.Kind == RunStep && !f.ApplicationFound && Started(f.Status) {
		return orphaned(f)
	}
	return d
}

func next(f RequestFacts) Decision {
	if Ended(f.Status.Phase) {
		return Decision{Kind: Nothing, Reason: "the request has ended"}
	}
	steps := map[v1alpha1.StepName]v1alpha1.StepStatus{}
	for _, s := range f.Status.Steps {
		steps[s.Name] = s
	}
	if f.Deleting || f.Spec.Cancel {
		if d, ok := cancel(f, steps); ok {
			return d
		}
	}
	if f.Job == JobRunning {
		return Decision{Kind: AwaitJob, Step: f.Status.Step, Reason: "the step runs"}
	}
	if f.Status.Failure != nil {
		return undo(f, steps)
	}
	if !Started(f.Status) {
		if d, ok := admit(f); ok {
			return d
		}
	}
	for _, name := range forward(f.Spec) {
		s := steps[name]
		if s.State == v1alpha1.StepSucceeded || s.State == v1alpha1.StepSkipped ||
			name == v1alpha1.StepCleanUp && s.State == v1alpha1.StepFailed {
			continue // a clean-up that failed never fails the update
		}
		if why := unneeded(f, name); why != "" {
			return Decision{Kind: SkipStep, Step: name, Reason: why}
		}
		// One that began goes on: it may have taken a container away.
		if f.Spec.Suspend && s.State == "" {
			return Decision{Kind: WaitTurn, Step: f.Status.Step, Reason: v1alpha1.ReasonSuspended,
				Message: fmt.Sprintf("suspended before step %s: set spec.suspend to false to go on", name)}
		}
		return Decision{Kind: RunStep, Step: name, Phase: PhaseOf(name), Reason: attemptReason(s)}
	}
	switch {
	case f.Spec.DryRun:
		return Decision{Kind: Finish, Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonDryRun,
			Message: "dry run: nothing was changed; status.plan says what would be done"}
	case f.Spec.BackupOnly:
		return Decision{Kind: Finish, Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonBackupMade,
			Message: "the backup " + f.Status.Backup + " is made; nothing else was changed"}
	case f.Unchanged:
		return Decision{Kind: Finish, Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonUnchanged,
			Message: "nothing changed: the application runs this state already"}
	default:
		return Decision{Kind: Finish, Phase: v1alpha1.PhaseSucceeded, Reason: v1alpha1.ReasonSucceeded}
	}
}

// admit holds a request back that may not start yet.
func admit(f RequestFacts) (Decision, bool) {
	switch {
	case f.SupersededBy != "":
		return Decision{Kind: Finish, Phase: v1alpha1.PhaseCancelled, Reason: v1alpha1.ReasonSuperseded,
			Message: "superseded by the newer request " + f.SupersededBy + " before it started; nothing was changed"}, true
	case !f.ApplicationFound:
		return Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonApplicationNotFound,
			Message: fmt.Sprintf("there is no Application %q in this namespace: create it, or delete this request", f.Spec.ApplicationRef.Name)}, true
	case f.Spec.Suspend:
		return Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonSuspended,
			Message: "suspended: set spec.suspend to false to start"}, true
	case f.ApplicationSuspended && !f.Spec.DryRun:
		return Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonSuspended,
			Message: "the Application is suspended: set its spec.suspend to false to start"}, true
	case f.Ahead != "" && !f.Spec.DryRun:
		return Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonQueued,
			Message: "waits for the request " + f.Ahead + " to end"}, true
	}
	return Decision{}, false
}

// cancel stops the work of a request that is not wanted any more. The rollback
// and the clean-up are finished in any case.
func cancel(f RequestFacts, steps map[v1alpha1.StepName]v1alpha1.StepStatus) (Decision, bool) {
	if f.Status.Failure != nil || steps[v1alpha1.StepVerify].State == v1alpha1.StepSucceeded {
		return Decision{}, false
	}
	if restore, begun := steps[v1alpha1.StepRestore]; begun {
		return cancelRestore(f, restore)
	}
	if f.Job == JobRunning {
		return Decision{Kind: CancelJob, Step: f.Status.Step, Reason: v1alpha1.ReasonCancelled, Message: "stopping the step"}, true
	}
	if Touched(f.Status) {
		return Decision{Kind: RunStep, Step: v1alpha1.StepRollback, Phase: v1alpha1.PhaseRollingBack,
			Reason: v1alpha1.ReasonCancelled, Message: "cancelled: what was changed is undone"}, true
	}
	return Decision{Kind: Finish, Phase: v1alpha1.PhaseCancelled, Reason: v1alpha1.ReasonCancelled,
		Message: "cancelled before anything was changed"}, true
}

// cancelRestore never stops a restore in the midst of it: half of a backup is
// worse than either state. Only one that meets a disturbance again and again is
// given up, between two attempts; what it says then is that it is not whole.
func cancelRestore(f RequestFacts, restore v1alpha1.StepStatus) (Decision, bool) {
	if f.Job == JobRunning || !Retries(restore) {
		return Decision{}, false
	}
	message := "cancelled while the restore could not go on (" + restore.Message + "): look at what runs, and ask for the restore again"
	if f.Status.Backup != "" {
		message += ", or for that of " + f.Status.Backup + ", which has what was there before"
	}
	return Decision{Kind: Finish, Phase: v1alpha1.PhaseFailed, Reason: v1alpha1.ReasonCancelled, Message: message}, true
}

// orphaned is for a request that began and whose Application was deleted: where
// to go on, and where to go back, is not known any more.
func orphaned(f RequestFacts) Decision {
	message := fmt.Sprintf("the Application %q was deleted while the request was carried out", f.Spec.ApplicationRef.Name)
	if !f.Deleting && !f.Spec.Cancel {
		return Decision{Kind: WaitTurn, Reason: v1alpha1.ReasonApplicationNotFound,
			Message: message + ": create it again to go on, or delete this request"}
	}
	return Decision{Kind: Finish, Phase: v1alpha1.PhaseFailed, Reason: v1alpha1.ReasonApplicationNotFound,
		Message: message + ": what was changed could not be undone; look at the containers of its project"}
}

// Touched reports whether containers or the working tree may have been
// changed.
func Touched(st v1alpha1.UpdateRequestStatus) bool {
	for _, s := range st.Steps {
		if s.Name == v1alpha1.StepRollout && s.State != v1alpha1.StepSkipped {
			return true
		}
	}
	return false
}

// Overwritten reports whether a return to a backup may have replaced data: its
// step came past the backup of what was there. Unlike what is [Touched], that is
// not undone.
func Overwritten(st v1alpha1.UpdateRequestStatus) bool {
	for _, s := range st.Steps {
		if s.Name == v1alpha1.StepRestore && s.State != v1alpha1.StepSkipped {
			return s.State == v1alpha1.StepSucceeded || st.Backup != ""
		}
	}
	return false
}

// undo finishes a request that failed: back to the previous release if
// something was touched, and the end. A rollback is never rolled back.
func undo(f RequestFacts, steps map[v1alpha1.StepName]v1alpha1.StepStatus) Decision {
	fail := f.Status.Failure
	end := func(p v1alpha1.Phase, reason, message string) Decision {
		return Decision{Kind: Finish, Phase: p, Reason: reason, Message: message}
	}
	if !Touched(f.Status) {
		return end(v1alpha1.PhaseFailed, fail.Reason, fail.Message)
	}
	if fail.Paused {
		return end(v1alpha1.PhaseFailed, fail.Reason, fail.Message+"; everything is left as it is, as the failure action is Pause: "+
			"update to a commit that works, or go back with spec.rollbackTo")
	}
	switch steps[v1alpha1.StepRollback].State {
	case v1alpha1.StepSucceeded:
		if fail.Reason == v1alpha1.ReasonCancelled {
			return end(v1alpha1.PhaseCancelled, fail.Reason, fail.Message)
		}
		return end(v1alpha1.PhaseRolledBack, fail.Reason, fail.Message)
	case v1alpha1.StepFailed:
		return end(v1alpha1.PhaseFailed, v1alpha1.ReasonRollbackFailed,
			fmt.Sprintf("%s; and going back failed: %s", fail.Message, steps[v1alpha1.StepRollback].Message))
	default:
		return Decision{Kind: RunStep, Step: v1alpha1.StepRollback, Phase: v1alpha1.PhaseRollingBack,
			Reason: fail.Reason, Message: fail.Message}
	}
}

// unneeded says why a step is left out.
func unneeded(f RequestFacts, name v1alpha1.StepName) string {
	if name == v1alpha1.StepPreflight {
		return ""
	}
	switch {
	case f.Spec.DryRun:
		return "dry run"
	case f.Unchanged:
		return "nothing changed"
	case f.Spec.RollbackTo != nil && (name == v1alpha1.StepFetch || name == v1alpha1.StepBuild):
		return "a release is gone back to without a build"
	}
	return ""
}

// Retries reports whether a step met a disturbance, or a full disk, and is tried again
// by itself.
func Retries(s v1alpha1.StepStatus) bool {
	return s.State == v1alpha1.StepInterrupted && (s.Reason == v1alpha1.ReasonRetrying || s.Reason == v1alpha1.ReasonNoSpace)
}

func attemptReason(s v1alpha1.StepStatus) string {
	switch s.State {
	case v1alpha1.StepRunning:
		return "was interrupted and goes on"
	case v1alpha1.StepInterrupted:
		return "is tried again"
	default:
		return "comes next"
	}
}
