// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// UpdateRequestSpec is one wish: bring an application to a commit, back to a
// release, or back to a backup; or only make a backup.
//
// +kubebuilder:validation:XValidation:rule="self.applicationRef == oldSelf.applicationRef",message="applicationRef cannot be changed: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="has(self.commit) == has(oldSelf.commit) && (!has(self.commit) || self.commit == oldSelf.commit)",message="commit cannot be changed: create a new UpdateRequest for another commit"
// +kubebuilder:validation:XValidation:rule="has(self.rollbackTo) == has(oldSelf.rollbackTo) && (!has(self.rollbackTo) || self.rollbackTo == oldSelf.rollbackTo)",message="rollbackTo cannot be changed: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="has(self.restoreFrom) == has(oldSelf.restoreFrom) && (!has(self.restoreFrom) || self.restoreFrom == oldSelf.restoreFrom)",message="restoreFrom cannot be changed: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="(has(self.backupOnly) && self.backupOnly) == (has(oldSelf.backupOnly) && oldSelf.backupOnly)",message="backupOnly cannot be changed: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="(has(self.dryRun) && self.dryRun) == (has(oldSelf.dryRun) && oldSelf.dryRun)",message="dryRun cannot be changed: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="(has(self.force) && self.force) == (has(oldSelf.force) && oldSelf.force)",message="force cannot be changed: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="has(self.profiles) == has(oldSelf.profiles) && (!has(self.profiles) || self.profiles == oldSelf.profiles)",message="profiles cannot be changed: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="has(self.variables) == has(oldSelf.variables) && (!has(self.variables) || self.variables == oldSelf.variables)",message="variables cannot be changed: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",message="a cancelled request cannot be taken up again: create a new UpdateRequest"
// +kubebuilder:validation:XValidation:rule="!(has(self.commit) && has(self.rollbackTo))",message="name either a commit or a release in rollbackTo, not both"
// +kubebuilder:validation:XValidation:rule="!has(self.restoreFrom) || !has(self.commit) && !has(self.rollbackTo)",message="a backup has its own commit: name in restoreFrom alone what to go back to"
// +kubebuilder:validation:XValidation:rule="!has(self.backupOnly) || !self.backupOnly || !has(self.commit) && !has(self.rollbackTo) && !has(self.restoreFrom)",message="backupOnly changes nothing: leave out commit, rollbackTo and restoreFrom"
type UpdateRequestSpec struct {
	// applicationRef names the Application in the same namespace. It cannot
	// be changed.
	// +required
	ApplicationRef LocalReference `json:"applicationRef"`

	// commit to bring the application to: a SHA (four characters or more), a
	// branch or a tag. Empty means the head of the Application's source.ref.
	// Not together with rollbackTo. It cannot be changed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_./@+][A-Za-z0-9_./@+-]*$') && !self.contains('..') && !self.contains('@{')",message="commit must be a SHA, a branch or a tag"
	// +optional
	Commit string `json:"commit,omitempty"`

	// rollbackTo names a Release to go back to, without a build. Instead of
	// commit. It cannot be changed.
	// +optional
	RollbackTo *LocalReference `json:"rollbackTo,omitempty"`

	// restoreFrom names a Backup to go back to: code, settings, volumes and
	// databases become what they were. What is there now is saved first, as a
	// Backup of its own. The application is down meanwhile. Instead of commit. It
	// cannot be changed.
	// +optional
	RestoreFrom *LocalReference `json:"restoreFrom,omitempty"`

	// backupOnly makes a Backup of what runs, and changes nothing. It cannot be
	// changed.
	// +optional
	BackupOnly bool `json:"backupOnly,omitempty"`

	// profiles of the Compose file that are active for this request besides the
	// Application's. They cannot be changed.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=255
	// +listType=set
	// +optional
	Profiles []string `json:"profiles,omitempty"`

	// variables go before those of the Application and of the environment files
	// where the Compose files are interpolated, for this request. The
	// Application's compose.requestVariables has to name them. They are not for
	// secrets. They cannot be changed.
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.startsWith('COMPOSE_') && !name.startsWith('DOCKER_') && name != 'PWD')",message="a request cannot set COMPOSE_*, DOCKER_* or PWD, which say which application it is"
	// +optional
	Variables map[string]string `json:"variables,omitempty"`

	// dryRun finds out what would be done, writes it to status.plan, and
	// changes nothing. Images are not built, so that a service may be shown as
	// replaced that is kept in the end.
	// +optional
	DryRun bool `json:"dryRun,omitempty"`

	// force builds every image and replaces every service, changed or not,
	// and also tries a commit again that failed before.
	// +optional
	Force bool `json:"force,omitempty"`

	// retry tries a commit again that failed before: a person's word that
	// the cause is mended. Without it such a request is refused; the
	// Application's status.failedCommits lists these commits.
	// +optional
	Retry bool `json:"retry,omitempty"`

	// suspend keeps the request from starting, and a request that runs from
	// beginning its next step, until it is false again.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// cancel ends the request. What it changed so far is undone. A request
	// that has ended is not affected.
	// +optional
	Cancel bool `json:"cancel,omitempty"`
}

