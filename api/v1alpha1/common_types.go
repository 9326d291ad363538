// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "strings"

// LocalReference names an object of a known kind in the same namespace.
type LocalReference struct {
	// name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// Labels that Fairlead puts on the containers, images, networks, volumes and
// API objects that it makes.
const (
	// LabelApplication holds namespace.name of the Application (a label value
	// may not contain a slash).
	LabelApplication = "fairlead.dev/application"
	// LabelRelease holds the name of the Release that a container belongs to.
	LabelRelease = "fairlead.dev/release"
	// LabelRequest holds the UID of the UpdateRequest that made a container or
	// a Release.
	LabelRequest = "fairlead.dev/request"
	// LabelRevision holds the revision of the service that a container runs:
	// the digest of its configuration, image content and mounted files.
	LabelRevision = "fairlead.dev/revision"
	// LabelGateway holds, on a container of a service, GatewayBehind if a gateway
	// stands in front of it, and on a gateway what it was made for.
	LabelGateway = "fairlead.dev/gateway"
	// LabelGatewayProject holds, on a gateway, the Compose project that it is for.
	LabelGatewayProject = "fairlead.dev/gateway-project"
	// LabelJob holds, on an UpdateRequest, the number by which the updater's
	// HTTP API knows it: the milliseconds since 1970 when it was asked for.
	LabelJob = "fairlead.dev/job"
)

// GatewayBehind is the value of LabelGateway on containers behind a gateway.
const GatewayBehind = "behind"

// Annotations on UpdateRequests. They inform; nothing is decided by them.
const (
	// AnnotationRequestedBy names who asked. The embedded API server and the HTTP
	// API set it to whom they authenticated; another API server takes what the
	// client says.
	AnnotationRequestedBy = "fairlead.dev/requested-by"
	// AnnotationTrigger says what made the request: "http", "updater", "webhook",
	// "update-policy" or "manifests".
	AnnotationTrigger = "fairlead.dev/trigger"
)

// TriggerUpdatePolicy and TriggerManifests are values of AnnotationTrigger: the
// request was made by spec.update of the Application, or lay in a directory that
// a ManifestSource names.
const (
	TriggerUpdatePolicy = "update-policy"
	TriggerManifests    = "manifests"
)

// AnnotationCheck on an Application or a ManifestSource has its source looked at
// whenever its value changes; a time is a good value.
const AnnotationCheck = "fairlead.dev/check"

// LabelManifestSource names the ManifestSource that an object was applied from.
const LabelManifestSource = "fairlead.dev/manifest-source"

// AnnotationNotifiedPrefix is a prefix that, followed by the name of a receiver of the
// Application's notifications, holds on an UpdateRequest what that receiver was
// told, such as "Started,Succeeded".
const AnnotationNotifiedPrefix = "notified.fairlead.dev/"

// AnnotationGitHubReported holds on an UpdateRequest, as JSON, what GitHub was told
// of it.
const AnnotationGitHubReported = "fairlead.dev/github-reported"

// KeptByController reports whether an annotation of an UpdateRequest is written by
// Fairlead alone: what clients say in it counts for nothing.
func KeptByController(key string) bool {
	return key == AnnotationRequestedBy || key == AnnotationGitHubReported || strings.HasPrefix(key, AnnotationNotifiedPrefix)
}

// Condition types. Succeeded is final once it is True or False.
const (
	// ConditionReady says that the object is observed and can be used.
	ConditionReady = "Ready"
	// ConditionProgressing says that work on the object is going on.
	ConditionProgressing = "Progressing"
	// ConditionSucceeded says how a request ended.
	ConditionSucceeded = "Succeeded"
	// ConditionBackedUp says that a recovery point was made for the request.
	ConditionBackedUp = "BackedUp"
	// ConditionHealthy says that all services run and are healthy.
	ConditionHealthy = "Healthy"
	// ConditionRolledBack says that the request's changes were undone.
	ConditionRolledBack = "RolledBack"
	// ConditionStalled says that work cannot go on until a person acts.
	ConditionStalled = "Stalled"
	// ConditionUpdateAvailable says that the source has a newer commit.
	ConditionUpdateAvailable = "UpdateAvailable"
	// ConditionDrifted says that containers are not as the current release has
	// them.
	ConditionDrifted = "Drifted"
	// ConditionGatewayCurrent says that all gateways of the application run, and
	// run the program of the daemon. It is absent without gateways.
	ConditionGatewayCurrent = "GatewayCurrent"
)

// Reasons in conditions.
const (
	ReasonSucceeded           = "Succeeded"
	ReasonUnchanged           = "Unchanged"
	ReasonDryRun              = "DryRun"
	ReasonRunning             = "Running"
	ReasonQueued              = "Queued"
	ReasonSuspended           = "Suspended"
	ReasonSuperseded          = "Superseded"
	ReasonCancelled           = "Cancelled"
	ReasonRetrying            = "Retrying"
	ReasonApplicationNotFound = "ApplicationNotFound"
	ReasonInvalidSpec         = "InvalidSpec"
	ReasonCommitFailedBefore  = "CommitFailedBefore"
	ReasonCommitNotFound      = "CommitNotFound"
	ReasonCommitNotInSource   = "CommitNotInSource"
	ReasonReleaseNotFound     = "ReleaseNotFound"
	ReasonReleaseUnusable     = "ReleaseUnusable"
	ReasonPreflightFailed     = "PreflightFailed"
	ReasonBackupFailed        = "BackupFailed"
	ReasonBackupMade          = "BackupMade"
	ReasonBackupNotFound      = "BackupNotFound"
	ReasonBackupUnusable      = "BackupUnusable"
	ReasonRestoreFailed       = "RestoreFailed"
	ReasonFetchFailed         = "FetchFailed"
	ReasonBuildFailed         = "BuildFailed"
	ReasonPullFailed          = "PullFailed"
	ReasonNoSpace             = "NoSpace"
	// ReasonRegistryUnauthorized and ReasonHostConflict, as ReasonNoSpace, are no fault
	// of the commit.
	ReasonRegistryUnauthorized = "RegistryUnauthorized"
	// ReasonHostConflict says that something which is not of the commit is in the way: a
	// container or a program with the name or the port, an old container that cannot be
	// stopped, a gateway that does not open or take a state, a working tree that cannot
	// be moved.
	ReasonHostConflict       = "HostConflict"
	ReasonLocalEdits         = "LocalEdits"
	ReasonHealthCheckFailed  = "HealthCheckFailed"
	ReasonOneShotFailed      = "OneShotFailed"
	ReasonRolloutFailed      = "RolloutFailed"
	ReasonVerifyFailed       = "VerifyFailed"
	ReasonRolledBack         = "RolledBack"
	ReasonRollbackFailed     = "RollbackFailed"
	ReasonEngineUnavailable  = "EngineUnavailable"
	ReasonAllHealthy         = "AllServicesHealthy"
	ReasonServicesUnhealthy  = "ServicesUnhealthy"
	ReasonNotRunning         = "NotRunning"
	ReasonObserved           = "Observed"
	ReasonHookFailed         = "HookFailed"
	ReasonUpToDate           = "UpToDate"
	ReasonNewerCommit        = "NewerCommit"
	ReasonSourceUnreachable  = "SourceUnreachable"
	ReasonSourceUnusable     = "SourceUnusable"
	ReasonNothingToFollow    = "NothingToFollow"
	ReasonAsReleased         = "AsReleased"
	ReasonContainersDiffer   = "ContainersDiffer"
	ReasonNoRelease          = "NoRelease"
	ReasonApplied            = "Applied"
	ReasonInvalidManifest    = "InvalidManifest"
	ReasonRefused            = "Refused"
	ReasonGatewaysRun        = "GatewaysRun"
	ReasonGatewayReplaced    = "GatewayReplaced"
	ReasonGatewayDown        = "GatewayDown"
	ReasonGatewayNotReplaced = "GatewayNotReplaced"
	ReasonGitHubDelayed      = "GitHubReportDelayed"
	ReasonGitHubGivenUp      = "GitHubReportGivenUp"
)

// Selection is Auto (whatever is found), None, or names separated by commas.
// It is a string, not a list, as a structural schema cannot say "a word or a
// list".
// +kubebuilder:validation:MaxLength=4096
// +kubebuilder:validation:Pattern=`^(Auto|None|[A-Za-z0-9][A-Za-z0-9_.-]*(, ?[A-Za-z0-9][A-Za-z0-9_.-]*)*)?$`
type Selection string

// Words of a Selection. The empty Selection means SelectAuto.
const (
	SelectAuto Selection = "Auto"
	SelectNone Selection = "None"
)
