// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ManifestSourceSpec says where manifests lie in Git, and with whose rights they
// are applied.
type ManifestSourceSpec struct {
	// url of the Git repository (https, ssh or file).
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[A-Za-z]+://[^/@]*:[^/@]*@')",message="url must not contain a password: put it into a Secret and name that in secretRef"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[Hh][Tt][Tt][Pp][Ss]?://[^/:@]*@')",message="url must not contain a user name, which may be a token: put it into a Secret and name that in secretRef"
	// +required
	URL string `json:"url"`

	// ref is the branch or tag whose manifests are applied. Default: the
	// repository's own default branch.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('-') && !self.contains('..')",message="ref must be the name of a branch or tag"
	// +optional
	Ref string `json:"ref,omitempty"`

	// path of the directory, relative to the top of the repository. All files in
	// it and below that end in .yaml or .yml are read. Default: the whole
	// repository.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="path must be relative to the top of the repository, without .."
	// +optional
	Path string `json:"path,omitempty"`

	// interval at which the repository is looked at, at least 10s. Default: 5m.
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s')",message="interval must be at least 10s"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`

	// secretRef names a Secret in the same namespace with the credentials for
	// Git: token, or username and password, or ssh-privatekey and known_hosts.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`

	// serviceAccountName is the identity with which the manifests are applied;
	// what it may not do is refused. Default: fairlead-manifests, which may do
	// nothing until a role is bound to it.
	// +kubebuilder:default=fairlead-manifests
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// prune deletes Applications that were applied from here and are not in Git
	// any more. Their containers go on running. UpdateRequests are never
	// deleted: retention.requests of the Application does that. Default: false.
	// +optional
	Prune bool `json:"prune,omitempty"`

	// suspend stops looking and applying until it is false again.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// AppliedManifest is one object that was applied.
type AppliedManifest struct {
	// kind: Application or UpdateRequest.
	Kind string `json:"kind"`
	// name of the object.
	Name string `json:"name"`
	// digest of what an UpdateRequest asks for: one that was applied once is not
	// created again, and its name cannot be used for another wish.
	// +optional
	Digest string `json:"digest,omitempty"`
	// file that it lies in, and line in it.
	// +optional
	File string `json:"file,omitempty"`
	// state: Applied; Recorded (an UpdateRequest that lay there when the
	// directory was looked at for the first time: it is not carried out); or
	// Gone (it is not in Git any more).
	// +kubebuilder:validation:Enum=Applied;Recorded;Gone
	State ManifestState `json:"state"`
}

// ManifestState says what became of an object in Git.
type ManifestState string

// Manifest states.
const (
	ManifestApplied  ManifestState = "Applied"
	ManifestRecorded ManifestState = "Recorded"
	ManifestGone     ManifestState = "Gone"
)

// ManifestSourceStatus is what was applied last.
type ManifestSourceStatus struct {
	// observedGeneration is the generation of the spec that this status belongs
	// to.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// directory that applied belongs to: the url, ref and path it was read from.
	// What lies in another one counts as seen for the first time.
	// +optional
	Directory string `json:"directory,omitempty"`

	// ref that is followed, such as refs/heads/main.
	// +optional
	Ref string `json:"ref,omitempty"`

	// commit that was applied last, whole, as a full SHA.
	// +optional
	Commit string `json:"commit,omitempty"`

	// appliedAt is when that was.
	// +optional
	AppliedAt *metav1.Time `json:"appliedAt,omitempty"`

	// applied are the objects of that commit, and UpdateRequests of earlier ones.
	// +listType=atomic
	// +optional
	Applied []AppliedManifest `json:"applied,omitempty"`

	// handledCheck is the value of the annotation fairlead.dev/check that the last
	// look answered.
	// +optional
	HandledCheck string `json:"handledCheck,omitempty"`

	// conditions: Ready.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ManifestSource is a directory in Git that holds Applications and
// UpdateRequests. What lies there is applied, all of a commit or nothing.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ms,categories=all;fairlead
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.spec.path`
// +kubebuilder:printcolumn:name="Commit",type=string,JSONPath=`.status.commit`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=='Ready')].message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a ManifestSource must have at most 63 characters, as it becomes a label"
type ManifestSource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what a person wishes.
	// +required
	Spec ManifestSourceSpec `json:"spec"`
	// status is what was applied; written by the controller alone.
	// +optional
	Status ManifestSourceStatus `json:"status,omitzero"`
}

// ManifestSourceList is a list of ManifestSources.
//
// +kubebuilder:object:root=true
type ManifestSourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ManifestSource `json:"items"`
}
