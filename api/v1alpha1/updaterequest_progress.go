// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ProgressUnit is what a progress is counted in.
// +kubebuilder:validation:Enum=Bytes;Steps
type ProgressUnit string

// Units of a progress.
const (
	// ProgressBytes are written to a backup.
	ProgressBytes ProgressUnit = "Bytes"
	// ProgressSteps are those of builds, and layers of images that are pulled.
	ProgressSteps ProgressUnit = "Steps"
)

// StepProgress is how far a step that runs has come.
type StepProgress struct {
	// done so far.
	Done int64 `json:"done"`
	// total that is to be done; 0 where it is not known. It can grow while more
	// becomes known.
	// +optional
	Total int64 `json:"total,omitempty"`
	// unit of done and total: Bytes or Steps.
	Unit ProgressUnit `json:"unit"`
	// estimated says that the total is that of the last time.
	// +optional
	Estimated bool `json:"estimated,omitempty"`
	// message says what is being done.
	// +optional
	Message string `json:"message,omitempty"`
}

// FailureStatus is why a request does not succeed.
type FailureStatus struct {
	// step that failed.
	Step StepName `json:"step"`
	// reason in a word.
	Reason string `json:"reason"`
	// message for a person.
	// +optional
	Message string `json:"message,omitempty"`
	// paused says that what was changed is not undone, as failureAction asks.
	// +optional
	Paused bool `json:"paused,omitempty"`
}
