// SPDX-License-Identifier: Apache-2.0

// Package release knows what a state that ran consists of, which one runs, and
// which ones can be gone back to.
package release

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Revision is the digest of all that makes a service's containers what they
// are: the Compose configuration (without the name of the image), the content
// of the image, and the mounted files that the commit brings. Containers with
// the same revision need not be replaced by each other.
func Revision(configHash, imageContent, filesDigest string) string {
	h := sha256.New()
	for _, s := range []string{"v1", configHash, imageContent, filesDigest} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// UnknownRevision is the revision of a container that fits no known release:
// only the container itself has it.
func UnknownRevision(containerID string) string {
	return "container-" + containerID[:min(12, len(containerID))]
}

// Name of the release with the given number.
func Name(application string, number int64) string {
	return fmt.Sprintf("%s-%d", application, number)
}

// Sort orders releases by number, newest first.
func Sort(releases []v1alpha1.Release) {
	slices.SortFunc(releases, func(a, b v1alpha1.Release) int {
		return int(b.Spec.Number - a.Spec.Number)
	})
}

// NextNumber is one more than any number that was given, counting releases
// that are not kept any more by last.
func NextNumber(releases []v1alpha1.Release, last int64) int64 {
	for _, r := range releases {
		last = max(last, r.Spec.Number)
	}
	return last + 1
}

// Current is the release that runs, or nil.
func Current(releases []v1alpha1.Release) *v1alpha1.Release {
	for i := range releases {
		if releases[i].Status.State == v1alpha1.ReleaseCurrent {
			return &releases[i]
		}
	}
	return nil
}

// Find returns the release called name, or nil.
func Find(releases []v1alpha1.Release, name string) *v1alpha1.Release {
	for i := range releases {
		if releases[i].Name == name {
			return &releases[i]
		}
	}
	return nil
}

// ByRequest returns the release that the request with the UID made, or nil. The
// name would not do: it may be given again once a request is deleted.
func ByRequest(releases []v1alpha1.Release, uid string) *v1alpha1.Release {
	for i := range releases {
		if uid != "" && releases[i].Labels[v1alpha1.LabelRequest] == uid {
			return &releases[i]
		}
	}
	return nil
}

// RevisionOf finds the revision of a container: by its label, by the releases
// that ran it, or as one of its own.
func RevisionOf(releases []v1alpha1.Release, containerID string, labels map[string]string) string {
	if r := labels[v1alpha1.LabelRevision]; r != "" {
		return r
	}
	for _, r := range releases {
		for _, s := range r.Spec.Services {
			if slices.Contains(s.Containers, containerID) {
				return s.Revision
			}
		}
	}
	return UnknownRevision(containerID)
}

// Service returns the record of a service, and false if the release does not
// have it.
func Service(r *v1alpha1.Release, name string) (v1alpha1.ReleaseService, bool) {
	if r != nil {
		for _, s := range r.Spec.Services {
			if s.Name == name {
				return s, true
			}
		}
	}
	return v1alpha1.ReleaseService{}, false
}

// Surplus returns the releases beyond the newest keep ones, oldest first. The
// current one and those in hold are never among them.
func Surplus(releases []v1alpha1.Release, keep int, hold ...string) []v1alpha1.Release {
	sorted := slices.Clone(releases)
	Sort(sorted)
	var out []v1alpha1.Release
	kept := 0
	for _, r := range sorted {
		if r.Status.State == v1alpha1.ReleaseCurrent || slices.Contains(hold, r.Name) || kept < keep {
			kept++
			continue
		}
		out = append(out, r)
	}
	slices.Reverse(out)
	return out
}

// Aged returns the releases that were made more than age before now and can still
// be gone back to, oldest first. An age of zero or less is no limit. The current
// one, the one before it and those in hold are never among them: a failure leads
// back to them.
func Aged(releases []v1alpha1.Release, age time.Duration, now time.Time, hold ...string) []v1alpha1.Release {
	if age <= 0 {
		return nil
	}
	sorted := slices.Clone(releases)
	Sort(sorted)
	var out []v1alpha1.Release
	before := false
	for _, r := range sorted {
		switch {
		case r.Status.State == v1alpha1.ReleaseCurrent, r.Status.State == v1alpha1.ReleaseExpired:
		case !before:
			before = true
		case !slices.Contains(hold, r.Name) && now.Sub(r.CreationTimestamp.Time) > age:
			out = append(out, r)
		}
	}
	slices.Reverse(out)
	return out
}
