// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// looked is what there was a moment ago.
type looked struct {
	releases []v1alpha1.Release
	look
}

// baseline makes sure that what runs is recorded as a release, so that there is
// something to go back to: an application that was started by hand gets its
// first release, and one whose containers somebody replaced gets another. It
// returns the releases, the current one (nil if nothing ran ever), and the
// project's containers.
//
// wanted is the model that the update brings. Containers of services that
// neither it nor the checked-out model has are of somebody else's Compose file
// under the same project name: they are no part of a release and left alone.
func (s *run) baseline(ctx context.Context, w *workspace, wanted *compose.Project, found looked) ([]v1alpha1.Release, *v1alpha1.Release, []docker.Container, error) {
	releases, containers, projectName := found.releases, found.containers, wanted.Name()
	var err error
	own := s.ownContainers(ctx, containers, wanted)
	if rec := unsettled(releases); rec != nil && !s.Request.Spec.DryRun {
		if err := s.rec.Begun(ctx); err != nil {
			return nil, nil, nil, err
		}
		if err := s.Store.SetCurrent(ctx, s.Application, rec.Name, false); err != nil {
			return nil, nil, nil, err
		}
		if releases, err = s.Store.Releases(ctx, s.Application); err != nil {
			return nil, nil, nil, err
		}
	}
	restored, err := s.restoredSince(release.Current(releases))
	if err != nil {
		return nil, nil, nil, err
	}
	if !restored && !stranger(releases, own) {
		return releases, release.Current(releases), containers, nil
	}
	if !s.Request.Spec.DryRun {
		if err := s.rec.Begun(ctx); err != nil {
			return nil, nil, nil, err
		}
	}
	rec, model, err := s.describeRunning(ctx, w, releases, own, projectName)
	if err != nil {
		return nil, nil, nil, err
	}
	if s.Request.Spec.DryRun {
		rec.Status.State = v1alpha1.ReleaseCurrent
		for i := range releases {
			releases[i].Status.State = v1alpha1.ReleasePrevious
		}
		releases = append([]v1alpha1.Release{*rec}, releases...)
		return releases, &releases[0], containers, nil
	}
	if model != nil {
		if _, err := writeModel(rec.Spec.ComposePath, model); failure.AsTerminal(err) != nil {
			s.say("the checked-out Compose model cannot be kept (%v): a rollback brings the containers back, but cannot make new ones", err)
			rec.Spec.ComposePath = ""
		} else if err != nil {
			return nil, nil, nil, err
		}
	}
	if rec.Spec.ComposePath != "" {
		if _, data, err := readModel(rec.Spec.ComposePath); err == nil {
			rec.Spec.ComposeDigest = digestOf(data)
		}
	}
	for _, rs := range rec.Spec.Services {
		if rs.ImageID != "" {
			// The name keeps the image when the tag that it has now moves on.
			if err := s.Docker.TagImage(ctx, rs.ImageID, contentRef(projectName+"-"+rs.Name, rs.ImageID)); err != nil {
				return nil, nil, nil, err
			}
		}
	}
	if err := s.Store.Record(ctx, rec); err != nil {
		return nil, nil, nil, err
	}
	if err := s.Store.SetCurrent(ctx, s.Application, rec.Name, false); err != nil {
		return nil, nil, nil, err
	}
	s.say("recorded what runs as release %s", rec.Name)
	if releases, err = s.Store.Releases(ctx, s.Application); err != nil {
		return nil, nil, nil, err
	}
	return releases, release.Current(releases), containers, nil
}

// ownContainers are the containers of services that the application has, or is
// to have; where one of a service runs, the stopped ones beside it that were
// made otherwise are left out, as nobody can say what they were.
func (s *run) ownContainers(ctx context.Context, containers []docker.Container, wanted *compose.Project) []docker.Container {
	services := map[string]bool{}
	for _, svc := range wanted.Services() {
		services[svc.Name] = true
	}
	all := false
	if slices.ContainsFunc(containers, func(c docker.Container) bool { return !services[c.Service] }) {
		model, err := observe.LoadCheckedOut(ctx, s.Application)
		all = err != nil
		if err == nil {
			for _, svc := range model.Services() {
				services[svc.Name] = true
			}
		}
	}
	up := func(c docker.Container) bool { return c.Running() || c.State == docker.StateRestarting }
	runs, same := map[string]bool{}, map[[3]string]bool{}
	for _, c := range containers {
		if up(c) {
			runs[c.Service], same[[3]string{c.Service, c.ConfigHash, c.ImageID}] = true, true
		}
	}
	return slices.DeleteFunc(slices.Clone(containers), func(c docker.Container) bool {
		return !all && !services[c.Service] || runs[c.Service] && !same[[3]string{c.Service, c.ConfigHash, c.ImageID}]
	})
}

// unsettled returns the record of what ran that an earlier attempt made and did
// not come to call the current release, as it was cut off.
func unsettled(releases []v1alpha1.Release) *v1alpha1.Release {
	i := slices.IndexFunc(releases, func(r v1alpha1.Release) bool { return r.Status.State == "" && r.Spec.Request == "" })
	if i < 0 {
		return nil
	}
	return &releases[i]
}

// stranger reports whether a container runs that no release knows; where there
// is no current release, as when the daemon lost its data, that is any.
func stranger(releases []v1alpha1.Release, containers []docker.Container) bool {
	current := release.Current(releases)
	for _, c := range containers {
		if current == nil && c.Running() {
			return true
		}
		if c.State == docker.StateCreated || c.State == docker.StateRemoving || c.State == docker.StateDead {
			continue
		}
		if release.RevisionOf(releases, c.ID, c.Labels) == release.UnknownRevision(c.ID) {
			return true
		}
	}
	return false
}

