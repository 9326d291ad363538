// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ServiceUpdate is what became of one service.
type ServiceUpdate struct {
	// name of the service.
	Name string `json:"name"`
	// action that was decided: Keep, Create, Replace, Run or Remove.
	Action ServiceAction `json:"action"`
	// reason in words.
	// +optional
	Reason string `json:"reason,omitempty"`
	// order in which its containers are replaced: StartFirst or StopFirst.
	// +optional
	Order RolloutOrder `json:"order,omitempty"`
	// image that the new containers are made from.
	// +optional
	Image string `json:"image,omitempty"`
	// imageID is the digest of that image on the host.
	// +optional
	ImageID string `json:"imageID,omitempty"`
	// revision of the service after the update.
	// +optional
	Revision string `json:"revision,omitempty"`
	// buildKey is the digest of all that determines the image's build.
	// +optional
	BuildKey string `json:"buildKey,omitempty"`
	// recreate says that its containers are replaced although they are of the
	// wanted revision already.
	// +optional
	Recreate bool `json:"recreate,omitempty"`
	// gateway says that its containers are behind the gateway after the update.
	// +optional
	Gateway bool `json:"gateway,omitempty"`
	// oldContainers by ID (first 12 characters).
	// +listType=atomic
	// +optional
	OldContainers []string `json:"oldContainers,omitempty"`
	// newContainers by ID (first 12 characters).
	// +listType=atomic
	// +optional
	NewContainers []string `json:"newContainers,omitempty"`
	// failedContainers by ID (first 12 characters): new ones that failed, and were
	// borne as maxFailureRatio or failureAction allow.
	// +listType=atomic
	// +optional
	FailedContainers []string `json:"failedContainers,omitempty"`
	// pendingPostStart are containers by ID (first 12 characters) that were to be
	// started and in which the Compose file's post_start commands have not ended
	// yet, as far as is known. It is written before the start, so that a restart of
	// the daemon in between leaves no command out.
	// +listType=atomic
	// +optional
	PendingPostStart []string `json:"pendingPostStart,omitempty"`
	// oldRestart is the restart policy that the old containers had, as Compose
	// writes it: no, always, unless-stopped, on-failure or on-failure:3. Going back
	// gives it to them again.
	// +optional
	OldRestart string `json:"oldRestart,omitempty"`
	// health in words: waiting, starting, healthy, completed, unhealthy: why.
	// +optional
	Health string `json:"health,omitempty"`
	// log is the last lines of a container that failed.
	// +listType=atomic
	// +optional
	Log []string `json:"log,omitempty"`
}
