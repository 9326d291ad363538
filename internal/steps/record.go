// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// recordRelease makes what runs a release, or the release that was gone back
// to the current one, if it is what runs.
// model is project as it is kept.
func (s *run) recordRelease(ctx context.Context, w *workspace, project *compose.Project, model []byte, containers []docker.Container, listed listing) error {
	images := map[string]string{}
	for _, u := range s.Request.Status.Services {
		images[u.Name] = u.ImageID
	}
	name := ""
	// All of it is done again by another attempt.
	err := s.together(
		func() (err error) { name, err = s.makeCurrent(ctx, w, project, model, containers, listed); return err },
		func() error { return s.pointTags(ctx, project, images) },
	)
	if err != nil {
		return err
	}
	s.record(func(st *v1alpha1.UpdateRequestStatus) { st.Release = name })
	s.say("this is release %s", name)
	return nil
}

// makeCurrent records the release, and that no other one runs. It returns its name.
func (s *run) makeCurrent(ctx context.Context, w *workspace, project *compose.Project, model []byte, containers []docker.Container, listed listing,
) (name string, err error) {
	releases, err := listed(ctx)
	if err != nil {
		return "", err
	}
	if r := s.goneBackTo(releases); r != nil {
		name = r.Name
	} else {
		rec, err := s.describeRelease(ctx, w, project, model, releases, containers)
		if err != nil {
			return "", err
		}
		if ref := s.Request.Spec.RollbackTo; ref != nil && rec.ResourceVersion == "" {
			s.say("what runs is release %s as it is today: settings of the gateway changed since, or it was found running and not made here", ref.Name)
		}
		made := rec.ResourceVersion == ""
		if err := s.Store.Record(ctx, rec); err != nil {
			return "", err
		}
		switch name = rec.Name; {
		case rec.ResourceVersion == "": // it was there, as an attempt before this one came that far
			if releases, err = s.Store.Releases(ctx, s.Application); err != nil {
				return "", err
			}
		case made:
			releases = append(releases, *rec)
		}
	}
	return name, s.Store.SetCurrentOf(ctx, s.Application, releases, name, true)
}

// goneBackTo is the release that the request goes back to, if what it puts in place is just that. It is
// not where revisions came out otherwise: by today's settings of the gateway, or as those
// of containers that were found running are not known. Then what runs is a release of its own, or
// the next way back would lead past it.
func (s *run) goneBackTo(releases []v1alpha1.Release) *v1alpha1.Release {
	if s.Request.Spec.RollbackTo == nil || release.ByRequest(releases, string(s.Request.UID)) != nil {
		return nil
	}
	r := release.Find(releases, s.Request.Spec.RollbackTo.Name)
	if r == nil || slices.ContainsFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool {
		rs, ok := release.Service(r, u.Name)
		return u.Revision != "" && u.Action != v1alpha1.ActionRemove && (!ok || rs.Revision != u.Revision || rs.Gateway != u.Gateway)
	}) {
		return nil
	}
	return r
}

func (s *run) describeRelease(ctx context.Context, w *workspace, project *compose.Project, model []byte, releases []v1alpha1.Release, containers []docker.Container,
) (*v1alpha1.Release, error) {
	if done := release.ByRequest(releases, string(s.Request.UID)); done != nil {
		return done, nil
	}
	rec := newRelease(s.Application, release.NextNumber(releases, s.Application.Status.LastReleaseNumber))
	st := s.Request.Status
	rec.Labels[v1alpha1.LabelRequest] = string(s.Request.UID)
	rec.Spec.Project, rec.Spec.Commit, rec.Spec.Request = project.Name(), st.Commit, s.Request.Name
	rec.Spec.BuildBytes, rec.Spec.PullBytes = st.BuildBytes, st.PullBytes
	if c, err := w.repo.Describe(ctx, st.Commit); err == nil {
		rec.Spec.Subject = c.Subject
	}
	rec.Spec.ComposePath = w.releaseModelPath(rec.Name)
	rec.Spec.ComposeDigest = digestOf(model)
	if err := atomicfile.WriteFile(rec.Spec.ComposePath, model, 0o600); err != nil {
		return nil, err
	}
	var err error
	if rec.Spec.EnvironmentDigest, err = w.environmentDigest(); err != nil {
		return nil, err
	}
	for _, u := range st.Services {
		svc, ok := project.Service(u.Name)
		if !ok || u.Action == v1alpha1.ActionRemove {
			continue
		}
		rs := v1alpha1.ReleaseService{
			Name: u.Name, Image: u.Image, ImageID: u.ImageID, Revision: u.Revision, Replicas: int32(svc.Replicas),
			OneShot: svc.OneShot, BuildKey: u.BuildKey, Gateway: u.Gateway,
		}
		if img, err := s.Docker.ImageContent(ctx, u.ImageID); err == nil && len(img.RepoDigests) > 0 {
			rs.RepoDigest = img.RepoDigests[0]
		}
		for _, c := range containers {
			if c.Service == u.Name && release.RevisionOf(releases, c.ID, c.Labels) == u.Revision {
				rs.Containers = append(rs.Containers, c.ID)
			}
		}
		rec.Spec.Services = append(rec.Spec.Services, rs)
	}
	s.keepUntouched(rec, releases)
	return rec, nil
}

// keepUntouched adds the services of the release gone back to that going back leaves alone: a migration that ran
// then is not to run once more.
func (s *run) keepUntouched(rec *v1alpha1.Release, releases []v1alpha1.Release) {
	ref := s.Request.Spec.RollbackTo
	if ref == nil {
		return
	}
	r := release.Find(releases, ref.Name)
	if r == nil {
		return
	}
	for _, rs := range r.Spec.Services {
		if _, have := release.Service(rec, rs.Name); !have && (rs.OneShot || rs.Replicas == 0) {
			rec.Spec.Services = append(rec.Spec.Services, rs)
		}
	}
	slices.SortFunc(rec.Spec.Services, func(a, b v1alpha1.ReleaseService) int { return strings.Compare(a.Name, b.Name) })
}
