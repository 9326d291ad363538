// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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
	// Auto (as the Compose file's pull_policy says), Always (but for services
	// whose own pull_policy is never, missing or if_not_present), Missing or
	// Never. Default: Auto.
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
// services here, and that before order. For times and all else, services goes
// before x-fairlead, that before deploy.update_config, and that before what is
// said here for all.
type RolloutSpec struct {
	RolloutTimings `json:",inline"`
	RolloutBatches `json:",inline"`

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

	// strategy: Together makes all new containers ready beside the old ones;
	// OneByOne replaces one service after another, which needs less memory. Auto
	// chooses Together if the memory of the host suffices, and the plan says why.
	// Default: Auto.
	// +kubebuilder:default=Auto
	// +optional
	Strategy RolloutStrategy `json:"strategy,omitempty"`

	// measureDowntime has the published TCP ports of services that say nothing
	// else asked from outside while containers are replaced, up to ten times a
	// second: GET /.well-known/fairlead-probe, or a connection. false leaves
	// downtimes unknown. Default: true.
	// +optional
	MeasureDowntime *bool `json:"measureDowntime,omitempty"`

	// services are settings of single services.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	// +optional
	Services []ServiceRollout `json:"services,omitempty"`
}

// RolloutStrategy says how many services are replaced at once.
// +kubebuilder:validation:Enum=Auto;Together;OneByOne
type RolloutStrategy string

// Rollout strategies.
const (
	// StrategyAuto goes by the memory of the host.
	StrategyAuto RolloutStrategy = "Auto"
	// StrategyTogether makes all new containers ready before any old one goes.
	StrategyTogether RolloutStrategy = "Together"
	// StrategyOneByOne replaces one service after another.
	StrategyOneByOne RolloutStrategy = "OneByOne"
)

// RolloutTimings are the times of a replacement, for all services or for one.
type RolloutTimings struct {
	// healthTimeout is how long a new container may take until it is healthy,
	// or a one-shot service until it ended, its post_start commands included. A
	// time such as 30s, 2m or 1h30m. Default: 2m, but where the healthcheck has a
	// start_period at least that and retries times (interval + timeout); and 30m
	// for a one-shot service.
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
	// being killed; its pre_stop commands have as long, and at least 30s. Default:
	// stop_grace_period of the Compose file; for an old container what it was made
	// with, if that is longer than 10s; or 10s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	StopTimeout *metav1.Duration `json:"stopTimeout,omitempty"`
}

// ServiceRollout holds the settings of one service.
type ServiceRollout struct {
	RolloutTimings `json:",inline"`
	RolloutBatches `json:",inline"`

	// name of the service in the Compose file.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Name string `json:"name"`

	// order of replacement of this service, unless the Compose file says one
	// (x-fairlead.order, deploy.update_config.order). Default: rollout.order.
	// Behind the gateway, StopFirst holds requests while none of its containers
	// is ready.
	// +optional
	Order RolloutOrder `json:"order,omitempty"`

	// gateway: Auto, or Off to leave this service out of the gateway, unless
	// the Compose file says so (x-fairlead.gateway). Default: Auto.
	// +optional
	Gateway GatewayMode `json:"gateway,omitempty"`

	// measureDowntime has the ports of this service asked while containers are
	// replaced, or not. Default: x-fairlead.measureDowntime, or that of all.
	// +optional
	MeasureDowntime *bool `json:"measureDowntime,omitempty"`
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
	// refers to always stay. Default: 7, and none older than 720h. Where one of
	// the two is given, the other one is no limit unless it is given too.
	// +kubebuilder:default={count: 7, age: "720h"}
	// +optional
	Backups *BackupRetention `json:"backups,omitempty"`

	// imageAge is the age at which releases beyond the current one and the one
	// before it lose their images even where releases would keep them; 0s means never.
	// Default: 0s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	ImageAge *metav1.Duration `json:"imageAge,omitempty"`

	// logCount is the number of newest log files that are kept; 0 means any
	// number. Default: 0.
	// +kubebuilder:validation:Minimum=0
	// +optional
	LogCount int32 `json:"logCount,omitempty"`

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
