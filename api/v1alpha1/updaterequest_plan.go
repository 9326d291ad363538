// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ServiceAction is what is done with a service.
// +kubebuilder:validation:Enum=Keep;Create;Replace;Run;Remove
type ServiceAction string

// Service actions.
const (
	// ActionKeep leaves the service untouched: nothing of it changed.
	ActionKeep ServiceAction = "Keep"
	// ActionCreate starts a service that did not run before.
	ActionCreate ServiceAction = "Create"
	// ActionReplace puts new containers in the place of old ones.
	ActionReplace ServiceAction = "Replace"
	// ActionRun runs a one-shot service to its end.
	ActionRun ServiceAction = "Run"
	// ActionRemove stops a service that the commit does not have any more.
	ActionRemove ServiceAction = "Remove"
)

// ServicePlan is what is to be done with one service, and why.
type ServicePlan struct {
	// name of the service.
	Name string `json:"name"`
	// action: Keep, Create, Replace, Run or Remove.
	Action ServiceAction `json:"action"`
	// reason in words.
	// +optional
	Reason string `json:"reason,omitempty"`
	// order: StartFirst or StopFirst.
	// +optional
	Order RolloutOrder `json:"order,omitempty"`
	// orderReason says why that order.
	// +optional
	OrderReason string `json:"orderReason,omitempty"`
	// replacement in words, where its containers are not all replaced at once or
	// some of them may fail.
	// +optional
	Replacement string `json:"replacement,omitempty"`
	// gateway in words: why the service is not behind it, or what of it is
	// not, and which ports of the host it chose. Empty if there is nothing of these to say, or if the application has no gateway.
	// +optional
	Gateway string `json:"gateway,omitempty"`
	// interruption that is to be expected, in words.
	// +optional
	Interruption string `json:"interruption,omitempty"`
	// wave is the position in the order of dependencies, from 1.
	// +optional
	Wave int32 `json:"wave,omitempty"`
	// build says how the image comes to the host: Build, Reuse, Pull or
	// Present.
	// +optional
	Build string `json:"build,omitempty"`
	// recreate says that its containers are replaced although they are of the
	// wanted revision already.
	// +optional
	Recreate bool `json:"recreate,omitempty"`
}

// UpdatePlan is what the request does, or with dryRun would do.
type UpdatePlan struct {
	// summary in one sentence.
	// +optional
	Summary string `json:"summary,omitempty"`
	// strategy: Together or OneByOne.
	// +optional
	Strategy RolloutStrategy `json:"strategy,omitempty"`
	// strategyReason says why.
	// +optional
	StrategyReason string `json:"strategyReason,omitempty"`
	// services and what is to be done with each.
	// +listType=map
	// +listMapKey=name
	// +optional
	Services []ServicePlan `json:"services,omitempty"`
	// backup lists what will be saved.
	// +listType=atomic
	// +optional
	Backup []string `json:"backup,omitempty"`
	// restore lists what is overwritten by going back to a backup, and with what.
	// +listType=atomic
	// +optional
	Restore []string `json:"restore,omitempty"`
	// disk is what is expected to be written, by file system, and how much is free
	// there.
	// +listType=atomic
	// +optional
	Disk []DiskForecast `json:"disk,omitempty"`
}

// DiskForecast is what an update is expected to need of one file system.
type DiskForecast struct {
	// path of a directory in it: the deployment directory, or the engine's.
	Path string `json:"path"`
	// free bytes when the plan was made.
	Free int64 `json:"free"`
	// needs that are expected.
	// +listType=atomic
	// +optional
	Needs []DiskNeed `json:"needs,omitempty"`
}

// DiskPurpose is what disk is needed for.
// +kubebuilder:validation:Enum=Backup;Build;Pull
type DiskPurpose string

// Purposes.
const (
	// DiskForBackup is the backup before the update.
	DiskForBackup DiskPurpose = "Backup"
	// DiskForBuild are images that are built, and the cache of their builds.
	DiskForBuild DiskPurpose = "Build"
	// DiskForPull are images that are pulled.
	DiskForPull DiskPurpose = "Pull"
)

// DiskNeed is what one thing is expected to write.
type DiskNeed struct {
	// for says what: Backup, Build or Pull.
	For DiskPurpose `json:"for"`
	// bytes that are expected; missing where nothing is known to go by.
	// +optional
	Bytes *int64 `json:"bytes,omitempty"`
	// basis says in words what the number rests on.
	// +optional
	Basis string `json:"basis,omitempty"`
}