// Phase is where an UpdateRequest is.
// +kubebuilder:validation:Enum=Pending;Preflight;BackingUp;Fetching;Building;RollingOut;Restoring;Verifying;CleaningUp;RollingBack;Succeeded;RolledBack;Failed;Cancelled
type Phase string

// Phases. Succeeded, RolledBack, Failed and Cancelled are final.
const (
	PhasePending     Phase = "Pending"
	PhasePreflight   Phase = "Preflight"
	PhaseBackingUp   Phase = "BackingUp"
	PhaseFetching    Phase = "Fetching"
	PhaseBuilding    Phase = "Building"
	PhaseRollingOut  Phase = "RollingOut"
	PhaseRestoring   Phase = "Restoring"
	PhaseVerifying   Phase = "Verifying"
	PhaseCleaningUp  Phase = "CleaningUp"
	PhaseRollingBack Phase = "RollingBack"
	PhaseSucceeded   Phase = "Succeeded"
	PhaseRolledBack  Phase = "RolledBack"
	PhaseFailed      Phase = "Failed"
	PhaseCancelled   Phase = "Cancelled"
)

// StepName names a step of an update.
// +kubebuilder:validation:Enum=Preflight;Backup;Fetch;Build;Rollout;Restore;Verify;Rollback;CleanUp
type StepName string

// Steps, in their usual order.
const (
	StepPreflight StepName = "Preflight"
	StepBackup    StepName = "Backup"
	StepFetch     StepName = "Fetch"
	StepBuild     StepName = "Build"
	StepRollout   StepName = "Rollout"
	StepRestore   StepName = "Restore"
	StepVerify    StepName = "Verify"
	StepRollback  StepName = "Rollback"
	StepCleanUp   StepName = "CleanUp"
)

// StepState is how far a step is.
// +kubebuilder:validation:Enum=Running;Succeeded;Failed;Skipped;Interrupted
type StepState string

// Step states. Running is written before the step's first side effect.
const (
	StepRunning     StepState = "Running"
	StepSucceeded   StepState = "Succeeded"
	StepFailed      StepState = "Failed"
	StepSkipped     StepState = "Skipped"
	StepInterrupted StepState = "Interrupted"
)

// StepStatus is what became of one step.
type StepStatus struct {
	// name of the step.
	Name StepName `json:"name"`
	// state: Running, Succeeded, Failed, Skipped or Interrupted.
	State StepState `json:"state"`
	// attempt counts the starts of the step, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// startedAt is when the first attempt started.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// finishedAt is when the last attempt ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// reason is a word for why the step failed or was skipped.
	// +optional
	Reason string `json:"reason,omitempty"`
	// message tells a person what happened.
	// +kubebuilder:validation:MaxLength=32768
	// +optional
	Message string `json:"message,omitempty"`
	// progress of a step that runs, where it can be measured: of a backup, and of
	// the builds and pulls of images.
	// +optional
	Progress *StepProgress `json:"progress,omitempty"`
}

