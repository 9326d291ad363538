// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// ownTag matches the tags that Fairlead gives: twelve digits of an image or a
// commit.
var ownTag = regexp.MustCompile(`:[0-9a-f]{12}$`)

// cleanImages takes Fairlead's tags off images that no release of the application
// needs and that are not in keep: the engine removes an image with its last name,
// unless a container uses it. Those that came from a registry lose the names by which
// they were pulled as well. What another application needs keeps all names but those
// that are this application's alone.
func (s *run) cleanImages(ctx context.Context, gone, left []v1alpha1.Release, keep []string) error {
	candidates, err := s.imageCandidates(ctx, slices.Concat(gone, left)) // of those that are left, the expired ones
	if err != nil {
		return err
	}
	_, err = s.removeImages(ctx, candidates, gone, left, keep)
	return err
}

// removeImages is cleanImages for images that may go, by their IDs. It returns those that are left because
// containers use them.
func (s *run) removeImages(ctx context.Context, candidates []string, gone, left []v1alpha1.Release, keep []string) (used []string, err error) {
	others, err := s.Store.ImagesOfOthers(ctx, s.Application)
	if err != nil {
		return nil, err
	}
	needed := slices.Concat(release.Images(left), keep)
	// Where the Compose file names an image, all applications that build it keep it
	// under the same names; and the same content is the same image for all.
	own, private := ownRepositories(slices.Concat(gone, left)), projectRepositories(slices.Concat(gone, left))
	pulled := s.pulledRepositories(slices.Concat(gone, left))
	inUse := sync.OnceValues(func() (map[string]bool, error) { return s.Docker.ImagesInUse(ctx) })
	var errs []error
	for _, id := range candidates {
		if id == "" || slices.Contains(needed, id) {
			continue
		}
		img, err := s.Docker.ImageContent(ctx, id)
		if docker.IsNotFound(err) {
			continue
		}
		if err != nil {
			return used, err
		}
		names, shared := own, slices.Contains(others, id)
		if shared {
			names = private
		}
		for _, tag := range img.RepoTags {
			if !names[repositoryOf(tag)] || !ownTag.MatchString(tag) {
				continue // somebody else's name for it
			}
			if shared && len(img.RepoTags) == 1 {
				continue // another application uses it that has not named it yet
			}
			switch err := s.Docker.RemoveImageTag(ctx, tag); {
			case err == nil:
				s.say("removed the image %s", tag)
			case docker.IsConflict(err):
				used = append(used, id)
			case !docker.IsNotFound(err):
				errs = append(errs, err)
			}
		}
		if !shared {
			busy, err := s.removePulled(ctx, id, pulled, inUse)
			if busy {
				used = append(used, id)
			}
			errs = append(errs, err)
		}
	}
	return used, errors.Join(errs...)
}

// removePulled removes an image that only the names by which it was pulled keep,
// unless a container uses it: the engine takes a name off also where one does.
func (s *run) removePulled(ctx context.Context, id string, repositories map[string]bool, inUse func() (map[string]bool, error)) (busy bool, err error) {
	if len(repositories) == 0 {
		return false, nil
	}
	img, err := s.Docker.ImageContent(ctx, id)
	if docker.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	names := pulledNames(img, repositories)
	if len(names) == 0 {
		return false, nil
	}
	used, err := inUse()
	if err != nil || used[id] {
		return used[id], err
	}
	for _, name := range names {
		if err := s.Docker.RemoveImageTag(ctx, name); docker.IsConflict(err) {
			return true, nil // somebody has begun to use it
		} else if err != nil {
			return false, err
		}
	}
	s.say("removed the image %s", names[0])
	return false, nil
}

// pulledNames are the names of an image, tags first, if all are in the repositories
// and it can be pulled again; otherwise none.
func pulledNames(img docker.Image, repositories map[string]bool) []string {
	names := slices.Concat(img.RepoTags, img.RepoDigests)
	if len(img.RepoDigests) == 0 || slices.ContainsFunc(names, func(name string) bool { return !repositories[repositoryOf(name)] }) {
		return nil
	}
	return names
}

// pulledRepositories are those that services take their images from without a
// build; none where images are never to be pulled, as they are brought by hand.
func (s *run) pulledRepositories(releases []v1alpha1.Release) map[string]bool {
	if s.Application.Spec.Build.Pull == v1alpha1.PullNever {
		return nil
	}
	out := map[string]bool{}
	for _, r := range releases {
		for _, rs := range r.Spec.Services {
			if named, err := reference.ParseNormalizedNamed(rs.Image); err == nil && rs.BuildKey == "" {
				out[reference.FamiliarName(named)] = true
			}
		}
	}
	return out
}

// imageCandidates are the IDs of images that the releases name, that were built
// for the application, or that are kept under the name of its project, as those are
// that a failed update pulled.
func (s *run) imageCandidates(ctx context.Context, releases []v1alpha1.Release) ([]string, error) {
	var ids []string
	kept := projectRepositories(releases) // other names may be another application's too
	for _, r := range releases {
		for _, rs := range r.Spec.Services {
			ids = append(ids, rs.ImageID)
		}
	}
	found, err := s.Docker.Images(ctx) // an engine with many takes as long to tell of some
	if err != nil {
		return nil, err
	}
	label := applicationLabel(s.Application)
	for _, img := range found {
		if img.Labels[v1alpha1.LabelApplication] == label ||
			slices.ContainsFunc(img.RepoTags, func(tag string) bool { return kept[repositoryOf(tag)] && ownTag.MatchString(tag) }) {
			ids = append(ids, img.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// ownRepositories are the names under which Fairlead keeps images of an
// application: other applications may have the same images under theirs.
func ownRepositories(releases []v1alpha1.Release) map[string]bool {
	own := projectRepositories(releases)
	for _, r := range releases {
		for _, rs := range r.Spec.Services {
			if named, err := reference.ParseNormalizedNamed(rs.Image); err == nil && rs.BuildKey != "" {
				own[reference.FamiliarName(named)] = true
			}
		}
	}
	return own
}

// projectRepositories are those of them that are made of the project's name, and so are
// the application's alone.
func projectRepositories(releases []v1alpha1.Release) map[string]bool {
	out := map[string]bool{}
	for _, r := range releases {
		for _, rs := range r.Spec.Services {
			out[r.Spec.Project+"-"+rs.Name] = true
		}
	}
	return out
}

// repositoryOf is the name of an image's tag or digest without that, as the engine
// lists it; empty if it is none.
func repositoryOf(ref string) string {
	if at := strings.Index(ref, "@"); at >= 0 {
		return ref[:at]
	}
	return ref[:max(0, strings.LastIndex(ref, ":"))]
}
