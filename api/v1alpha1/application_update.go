// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// UpdatePolicy says who asks for updates.
// +kubebuilder:validation:Enum=Manual;Automatic
type UpdatePolicy string

// Update policies.
const (
	// UpdateManual waits for somebody to create an UpdateRequest.
	UpdateManual UpdatePolicy = "Manual"
	// UpdateAutomatic creates an UpdateRequest when there is something newer.
	UpdateAutomatic UpdatePolicy = "Automatic"
)

// UpdateSpec says whether the application follows its source by itself. Whatever
// the policy, newer commits are looked for and shown in status.update.
//
// +kubebuilder:validation:XValidation:rule="(has(self.branch) ? 1 : 0) + (has(self.tagPattern) ? 1 : 0) + (has(self.semver) ? 1 : 0) <= 1",message="update follows at most one of branch, tagPattern and semver"
type UpdateSpec struct {
	// policy: Manual (newer commits are only shown) or Automatic (an
	// UpdateRequest is made for them). Default: Manual.
	// +kubebuilder:default=Manual
	// +optional
	Policy UpdatePolicy `json:"policy,omitempty"`

	// branch whose head is followed. Default: source.ref, or the branch that is
	// checked out.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('-') && !self.contains('..')",message="update.branch must be the name of a branch"
	// +optional
	Branch string `json:"branch,omitempty"`

	// tagPattern is a shell pattern such as release-*; the tag that was made
	// last among those that match is followed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +optional
	TagPattern string `json:"tagPattern,omitempty"`

	// semver is a range such as ">=1.4.0 <2.0.0", "1.x" or "~1.4"; the tag with the highest
	// version in it is followed. Tags may begin with v. Pre-releases count only
	// where the range names one.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +optional
	Semver string `json:"semver,omitempty"`

	// interval at which the source is looked at, at least 10s. A webhook has it
	// looked at sooner. Default: 5m.
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s')",message="update.interval must be at least 10s"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`

	// windows in which updates may be started by themselves. Default: always.
	// What a person asks for is not bound to them.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Windows []UpdateWindow `json:"windows,omitempty"`

	// cooldown is the least time between the end of an update and the next one
	// that starts by itself. Default: 0s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +optional
	Cooldown *metav1.Duration `json:"cooldown,omitempty"`
}

// Weekday is a day on which a window opens.
// +kubebuilder:validation:Enum=Mon;Tue;Wed;Thu;Fri;Sat;Sun
type Weekday string

// UpdateWindow is a time of the week.
//
// +kubebuilder:validation:XValidation:rule="self.start != self.end",message="a window must not end when it starts: leave windows out for always"
type UpdateWindow struct {
	// days on which the window opens: Mon, Tue, … Sun. Default: every day.
	// +kubebuilder:validation:MaxItems=7
	// +listType=set
	// +optional
	Days []Weekday `json:"days,omitempty"`

	// start of the window, as 22:00.
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
	// +required
	Start string `json:"start"`

	// end of the window, as 04:00; one that is before the start lies on the next day.
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
	// +required
	End string `json:"end"`

	// timeZone by its IANA name, such as Europe/Berlin. Default: UTC.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_+/-]*$`
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
}

// GitHubSpec says how GitHub is used beyond Git itself. Nothing of it is needed
// for updates, and none of it being out of reach holds one up.
type GitHubSpec struct {
	// owner of the repository, a user or an organisation. Default: taken from
	// the source's URL.
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9-]*$`
	// +optional
	Owner string `json:"owner,omitempty"`

	// repository by its name. Default: taken from the source's URL.
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	// +optional
	Repository string `json:"repository,omitempty"`

	// apiURL is the base URL of the API of a GitHub Enterprise Server, such as
	// https://github.example.com/api/v3/. Default: https://api.github.com/.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://[^@]+$`
	// +optional
	APIURL string `json:"apiURL,omitempty"`

	// secretRef names a Secret with the keys token (to read private
	// repositories and to write statuses) and webhook-secret (what GitHub signs
	// webhooks with). Default: source.secretRef.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`

	// commitStatuses writes to each commit how its update went. Needs a token.
	// +optional
	CommitStatuses bool `json:"commitStatuses,omitempty"`

	// environment, if set, is the name under which updates are shown as
	// GitHub Deployments, such as production. Needs a token.
	// +kubebuilder:validation:MaxLength=255
	// +optional
	Environment string `json:"environment,omitempty"`
}

// UpdateStatus is what is known of newer commits.
type UpdateStatus struct {
	// observedGeneration is the generation of the spec that ref and commit were
	// looked up for.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// ref that is followed, such as refs/heads/main or refs/tags/v1.4.2.
	// +optional
	Ref string `json:"ref,omitempty"`

	// commit is the newest one there, as a full SHA.
	// +optional
	Commit string `json:"commit,omitempty"`

	// available says that the newest commit is not the one that runs, and not one
	// that comes before it.
	// +optional
	Available bool `json:"available,omitempty"`

	// behind is the number of commits between the one that runs and the newest
	// one.
	// +optional
	Behind int32 `json:"behind,omitempty"`

	// changes are these commits, newest first, at most 100.
	// +listType=atomic
	// +optional
	Changes []Change `json:"changes,omitempty"`

	// checkedAt is when the newest commit was seen for the first time.
	// +optional
	CheckedAt *metav1.Time `json:"checkedAt,omitempty"`

	// message tells why newer commits cannot be looked for, or why a newer one is
	// not updated to by itself.
	// +optional
	Message string `json:"message,omitempty"`

	// handledCheck is the value of the annotation fairlead.dev/check that the last
	// look at the source answered.
	// +optional
	HandledCheck string `json:"handledCheck,omitempty"`

	// attempted is the newest commit that needs no request any more by itself:
	// there was one for it, of whomever, or a person asked for something else
	// after it was seen.
	// +optional
	Attempted string `json:"attempted,omitempty"`
}

// DriftKind says in what way a container is not as its release has it.
// +kubebuilder:validation:Enum=Missing;Stopped;Changed;Unknown
type DriftKind string

// Kinds of drift.
const (
	// DriftMissing: the release has a container that is gone.
	DriftMissing DriftKind = "Missing"
	// DriftStopped: it is there and does not run.
	DriftStopped DriftKind = "Stopped"
	// DriftChanged: a container of the service runs another image or
	// configuration than the release says.
	DriftChanged DriftKind = "Changed"
	// DriftUnknown: a container of the project belongs to no service of the
	// release.
	DriftUnknown DriftKind = "Unknown"
)

// Drift is one difference between what runs and the current release.
type Drift struct {
	// service in the Compose file.
	Service string `json:"service"`
	// kind: Missing, Stopped, Changed or Unknown.
	Kind DriftKind `json:"kind"`
	// container by name, if there is one.
	// +optional
	Container string `json:"container,omitempty"`
	// message tells a person what differs and what to do.
	// +optional
	Message string `json:"message,omitempty"`
}
