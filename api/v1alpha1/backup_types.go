// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupSpec says what a recovery point belongs to. It is written once, by the
// controller.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a Backup is a record and cannot be changed"
type BackupSpec struct {
	// applicationRef names the Application.
	// +required
	ApplicationRef LocalReference `json:"applicationRef"`

	// id of the backup, backup_YYYYMMDD_HHMMSS: the name of its directory.
	// +kubebuilder:validation:Pattern=`^backup_[0-9]{8}_[0-9]{6}$`
	// +required
	ID string `json:"id"`

	// request that the backup was made for.
	// +optional
	Request string `json:"request,omitempty"`

	// release that ran when the backup was made.
	// +optional
	Release string `json:"release,omitempty"`

	// commit that ran when the backup was made, full SHA.
	// +optional
	Commit string `json:"commit,omitempty"`
}

// BackupArtifact is one file of a backup.
type BackupArtifact struct {
	// name of the artifact.
	Name string `json:"name"`
	// kind: Files, Volume, Bind or PostgreSQL.
	Kind string `json:"kind"`
	// file in the backup's directory.
	File string `json:"file"`
	// bytes of that file.
	Bytes int64 `json:"bytes"`
	// sha256 of that file, hexadecimal.
	SHA256 string `json:"sha256"`
	// note says what is worth knowing of the artifact.
	// +optional
	Note string `json:"note,omitempty"`
}

// BackupStatus is what a backup holds.
type BackupStatus struct {
	// path of the backup's directory on the host.
	// +optional
	Path string `json:"path,omitempty"`

	// bytes in all.
	// +optional
	Bytes int64 `json:"bytes,omitempty"`

	// size for people, such as 12.3 MiB.
	// +optional
	Size string `json:"size,omitempty"`

	// artifacts in the backup.
	// +listType=map
	// +listMapKey=name
	// +optional
	Artifacts []BackupArtifact `json:"artifacts,omitempty"`

	// warnings name what is not in the backup.
	// +listType=atomic
	// +optional
	Warnings []string `json:"warnings,omitempty"`

	// verified says how the backup was verified: Checksums.
	// +optional
	Verified string `json:"verified,omitempty"`

	// completedAt is when the backup was whole.
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
}

// Backup is one recovery point of an Application, made before an update.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bk,categories=all;fairlead
// +kubebuilder:printcolumn:name="Application",type=string,JSONPath=`.spec.applicationRef.name`
// +kubebuilder:printcolumn:name="ID",type=string,JSONPath=`.spec.id`
// +kubebuilder:printcolumn:name="Commit",type=string,JSONPath=`.spec.commit`
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.status.size`
// +kubebuilder:printcolumn:name="Verified",type=string,JSONPath=`.status.verified`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Path",type=string,priority=1,JSONPath=`.status.path`
// +kubebuilder:selectablefield:JSONPath=`.spec.applicationRef.name`
type Backup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what the backup belongs to.
	// +required
	Spec BackupSpec `json:"spec"`
	// status says what it holds.
	// +optional
	Status BackupStatus `json:"status,omitzero"`
}

// BackupList is a list of Backups.
//
// +kubebuilder:object:root=true
type BackupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Backup `json:"items"`
}