// CheckResult is the outcome of one preflight check.
type CheckResult struct {
	// name of the check.
	Name string `json:"name"`
	// result: Passed, Warning, Failed, or Skipped where an earlier check failed
	// without which this one could not be made.
	// +kubebuilder:validation:Enum=Passed;Warning;Failed;Skipped
	Result string `json:"result"`
	// message tells what was found and, if it failed, what to do.
	// +optional
	Message string `json:"message,omitempty"`
}

// Change is one commit between the running one and the wanted one.
type Change struct {
	// commit, full SHA.
	Commit string `json:"commit"`
	// subject is its first line.
	// +optional
	Subject string `json:"subject,omitempty"`
	// author is its author's name.
	// +optional
	Author string `json:"author,omitempty"`
	// time at which it was committed.
	// +optional
	Time metav1.Time `json:"time,omitzero"`
	// url of a page that shows it, where the source's host has one.
	// +optional
	URL string `json:"url,omitempty"`
}

// RollbackStatus says what was undone.
type RollbackStatus struct {
	// release that was gone back to.
	// +optional
	Release string `json:"release,omitempty"`
	// commit that was gone back to.
	// +optional
	Commit string `json:"commit,omitempty"`
	// reason why the update was undone.
	// +optional
	Reason string `json:"reason,omitempty"`
	// message tells what happened, and from which backup data could be
	// restored: data is never restored by itself.
	// +optional
	Message string `json:"message,omitempty"`
}

// HookState is how far a run of a hook is.
// +kubebuilder:validation:Enum=Running;Succeeded;Failed;Skipped
type HookState string

// Hook states. Running is written before the hook runs.
const (
	HookRunning   HookState = "Running"
	HookSucceeded HookState = "Succeeded"
	HookFailed    HookState = "Failed"
	// HookSkipped says that there was no container yet to run a command in.
	HookSkipped HookState = "Skipped"
)

// HookStatus is what became of a hook at one moment.
type HookStatus struct {
	// name of the hook.
	Name string `json:"name"`
	// at is the moment.
	At HookPoint `json:"at"`
	// service, at BeforeService and AfterService.
	// +optional
	Service string `json:"service,omitempty"`
	// state: Running, Succeeded, Failed or Skipped.
	State HookState `json:"state"`
	// attempt counts the starts of the hook, from 1: it is run again when it is
	// not known that it ended.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// message tells a person why it failed.
	// +optional
	Message string `json:"message,omitempty"`
	// finishedAt is when it ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
}

