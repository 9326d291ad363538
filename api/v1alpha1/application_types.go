// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
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
}

// SourceSpec says where commits come from.
type SourceSpec struct {
	// url of the Git repository (https, ssh or file). Default: the origin of
	// the clone in the deployment directory.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[a-z]+://[^/@]*:[^/@]*@')",message="source.url must not contain a password: put it into a Secret and name that in source.secretRef"
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
}

// PullPolicy says when images of services without a build are pulled.
// +kubebuilder:validation:Enum=Auto;Always;Missing;Never
type PullPolicy string

// Pull policies.
const (
	// PullAuto follows pull_policy of the Compose file, and its default:
	// images are pulled when they are missing.
	PullAuto PullPolicy = "Auto"
	// PullAlways pulls on every update.
	PullAlways PullPolicy = "Always"
	// PullMissing pulls images that the host does not have.
	PullMissing PullPolicy = "Missing"
	// PullNever uses the images that the host has.
	PullNever PullPolicy = "Never"
)

// BuildSpec says how images come to the host.
type BuildSpec struct {
	// parallel is the number of services that are built or pulled at once.
	// Default: 2.
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	// +optional
	Parallel int32 `json:"parallel,omitempty"`

	// pull says when images of services without a build section are pulled:
	// Auto (as the Compose file's pull_policy says), Always, Missing or Never.
	// Default: Auto.
	// +kubebuilder:default=Auto
	// +optional
	Pull PullPolicy `json:"pull,omitempty"`
}

// RolloutOrder says which of two containers of a service comes first.
// +kubebuilder:validation:Enum=Auto;StartFirst;StopFirst
type RolloutOrder string

// Rollout orders.
const (
	// OrderAuto chooses StopFirst where two copies must not run at once, and
	// StartFirst otherwise.
	OrderAuto RolloutOrder = "Auto"
	// OrderStartFirst starts the new container beside the old one.
	OrderStartFirst RolloutOrder = "StartFirst"
	// OrderStopFirst stops the old container before the new one starts.
	OrderStopFirst RolloutOrder = "StopFirst"
)

// RolloutSpec says how containers are replaced. The order that the Compose file
// names for a service (x-fairlead, deploy.update_config.order) goes before
// services here, and that before order. For times, services goes before
// x-fairlead, and that before what is said here for all.
type RolloutSpec struct {
	RolloutTimings `json:",inline"`

	// order of replacement for services that name none: Auto, StartFirst or
	// StopFirst. Default: Auto.
	// +kubebuilder:default=Auto
	// +optional
	Order RolloutOrder `json:"order,omitempty"`

	// soak is how long the new containers are watched for restarts after the
	// verification, before the old ones are removed. 0s watches not at all.
	// Default: 30s.
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Soak *metav1.Duration `json:"soak,omitempty"`

	// services are settings of single services.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	// +optional
	Services []ServiceRollout `json:"services,omitempty"`
}

// RolloutTimings are the times of a replacement, for all services or for one.
type RolloutTimings struct {
	// healthTimeout is how long a new container may take until it is healthy,
	// or a one-shot service until it ended. A time such as 30s, 2m or 1h30m.
	// Default: 2m, and 30m for a one-shot service.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	HealthTimeout *metav1.Duration `json:"healthTimeout,omitempty"`

	// minHealthy is how long a container must stay healthy without a break,
	// or stay running if its service has no healthcheck, before it counts as
	// ready. Default: 0s with a healthcheck, 5s without.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	MinHealthy *metav1.Duration `json:"minHealthy,omitempty"`

	// drainTimeout is how long an old container may finish its work after
	// new work stopped coming to it, before it is stopped. Default: 0s
	// without a gateway, as nothing can tell its clients to go elsewhere.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	DrainTimeout *metav1.Duration `json:"drainTimeout,omitempty"`

	// stopTimeout is how long a container has between the stop signal and
	// being killed. Default: stop_grace_period of the Compose file, or 10s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	StopTimeout *metav1.Duration `json:"stopTimeout,omitempty"`
}

// ServiceRollout holds the settings of one service.
type ServiceRollout struct {
	RolloutTimings `json:",inline"`

	// name of the service in the Compose file.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Name string `json:"name"`

	// order of replacement of this service, unless the Compose file says one
	// (x-fairlead.order, deploy.update_config.order). Default: rollout.order.
	// +optional
	Order RolloutOrder `json:"order,omitempty"`
}