// describeRunning makes the record of what runs at the checked-out commit. The
// model is nil if what is checked out cannot be loaded.
func (s *run) describeRunning(ctx context.Context, w *workspace, releases []v1alpha1.Release, containers []docker.Container, projectName string) (*v1alpha1.Release, *compose.Project, error) {
	number := release.NextNumber(releases, s.Application.Status.LastReleaseNumber)
	rec := newRelease(s.Application, number)
	rec.Spec.Project, rec.Spec.Commit = projectName, w.head.Commit
	if c, err := w.repo.Describe(ctx, w.head.Commit); err == nil {
		rec.Spec.Subject = c.Subject
	}
	var err error
	if rec.Spec.EnvironmentDigest, err = w.environmentDigest(); err != nil {
		return nil, nil, err
	}
	model, err := observe.LoadCheckedOut(ctx, s.Application)
	if err != nil {
		s.say("the checked-out Compose file cannot be loaded (%v): a rollback brings the containers back, but cannot make new ones", err)
		model = nil
	} else {
		rec.Spec.ComposePath = w.releaseModelPath(rec.Name)
	}
	byService := map[string][]docker.Container{}
	for _, c := range containers {
		if c.State != docker.StateRemoving && c.State != docker.StateDead && c.State != docker.StateCreated {
			byService[c.Service] = append(byService[c.Service], c)
		}
	}
	for name, cs := range byService {
		rs, err := s.describeService(ctx, w, releases, model, name, cs)
		if err != nil {
			return nil, nil, err
		}
		rec.Spec.Services = append(rec.Spec.Services, rs)
	}
	slices.SortFunc(rec.Spec.Services, func(a, b v1alpha1.ReleaseService) int { return strings.Compare(a.Name, b.Name) })
	return rec, model, nil
}

func (s *run) describeService(ctx context.Context, w *workspace, releases []v1alpha1.Release, model *compose.Project, name string, cs []docker.Container) (v1alpha1.ReleaseService, error) {
	// What runs comes before what stopped.
	slices.SortStableFunc(cs, func(a, b docker.Container) int { return boolRank(a.Running()) - boolRank(b.Running()) })
	first := cs[0]
	rs := v1alpha1.ReleaseService{Name: name, Image: first.Image, ImageID: first.ImageID}
	rs.Revision, rs.Gateway = release.RevisionOf(releases, first.ID, first.Labels), isBehind(first)
	for _, c := range cs {
		if c.Running() {
			rs.Replicas++
		}
		rs.Containers = append(rs.Containers, c.ID)
	}
	img, err := s.Docker.ImageContent(ctx, first.ImageID)
	if docker.IsNotFound(err) {
		rs.ImageID = "" // the image is gone, the container can still be brought back
		return rs, nil
	}
	if err != nil {
		return rs, err
	}
	if len(img.RepoDigests) > 0 {
		rs.RepoDigest = img.RepoDigests[0]
	}
	if model == nil {
		return rs, nil
	}
	svc, ok := model.Service(name)
	if !ok {
		return rs, nil
	}
	rs.OneShot = svc.OneShot
	if rs.Revision == release.UnknownRevision(first.ID) {
		same, err := model.SameDefinition(name, compose.RunningContainer{
			Labels: first.Labels, Image: first.Image, NetworkMode: first.NetworkMode,
			PidMode: first.PidMode, IpcMode: first.IpcMode, VolumesFrom: first.VolumesFrom,
		})
		if err != nil {
			return rs, err
		}
		if same && !(svc.OneShot && first.ExitCode != 0) {
			definition, err := model.DefinitionHash(name)
			if err != nil {
				return rs, err
			}
			files, err := w.filesDigest(ctx, w.head.Commit, svc.TrackedPaths)
			if err != nil {
				return rs, err
			}
			rs.Revision = release.Revision(definition, img.Content, files)
		}
	}
	// An image that was not built since the checkout may be of another commit:
	// then nothing is known of what it was built from.
	if svc.Build == nil {
		return rs, nil
	}
	moved, err := w.repo.MovedAt(ctx)
	if err != nil {
		return rs, err
	}
	if builtSince(img, moved) {
		spec, err := s.buildSpec(ctx, w, model, w.head.Commit, svc)
		if err != nil {
			return rs, err
		}
		rs.BuildKey = spec.Key
	}
	return rs, nil
}

// builtSince reports whether a build gave the image its name after the working
// tree came to its commit.
func builtSince(img docker.Image, moved time.Time) bool {
	return !moved.IsZero() && (img.Created.After(moved) || img.Tagged.After(moved))
}

func boolRank(first bool) int {
	if first {
		return 0
	}
	return 1
}

func newRelease(app *v1alpha1.Application, number int64) *v1alpha1.Release {
	return &v1alpha1.Release{
		ObjectMeta: metav1.ObjectMeta{
			Name: release.Name(app.Name, number), Namespace: app.Namespace,
			Labels: map[string]string{v1alpha1.LabelApplication: applicationLabel(app)},
		},
		Spec: v1alpha1.ReleaseSpec{
			ApplicationRef: v1alpha1.LocalReference{Name: app.Name}, Number: number,
		},
	}
}

// findRelease returns a release that can be gone back to, or says why not.
func findRelease(releases []v1alpha1.Release, name string) (*v1alpha1.Release, error) {
	r := release.Find(releases, name)
	if r == nil {
		var names []string
		for _, have := range releases {
			names = append(names, have.Name)
		}
		return nil, fmt.Errorf("the Application has no release %s; it has: %s", name, orNone(names))
	}
	if r.Status.State == v1alpha1.ReleaseExpired {
		return nil, fmt.Errorf("the release %s cannot be gone back to any more: %s", name, r.Status.Message)
	}
	return r, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
