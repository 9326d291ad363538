// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// labelTemporary marks containers that backups make to read a volume.
const labelTemporary = "fairlead.dev/temporary"

// mend is what to do about most of it.
const mend = "start it again, or have the release rolled out again: an UpdateRequest to its commit with spec.force"

// Drift lists in what way containers are not as the current release, one of
// releases, has them. Without one there is none. One-shot services count only
// if a container of another revision runs.
func Drift(releases []v1alpha1.Release, containers []docker.Container) []v1alpha1.Drift {
	current := release.Current(releases)
	if current == nil {
		return nil
	}
	byService := map[string][]docker.Container{}
	for _, c := range containers {
		if c.Labels[labelTemporary] != "" {
			continue // of a backup
		}
		byService[c.Service] = append(byService[c.Service], c)
	}
	var out []v1alpha1.Drift
	for _, s := range current.Spec.Services {
		out = append(out, serviceDrift(s, current, releases, byService[s.Name])...)
		delete(byService, s.Name)
	}
	for service, cs := range byService {
		for _, c := range cs {
			if lives(c) {
				out = append(out, v1alpha1.Drift{Service: service, Kind: v1alpha1.DriftUnknown, Container: c.Name,
					Message: "release " + current.Name + " has no such service; stop it, or add it to the Compose file by a commit"})
			}
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.Drift) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Container, b.Container))
	})
	return out
}

func serviceDrift(s v1alpha1.ReleaseService, current *v1alpha1.Release, releases []v1alpha1.Release, containers []docker.Container) []v1alpha1.Drift {
	var out []v1alpha1.Drift
	add := func(kind v1alpha1.DriftKind, container, format string, args ...any) {
		out = append(out, v1alpha1.Drift{Service: s.Name, Kind: kind, Container: container, Message: fmt.Sprintf(format, args...)})
	}
	running, other := 0, 0
	var stopped []docker.Container
	for _, c := range containers {
		right := release.RevisionOf(releases, c.ID, c.Labels) == s.Revision
		switch {
		case right && lives(c):
			running++
		case right:
			stopped = append(stopped, c)
		case lives(c):
			other++
			add(v1alpha1.DriftChanged, c.Name, "%s; %s", difference(c, s, current), mend)
		}
	}
	if s.OneShot {
		return out
	}
	missing := int(s.Replicas) - running - other
	slices.SortFunc(stopped, func(a, b docker.Container) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range stopped[:max(0, min(missing, len(stopped)))] {
		missing--
		switch c.State {
		case docker.StatePaused:
			add(v1alpha1.DriftStopped, c.Name, "is paused; unpause it")
		case docker.StateCreated:
			add(v1alpha1.DriftStopped, c.Name, "was created and never started; %s", mend)
		default:
			add(v1alpha1.DriftStopped, c.Name, "does not run (exit code %d); %s", c.ExitCode, mend)
		}
	}
	if missing > 0 {
		add(v1alpha1.DriftMissing, "", "%d of %d containers are gone; %s", missing, s.Replicas, mend)
	}
	if extra := running - int(s.Replicas); extra > 0 {
		add(v1alpha1.DriftChanged, "", "%d containers run, release %s has %d; the next update removes what is too much",
			running, current.Name, s.Replicas)
	}
	return out
}

// lives reports whether a container runs, or the engine is about to start it
// again, which is a matter of health.
func lives(c docker.Container) bool {
	return c.State == docker.StateRunning || c.State == docker.StateRestarting
}

// difference says in what a container is not the release's.
func difference(c docker.Container, s v1alpha1.ReleaseService, current *v1alpha1.Release) string {
	switch {
	case s.ImageID != "" && c.ImageID != s.ImageID:
		return fmt.Sprintf("runs the image %s, release %s has another one", shortImage(c), current.Name)
	case c.Labels[v1alpha1.LabelRevision] != "":
		return fmt.Sprintf("runs another configuration than release %s has", current.Name)
	default:
		return fmt.Sprintf("was made by hand, with the image of release %s; its configuration may differ", current.Name)
	}
}

func shortImage(c docker.Container) string {
	id := strings.TrimPrefix(c.ImageID, "sha256:")
	return strings.TrimSpace(c.Image + " (" + id[:min(12, len(id))] + ")")
}