// VerifySpec names the application's own checks.
type VerifySpec struct {
	// attempts is how often a check is tried before it counts as failed.
	// Default: 30.
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	Attempts int32 `json:"attempts,omitempty"`

	// interval is the time between two attempts. Default: 2s.
	// +kubebuilder:default="2s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`

	// checks that must all pass.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +optional
	Checks []Check `json:"checks,omitempty"`
}

// Check is one question to the running application: exactly one of http, tcp
// and exec.
// +kubebuilder:validation:XValidation:rule="(has(self.http) ? 1 : 0) + (has(self.tcp) ? 1 : 0) + (has(self.exec) ? 1 : 0) == 1",message="a check has exactly one of http, tcp and exec"
type Check struct {
	// name of the check, as it appears in messages.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`

	// timeout of one attempt. Default: 5s.
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// http passes when a GET is answered with an expected status.
	// +optional
	HTTP *HTTPCheck `json:"http,omitempty"`

	// tcp passes when a connection can be opened.
	// +optional
	TCP *TCPCheck `json:"tcp,omitempty"`

	// exec passes when a command in a container of a service exits with 0.
	// +optional
	Exec *ExecCheck `json:"exec,omitempty"`
}

// HTTPCheck is a GET from the daemon.
type HTTPCheck struct {
	// url to get, as the daemon reaches it.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://`
	// +required
	URL string `json:"url"`

	// status that is expected. Default: any from 200 to 399.
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=599
	// +optional
	Status int32 `json:"status,omitempty"`

	// contains is a text that the answer's body (its first MiB) must contain.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Contains string `json:"contains,omitempty"`

	// insecureSkipTLSVerify accepts any certificate, for names that only the
	// outside world knows.
	// +optional
	InsecureSkipTLSVerify bool `json:"insecureSkipTLSVerify,omitempty"`
}

// TCPCheck opens a connection from the daemon.
type TCPCheck struct {
	// address is host:port, as the daemon reaches it.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^.+:[0-9]+$`
	// +required
	Address string `json:"address"`
}

// ExecCheck runs a command in a container.
type ExecCheck struct {
	// service in whose first running container the command runs.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Service string `json:"service"`

	// command and its arguments; no shell is added.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +required
	Command []string `json:"command"`
}

// BackupSettings says what is saved before every update.
type BackupSettings struct {
	// databases are the services whose databases are dumped: Auto, None, or
	// names separated by commas. Default: Auto, every database service that is
	// recognised.
	// +optional
	Databases Selection `json:"databases,omitempty"`

	// volumes to save: Auto, None, or names (keys of volumes: in the Compose
	// file) separated by commas. Default: Auto, every named volume and every writable
	// bind mount inside the deployment directory.
	// +optional
	Volumes Selection `json:"volumes,omitempty"`

	// paths to save besides .env and the Compose files, relative to the
	// deployment directory.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	// +listType=atomic
	// +optional
	Paths []string `json:"paths,omitempty"`
}

// RetentionSpec says how much history is kept.
type RetentionSpec struct {
	// releases is the number of releases that can be rolled back to; images
	// of older ones are removed. Default: 5.
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Releases int32 `json:"releases,omitempty"`

	// requests is the number of ended UpdateRequests that are kept. Default: 50.
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	Requests int32 `json:"requests,omitempty"`

	// backups to keep. The newest whole backup and those that a kept release
	// refers to always stay. Default: 7, and none older than 720h.
	// +kubebuilder:default={count: 7, age: "720h"}
	// +optional
	Backups *BackupRetention `json:"backups,omitempty"`

	// logs is the age at which log files are removed, such as 720h; 0s means
	// never. Default: 720h.
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Logs *metav1.Duration `json:"logs,omitempty"`
}

// BackupRetention limits backups by count and by age.
type BackupRetention struct {
	// count of newest backups that are kept; 0 means any number.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Count *int32 `json:"count,omitempty"`

	// age at which a backup is removed; 0s means never.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Age *metav1.Duration `json:"age,omitempty"`
}

// PreflightSpec sets the limits of the checks before an update.
type PreflightSpec struct {
	// minFreeDisk is the space that must be free for the engine's data and
	// for the deployment directory with its backups, a quantity such as 5Gi.
	// Default: 5Gi.
	// +kubebuilder:default="5Gi"
	// +optional
	MinFreeDisk *resource.Quantity `json:"minFreeDisk,omitempty"`

	// minFreeMemory is the memory that must be available, a quantity such as
	// 2Gi. Default: 2Gi.
	// +kubebuilder:default="2Gi"
	// +optional
	MinFreeMemory *resource.Quantity `json:"minFreeMemory,omitempty"`
}

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

	// conditions: Ready, Healthy, Progressing.
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
	// status is what was observed; written by the controller alone.
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
