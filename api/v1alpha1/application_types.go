// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ApplicationSpec says what runs on this host and how it is to be updated.
type ApplicationSpec struct {
	// compose says where the Compose application lies and how it is loaded.
	// +required
	Compose ComposeSpec `json:"compose"`

	// source says where commits come from. Default: the origin and the
	// checked-out branch of the Git clone in the deployment directory.
	// +optional
	Source SourceSpec `json:"source,omitzero"`

	// build says how images are built and pulled.
	// +kubebuilder:default={}
	// +optional
	Build BuildSpec `json:"build,omitzero"`

	// rollout says how containers are replaced.
	// +kubebuilder:default={}
	// +optional
	Rollout RolloutSpec `json:"rollout,omitzero"`

	// gateway says whether a gateway stands in front of the application's
	// services, so that updates lose no request.
	// +kubebuilder:default={}
	// +optional
	Gateway GatewaySpec `json:"gateway,omitzero"`

	// verify names the checks that must pass after the rollout, before the
	// update counts as succeeded.
	// +kubebuilder:default={}
	// +optional
	Verify VerifySpec `json:"verify,omitzero"`

	// backup says what is saved before every update.
	// +optional
	Backup BackupSettings `json:"backup,omitzero"`

	// retention says how much history is kept.
	// +kubebuilder:default={}
	// +optional
	Retention RetentionSpec `json:"retention,omitzero"`

	// preflight sets the limits of the checks that run before anything is
	// changed.
	// +kubebuilder:default={}
	// +optional
	Preflight PreflightSpec `json:"preflight,omitzero"`

	// update says whether the application follows its source by itself.
	// +kubebuilder:default={}
	// +optional
	Update UpdateSpec `json:"update,omitzero"`

	// github says how GitHub is used beyond Git itself. Default: not at all,
	// unless the source is on github.com; then to look for newer commits.
	// +optional
	GitHub *GitHubSpec `json:"github,omitempty"`

	// hooks run at certain moments of an update.
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	// +optional
	Hooks []Hook `json:"hooks,omitempty"`

	// notifications say whom to tell about updates.
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	// +optional
	Notifications []Notification `json:"notifications,omitempty"`

	// suspend stops new updates from starting: requests wait until it is
	// false again. Work that runs already goes on.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ComposeSpec says where the Compose application lies.
type ComposeSpec struct {
	// directory is the absolute path of the deployment directory on the
	// Docker host: a Git working tree with the Compose file, .env and
	// .update/ (backups, logs). It cannot be changed: make a new Application
	// for another directory.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="compose.directory must be an absolute path such as /opt/myapp"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="compose.directory cannot be changed: create a new Application for another directory"
	// +required
	Directory string `json:"directory"`

	// files are the Compose files, relative to the directory, later ones
	// override earlier ones. Default: Compose's own search order
	// (compose.yaml, docker-compose.yml, and their override files).
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=4096
	// +listType=atomic
	// +optional
	Files []string `json:"files,omitempty"`

	// envFiles are the files that variables in the Compose files are taken
	// from, relative to the directory. Default: .env, if it exists.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=4096
	// +listType=atomic
	// +optional
	EnvFiles []string `json:"envFiles,omitempty"`

	// profiles are the Compose profiles that are active. Default:
	// COMPOSE_PROFILES of the environment files.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=255
	// +listType=set
	// +optional
	Profiles []string `json:"profiles,omitempty"`

	// project is the Compose project name. Default: Compose's own rule
	// (COMPOSE_PROJECT_NAME, the file's name:, the directory's name).
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^([a-z0-9][a-z0-9_-]*)?$`
	// +optional
	Project string `json:"project,omitempty"`

	// variables go before those of the environment files where the Compose files
	// are interpolated, as the environment of `docker compose` does. They are
	// not for secrets, which belong into an environment file.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Variables map[string]string `json:"variables,omitempty"`

	// requestVariables are the names of the variables that UpdateRequests may
	// set. Who may create requests decides on their values, so none should be
	// here that the Compose files make a path, an image or a command of.
	// Default: none.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.startsWith('COMPOSE_') && !name.startsWith('DOCKER_') && name != 'PWD')",message="COMPOSE_*, DOCKER_* and PWD say which application it is: no request may set them"
	// +listType=set
	// +optional
	RequestVariables []string `json:"requestVariables,omitempty"`
}

// SourceSpec says where commits come from.
type SourceSpec struct {
	// url of the Git repository (https, ssh or file), without a password or
	// token. Default: the origin of the clone in the deployment directory.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[A-Za-z]+://[^/@]*:[^/@]*@')",message="source.url must not contain a password: put it into a Secret and name that in source.secretRef"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[Hh][Tt][Tt][Pp][Ss]?://[^/:@]*@')",message="source.url must not contain a user name, which may be a token: put it into a Secret and name that in source.secretRef"
	// +optional
	URL string `json:"url,omitempty"`

	// ref is the branch or tag whose head an UpdateRequest without a commit
	// means. Default: the branch that is checked out.
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('-')",message="source.ref must be the name of a branch or tag"
	// +optional
	Ref string `json:"ref,omitempty"`

	// secretRef names a Secret in the same namespace with the credentials:
	// token, or username and password, or ssh-privatekey and known_hosts.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`

	// commits says which commits an UpdateRequest may name. BranchesAndTags:
	// those in the history of a branch or tag of the source, of what is checked
	// out, or of a Release. Any: all that the server gives away, which on some
	// servers includes those of pull requests of people who may not push.
	// Default: BranchesAndTags.
	// +optional
	Commits CommitPolicy `json:"commits,omitempty"`
}

// CommitPolicy says which commits may be asked for.
// +kubebuilder:validation:Enum=BranchesAndTags;Any
type CommitPolicy string

// Values of CommitPolicy.
const (
	CommitsOfBranchesAndTags CommitPolicy = "BranchesAndTags"
	CommitsAny               CommitPolicy = "Any"
)

// ApplicationStatus is what was observed last.
type ApplicationStatus struct {
	// observedGeneration is the generation of the spec that this status
	// belongs to.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// project is the Compose project name.
	// +optional
	Project string `json:"project,omitempty"`

	// commit that runs, as far as it is known: of the current release, or
	// for an application that was started by hand, the checked-out one.
	// +optional
	Commit string `json:"commit,omitempty"`

	// branch that is checked out in the deployment directory.
	// +optional
	Branch string `json:"branch,omitempty"`

	// release that runs.
	// +optional
	Release string `json:"release,omitempty"`

	// healthy is the number of healthy services and of all, as "3/4".
	// +optional
	Healthy string `json:"healthy,omitempty"`

	// services as observed.
	// +listType=map
	// +listMapKey=name
	// +optional
	Services []ServiceStatus `json:"services,omitempty"`

	// update is what is known of newer commits.
	// +optional
	Update *UpdateStatus `json:"update,omitempty"`

	// drift lists in what way containers are not as the current release has
	// them. It is empty while a request is being carried out.
	// +listType=atomic
	// +optional
	Drift []Drift `json:"drift,omitempty"`

	// activeRequest is the UpdateRequest that is being carried out.
	// +optional
	ActiveRequest string `json:"activeRequest,omitempty"`

	// lastRequest is the UpdateRequest that ended last.
	// +optional
	LastRequest *RequestSummary `json:"lastRequest,omitempty"`

	// failedCommits are commits that failed and are not tried again unless a
	// person asks, newest first.
	// +listType=map
	// +listMapKey=commit
	// +optional
	FailedCommits []FailedCommit `json:"failedCommits,omitempty"`

	// lastReleaseNumber is the number that the newest Release has in its
	// name; it never goes back.
	// +optional
	LastReleaseNumber int64 `json:"lastReleaseNumber,omitempty"`

	// conditions: Ready, Healthy, Progressing, UpdateAvailable, Drifted,
	// GatewayCurrent.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ServiceStatus is one service of the application as it runs.
type ServiceStatus struct {
	// name of the service in the Compose file.
	Name string `json:"name"`
	// image that its containers were made from.
	// +optional
	Image string `json:"image,omitempty"`
	// imageID is the digest of that image on the host.
	// +optional
	ImageID string `json:"imageID,omitempty"`
	// state: Running, Completed, Stopped, Missing or Restarting.
	// +optional
	State string `json:"state,omitempty"`
	// health as the engine sees it: Healthy, Unhealthy, Starting, or empty
	// without a healthcheck.
	// +optional
	Health string `json:"health,omitempty"`
	// replicas that run.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// containers that run, by name.
	// +listType=atomic
	// +optional
	Containers []string `json:"containers,omitempty"`
}

// RequestSummary is how the last request ended.
type RequestSummary struct {
	// name of the UpdateRequest.
	Name string `json:"name"`
	// phase in which it ended.
	Phase Phase `json:"phase"`
	// commit that it asked for.
	// +optional
	Commit string `json:"commit,omitempty"`
	// finishedAt is when it ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
}

// FailedCommit is a commit that did not work here.
type FailedCommit struct {
	// commit that failed, as a full SHA.
	Commit string `json:"commit"`
	// request in which it failed.
	Request string `json:"request"`
	// reason in which it failed.
	// +optional
	Reason string `json:"reason,omitempty"`
	// time of the failure.
	// +optional
	Time metav1.Time `json:"time,omitzero"`
}

// Application is a Docker Compose application on a Docker host: where it lies,
// where its commits come from, and how it is updated.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=app;apps,categories=all;fairlead
// +kubebuilder:printcolumn:name="Project",type=string,JSONPath=`.status.project`
// +kubebuilder:printcolumn:name="Commit",type=string,JSONPath=`.status.commit`
// +kubebuilder:printcolumn:name="Release",type=string,JSONPath=`.status.release`
// +kubebuilder:printcolumn:name="Healthy",type=string,JSONPath=`.status.healthy`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Request",type=string,JSONPath=`.status.activeRequest`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Directory",type=string,priority=1,JSONPath=`.spec.compose.directory`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 52",message="the name of an Application must have at most 52 characters, as releases and backups add to it"
type Application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what a person wishes.
	// +required
	Spec ApplicationSpec `json:"spec"`
	// status is what was observed; written by the controller alone, as a whole.
	// +structType=atomic
	// +optional
	Status ApplicationStatus `json:"status,omitzero"`
}

// ApplicationList is a list of Applications.
//
// +kubebuilder:object:root=true
type ApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Application `json:"items"`
}
