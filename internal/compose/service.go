// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"strings"
	"time"
)

// Service is what a rollout needs to know of one service: plain data, with
// all variables, paths and names resolved.
type Service struct {
	// Name is the key in the model.
	Name string
	// Image is the reference as written, "" for a service that is only built.
	Image string
	// ImageName is Image, or Compose's own name for it: <project>-<service>.
	ImageName string
	// Build is how the image is built; nil when it is only pulled.
	Build *Build
	// Platform is the platform as os/arch, "" for the engine's own.
	Platform string
	// PullPolicy is as written: always, never, missing, build, daily, … or "".
	PullPolicy string
	// ContainerName is the fixed name, "" for Compose's own.
	ContainerName string
	// Hostname is the host name inside the container, "" for the default.
	Hostname string
	// Replicas is the wanted number of containers, 1 by default.
	Replicas int
	// DependsOn are the dependencies, sorted by service, with those that
	// network_mode, links, volumes_from and so on imply.
	DependsOn []Dependency
	// OneShot says that another active service waits for this one's successful
	// completion.
	OneShot bool
	// Ports are the ports that are published on the host.
	Ports []Port
	// Expose are the further ports, as written: "80" or "8000-8010/udp".
	Expose []string
	// Mounts are all mounts but those of configs and secrets.
	Mounts []Mount
	// VolumesFrom are services or "container:<name>", with an optional mode, as written.
	VolumesFrom []string
	// Networks are the networks, sorted by key; none with a NetworkMode.
	Networks []ServiceNetwork
	// NetworkMode, PidMode, IpcMode are "", "host", "none", "service:<name>" or
	// "container:<name>".
	NetworkMode, PidMode, IpcMode string
	// Links and ExternalLinks are as written.
	Links, ExternalLinks []string
	// Healthcheck is the model's own; nil when the image decides.
	Healthcheck *Healthcheck
	// Restart is the restart policy.
	Restart RestartPolicy
	// UpdateConfig and RollbackConfig are those of `deploy`, nil when absent.
	UpdateConfig, RollbackConfig *UpdateConfig
	// StopGracePeriod is the time to stop before it is killed; nil for the default of 10 s.
	StopGracePeriod *time.Duration
	// StopSignal is "" for the image's own, else SIGTERM.
	StopSignal string
	// PostStart and PreStop are commands that Compose runs in the container
	// after its start and before its stop.
	PostStart, PreStop []Hook
	// Environment is resolved, with env_file taken in. It may hold secrets:
	// never log it or put it into a status.
	Environment map[string]string `json:"-"`
	// Labels are the service's own labels, without Compose's.
	Labels map[string]string
	// Profiles are the profiles of which one is active, empty for always.
	Profiles []string
	// Extension is what x-fairlead says.
	Extension Extension
	// TrackedPaths are the sources of bind mounts, configs and secrets that lie
	// in the deployment directory, relative to it with slashes, sorted.
	// Their content is not part of the configuration hash.
	TrackedPaths []string
}

// LinkNames are the names that links give to services, by service.
func (s Service) LinkNames() map[string]string {
	out := map[string]string{}
	for _, link := range s.Links {
		if service, name, ok := strings.Cut(link, ":"); ok {
			out[service] = name
		}
	}
	return out
}

// DependsOnService returns the named dependency; false when there is none.
func (s Service) DependsOnService(name string) (Dependency, bool) {
	for _, d := range s.DependsOn {
		if d.Service == name {
			return d, true
		}
	}
	return Dependency{}, false
}

// Conditions of a dependency.
const (
	ConditionStarted   = "service_started"
	ConditionHealthy   = "service_healthy"
	ConditionCompleted = "service_completed_successfully"
)

// Dependency is one entry of depends_on.
type Dependency struct {
	Service string
	// Condition is one of the Condition constants.
	Condition string
	// Required is false when the dependency may be absent or fail.
	Required bool
	// Restart says that the dependent restarts when Compose replaces the dependency.
	Restart bool
}

// Port is a published port.
type Port struct {
	// HostIP is "" for all addresses.
	HostIP string
	// Published is the host port or a range "8000-8010"; "" lets the engine choose.
	Published string
	// Target is the container's port.
	Target uint16
	// Protocol is "tcp", "udp" or "sctp".
	Protocol string
	// App is app_protocol, such as "http"; "" when not set.
	App string
}

