// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// FailureAction says what becomes of an update when containers of a service fail.
// +kubebuilder:validation:Enum=Rollback;Pause;Continue
type FailureAction string

// Failure actions.
const (
	// FailureRollback goes back to the release before.
	FailureRollback FailureAction = "Rollback"
	// FailurePause ends the request and leaves everything as it is, for a
	// person to look at.
	FailurePause FailureAction = "Pause"
	// FailureContinue leaves the failed containers behind, as long as one of the
	// service's is ready.
	FailureContinue FailureAction = "Continue"
)

// RolloutBatches say how many containers of a service are replaced at once, and
// what becomes of the update if some of them fail. They are what Compose has in
// deploy.update_config.
type RolloutBatches struct {
	// parallelism is how many containers of a service are replaced at once; the
	// others go on serving meanwhile. Default: 0, all of them.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Parallelism *int32 `json:"parallelism,omitempty"`

	// delay is the pause between two such groups. A time such as 10s.
	// Default: 0s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Delay *metav1.Duration `json:"delay,omitempty"`

	// monitor is how long the new containers of a group are watched before the
	// next one, together with delay; after the last group, soak is made as long.
	// Default: 0s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Monitor *metav1.Duration `json:"monitor,omitempty"`

	// failureAction: Rollback, Pause (the request ends and everything stays as
	// it is), or Continue (failed containers are left behind, as long as one
	// of the service is ready). Default: Rollback.
	// +optional
	FailureAction FailureAction `json:"failureAction,omitempty"`

	// maxFailureRatio is the part of a service's new containers that may fail
	// without the update failing, from 0 to 1, such as "0.25". Never may all.
	// Default: 0.
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:Pattern=`^(0(\.[0-9]+)?|1(\.0+)?)$`
	// +optional
	MaxFailureRatio string `json:"maxFailureRatio,omitempty"`
}