// UpdateRequestStatus is all that became of a request.
type UpdateRequestStatus struct {
	// observedGeneration is the generation of the spec that this status
	// belongs to.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// phase the request is in.
	// +optional
	Phase Phase `json:"phase,omitempty"`

	// step that runs, or ran last.
	// +optional
	Step StepName `json:"step,omitempty"`

	// message tells in one sentence where the request is or how it ended.
	// +kubebuilder:validation:MaxLength=32768
	// +optional
	Message string `json:"message,omitempty"`

	// id of the run, YYYYMMDD_HHMMSS: its backup and its log file carry it.
	// +optional
	ID string `json:"id,omitempty"`

	// commit is the full SHA that the wish was resolved to.
	// +optional
	Commit string `json:"commit,omitempty"`

	// previousCommit is the full SHA that ran before.
	// +optional
	PreviousCommit string `json:"previousCommit,omitempty"`

	// previousTree is the full SHA that was checked out before.
	// +optional
	PreviousTree string `json:"previousTree,omitempty"`

	// previousRelease is the Release that ran before, and that a failure
	// leads back to.
	// +optional
	PreviousRelease string `json:"previousRelease,omitempty"`

	// release that this request made, once it succeeded.
	// +optional
	Release string `json:"release,omitempty"`

	// backup made for this request.
	// +optional
	Backup string `json:"backup,omitempty"`

	// backupPath is the directory of that backup on the host.
	// +optional
	BackupPath string `json:"backupPath,omitempty"`

	// logFile is the request's log file on the host.
	// +optional
	LogFile string `json:"logFile,omitempty"`

	// seenVersion is the resourceVersion that the request had when the
	// controller first saw it. It orders requests of the same second.
	// +optional
	SeenVersion string `json:"seenVersion,omitempty"`

	// cleanUpPending says that what the update replaced, and what nothing needs
	// any more, is still to be removed, or being removed: the request has
	// succeeded, or does so next, and nothing of that changes what runs. The
	// next request of the application waits.
	// +optional
	CleanUpPending bool `json:"cleanUpPending,omitempty"`

	// checks of the preflight.
	// +listType=map
	// +listMapKey=name
	// +optional
	Checks []CheckResult `json:"checks,omitempty"`

	// changes are the commits between the one that ran and the wanted one,
	// newest first, at most 100.
	// +listType=atomic
	// +optional
	Changes []Change `json:"changes,omitempty"`

	// changesTotal is the number of commits in between.
	// +optional
	ChangesTotal int32 `json:"changesTotal,omitempty"`

	// plan says what is done with each service, and why.
	// +optional
	Plan *UpdatePlan `json:"plan,omitempty"`

	// steps that were taken.
	// +listType=map
	// +listMapKey=name
	// +optional
	Steps []StepStatus `json:"steps,omitempty"`

	// services and what became of each.
	// +listType=map
	// +listMapKey=name
	// +optional
	Services []ServiceUpdate `json:"services,omitempty"`

	// hooks that ran, in order of their starts.
	// +listType=atomic
	// +optional
	Hooks []HookStatus `json:"hooks,omitempty"`

	// buildBytes is by how much the engine's disk filled while images were built.
	// It is missing where the disk cannot be seen, and where nothing was built.
	// +optional
	BuildBytes int64 `json:"buildBytes,omitempty"`
	// pullBytes is the same for images that were pulled.
	// +optional
	PullBytes int64 `json:"pullBytes,omitempty"`

	// downtime is what was seen from outside while containers were replaced.
	// It is missing where nothing could be probed.
	// +optional
	Downtime *DowntimeStatus `json:"downtime,omitempty"`

	// unmeasured is what could not be probed while containers were replaced, and
	// why. Of that no downtime is known.
	// +optional
	// +listType=atomic
	Unmeasured []UnmeasuredPorts `json:"unmeasured,omitempty"`

	// failure is the reason why the update is being undone; it is kept over
	// a restart so that a rollback that was begun is finished.
	// +optional
	Failure *FailureStatus `json:"failure,omitempty"`

	// rollback says what was undone.
	// +optional
	Rollback *RollbackStatus `json:"rollback,omitempty"`

	// startedAt is when the first step began.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// finishedAt is when the request ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// duration from the first step to the end, such as 1m23s.
	// +optional
	Duration string `json:"duration,omitempty"`

	// conditions: Progressing, Succeeded, BackedUp, RolledBack, Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// UpdateRequest is one wish to bring an Application to a commit, or back to a
// Release, and the record of all that became of it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ur,categories=all;fairlead
// +kubebuilder:printcolumn:name="Application",type=string,JSONPath=`.spec.applicationRef.name`
// +kubebuilder:printcolumn:name="Commit",type=string,JSONPath=`.status.commit`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.status.step`
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.status.duration`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.message`
// +kubebuilder:selectablefield:JSONPath=`.spec.applicationRef.name`
type UpdateRequest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what a person wishes.
	// +required
	Spec UpdateRequestSpec `json:"spec"`
	// status is what became of it; written by the controller alone, as a whole.
	// +structType=atomic
	// +optional
	Status UpdateRequestStatus `json:"status,omitzero"`
}

// UpdateRequestList is a list of UpdateRequests.
//
// +kubebuilder:object:root=true
type UpdateRequestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []UpdateRequest `json:"items"`
}
