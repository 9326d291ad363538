// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReleaseSpec records one state that ran. It is written once.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a Release is a record and cannot be changed"
type ReleaseSpec struct {
	// applicationRef names the Application.
	// +required
	ApplicationRef LocalReference `json:"applicationRef"`

	// number of the release, counted per Application from 1.
	// +kubebuilder:validation:Minimum=1
	// +required
	Number int64 `json:"number"`

	// commit that was checked out, full SHA.
	// +optional
	Commit string `json:"commit,omitempty"`

	// subject of the commit.
	// +optional
	Subject string `json:"subject,omitempty"`

	// project is the Compose project name.
	// +required
	Project string `json:"project"`

	// composePath is the file on the host (mode 0600) that holds the rendered
	// Compose model; it is not in this object as it contains secrets.
	// +optional
	ComposePath string `json:"composePath,omitempty"`

	// composeDigest is the SHA-256 of that file.
	// +optional
	ComposeDigest string `json:"composeDigest,omitempty"`

	// environmentDigest is the SHA-256 over the environment files.
	// +optional
	EnvironmentDigest string `json:"environmentDigest,omitempty"`

	// services of the release.
	// +listType=map
	// +listMapKey=name
	// +optional
	Services []ReleaseService `json:"services,omitempty"`

	// buildBytes is by how much the engine's disk filled while the images of the
	// release were built; 0 where that is not known. What the next update will need
	// is foreseen from it.
	// +optional
	BuildBytes int64 `json:"buildBytes,omitempty"`
	// pullBytes is the same for images that were pulled.
	// +optional
	PullBytes int64 `json:"pullBytes,omitempty"`

	// request that made the release. Empty for the state that was found when
	// an application was taken over.
	// +optional
	Request string `json:"request,omitempty"`
}

// ReleaseService is one service of a release.
type ReleaseService struct {
	// name of the service.
	Name string `json:"name"`
	// image that its containers were made from.
	// +optional
	Image string `json:"image,omitempty"`
	// imageID on the host.
	// +optional
	ImageID string `json:"imageID,omitempty"`
	// repoDigest in a registry, where the image came from one.
	// +optional
	RepoDigest string `json:"repoDigest,omitempty"`
	// buildKey is the digest of all that determined the image's build.
	// +optional
	BuildKey string `json:"buildKey,omitempty"`
	// revision is the digest of configuration, image content and mounted files.
	// +optional
	Revision string `json:"revision,omitempty"`
	// replicas that ran.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// oneShot says that the service runs to its end.
	// +optional
	OneShot bool `json:"oneShot,omitempty"`
	// gateway says that its containers are behind the gateway.
	// +optional
	Gateway bool `json:"gateway,omitempty"`
	// containers, by ID, that ran the service when the release was recorded.
	// +listType=atomic
	// +optional
	Containers []string `json:"containers,omitempty"`
}

// ReleaseStatus is what is known of a release now.
type ReleaseStatus struct {
	// verified says that the release passed its health checks, verification
	// and soak time.
	// +optional
	Verified bool `json:"verified,omitempty"`

	// backup that was made before the release was replaced by the next one.
	// +optional
	Backup string `json:"backup,omitempty"`

	// state: Current, Previous (can be rolled back to) or Expired (its
	// images are gone).
	// +kubebuilder:validation:Enum=Current;Previous;Expired
	// +optional
	State string `json:"state,omitempty"`

	// message says why a release cannot be rolled back to.
	// +optional
	Message string `json:"message,omitempty"`
}

// Release states.
const (
	ReleaseCurrent  = "Current"
	ReleasePrevious = "Previous"
	ReleaseExpired  = "Expired"
)

// Release is the immutable record of one state of an Application that ran. It
// is the unit that is rolled back to.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rel,categories=all;fairlead
// +kubebuilder:printcolumn:name="Application",type=string,JSONPath=`.spec.applicationRef.name`
// +kubebuilder:printcolumn:name="Number",type=integer,JSONPath=`.spec.number`
// +kubebuilder:printcolumn:name="Commit",type=string,JSONPath=`.spec.commit`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Verified",type=boolean,JSONPath=`.status.verified`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Subject",type=string,priority=1,JSONPath=`.spec.subject`
// +kubebuilder:selectablefield:JSONPath=`.spec.applicationRef.name`
type Release struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the record.
	// +required
	Spec ReleaseSpec `json:"spec"`
	// status is what is known of it now; written as a whole.
	// +structType=atomic
	// +optional
	Status ReleaseStatus `json:"status,omitzero"`
}

// ReleaseList is a list of Releases.
//
// +kubebuilder:object:root=true
type ReleaseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Release `json:"items"`
}