// Fixed reports whether a certain host port is taken, so that two containers
// cannot run at once.
func (p Port) Fixed() bool {
	return p.Published != "" && p.Published != "0" && !isRange(p.Published)
}

func isRange(published string) bool {
	for _, r := range published {
		if r == '-' {
			return true
		}
	}
	return false
}

// Types of mounts.
const (
	MountBind   = "bind"
	MountVolume = "volume"
	MountTmpfs  = "tmpfs"
)

// Mount is one mount of a service.
type Mount struct {
	// Type is one of the Mount constants, "npipe", "cluster" or "image".
	Type string
	// Source is the host path of a bind mount, the engine's name of a named
	// volume, "" for an anonymous volume and a tmpfs.
	Source string
	// Key is the model's key of a named volume.
	Key string
	// Target is the path in the container.
	Target   string
	ReadOnly bool
	// External says that the volume is not made by this project.
	External bool
	// Anonymous says that each container gets a new volume.
	Anonymous bool
	// HostPath is set when the named volume is in truth a bind mount through
	// the local driver.
	HostPath string
}

// ServiceNetwork is the attachment to one network.
type ServiceNetwork struct {
	// Key is the network's key in the model, Name its name in the engine.
	Key, Name string
	// External says that the network is not made by this project.
	External bool
	// Aliases are the further names besides the service's and the container's.
	Aliases []string
	// IPv4Address, IPv6Address and MacAddress are static, "" when not: two
	// containers cannot have the same ones at once.
	IPv4Address, IPv6Address, MacAddress string
}

// Healthcheck is the healthcheck that the model defines.
type Healthcheck struct {
	// Test is as the engine takes it: "CMD" or "CMD-SHELL" and the command;
	// empty when the image's test is used with other times.
	Test []string
	// Disabled says that there must be no healthcheck, not even the image's.
	Disabled bool
	// Interval, Timeout, StartPeriod, StartInterval are 0 when not set.
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	// Retries is 0 when not set.
	Retries int
}

// RestartPolicy is when the engine starts a container again.
type RestartPolicy struct {
	// Name is "", "no", "on-failure", "unless-stopped" or "always".
	Name string
	// MaxAttempts is for on-failure, 0 for no limit.
	MaxAttempts int
}

// UpdateConfig is deploy.update_config or deploy.rollback_config.
type UpdateConfig struct {
	// Order is "start-first", "stop-first" or "".
	Order string
	// Parallelism is how many containers are replaced at once, 0 for all; nil when not set.
	Parallelism *uint64
	// Delay is the pause between two groups.
	Delay time.Duration
	// Monitor is how long to watch after each group.
	Monitor time.Duration
	// FailureAction is "pause", "continue", "rollback" or "".
	FailureAction string
	// MaxFailureRatio is what part may fail.
	MaxFailureRatio float64
}

// Hook is a command to run in a service's container.
type Hook struct {
	Command     []string
	User        string
	Privileged  bool
	WorkingDir  string
	Environment map[string]string `json:"-"`
}

// Build is how an image is built.
type Build struct {
	// Context is an absolute path in the exported tree, or a URL.
	Context string
	// Dockerfile is relative to Context unless absolute; DockerfileInline takes
	// its place when set.
	Dockerfile, DockerfileInline string
	// Target is the stage, "" for the last.
	Target string
	// Args are resolved; an argument without a value is not among them.
	Args   map[string]string `json:"-"`
	Labels map[string]string
	// AdditionalContexts are absolute paths, URLs or "service:<name>", by name.
	AdditionalContexts map[string]string
	CacheFrom, CacheTo []string
	NoCache, Pull      bool
	NoCacheFilter      []string
	// Network is the mode for RUN steps.
	Network      string
	ExtraHosts   []string // "host:address"
	Platforms    []string
	Tags         []string
	Entitlements []string
	Privileged   bool
	Isolation    string
	// ShmSize is in bytes, 0 for the default.
	ShmSize int64
	Ulimits []Ulimit
	Secrets []BuildSecret
	SSH     []BuildSSH
}

// Ulimit is one limit of a process.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// BuildSecret is a secret for RUN --mount=type=secret. Exactly one of File
// and Value is the source.
type BuildSecret struct {
	// ID is what the Dockerfile calls it.
	ID string
	// File is an absolute path.
	File string
	// Value is the content, from the environment.
	Value string `json:"-"`
}

// BuildSSH is an agent socket or key; Path "" means the default agent.
type BuildSSH struct {
	ID, Path string
}
