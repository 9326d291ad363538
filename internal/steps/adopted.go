// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// keepAdopted keeps images of an application that was taken over where the
// commit did not change them. They were built by another builder, and so differ
// from ours even for the same content: what can be compared is what our builder
// makes of the commit that runs and of the wanted one. It costs a build of the
// former, once, for services whose build context changed somewhere.
func (s *run) keepAdopted(ctx context.Context, w *workspace, want []wanted, current *v1alpha1.Release) error {
	if current == nil || current.Spec.Request != "" || s.Request.Spec.Force {
		return nil
	}
	doubtful := map[string]*wanted{}
	for i := range want {
		d := &want[i]
		rs, ok := release.Service(current, d.Name)
		if d.how == imageBuild && ok && rs.BuildKey != "" && rs.ImageID != "" && rs.ImageID != d.image.ID {
			doubtful[d.Name] = d
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	specs, err := s.specsAt(ctx, w, current.Spec.Commit, doubtful)
	if err != nil {
		s.say("what the commit that runs is built from cannot be told (%v): services whose images were built anew are replaced", err)
		return nil
	}
	s.say("building %s as well, to tell which images this commit changes", Short(current.Spec.Commit))
	out := s.output("")
	defer out.Close()
	built, err := s.Builder(int(max(1, s.Application.Spec.Build.Parallel))).Parallel(ctx, specs, out)
	if err != nil {
		if ctx.Err() != nil || build.Retryable(err) {
			return err
		}
		s.say("the commit that runs cannot be built any more (%v): services whose images were built anew are replaced", err)
		return nil
	}
	for name, result := range built {
		d := doubtful[name]
		before, err := s.Docker.ImageContent(ctx, result.ImageID)
		if err != nil {
			return err
		}
		if before.Content != d.image.Content {
			continue
		}
		rs, _ := release.Service(current, name)
		running, err := s.Docker.ImageContent(ctx, rs.ImageID)
		if docker.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		s.say("%s: the commit does not change its image, the one that runs is kept", name)
		d.image = running
	}
	return nil
}

// specsAt are the builds of services as of another commit.
func (s *run) specsAt(ctx context.Context, w *workspace, commit string, services map[string]*wanted) ([]build.Spec, error) {
	if err := w.export(ctx, commit); err != nil {
		return nil, err
	}
	model, err := w.load(ctx, commit)
	if err != nil {
		return nil, err
	}
	var specs []build.Spec
	for _, svc := range model.Services() {
		if services[svc.Name] == nil || svc.Build == nil {
			continue
		}
		spec, err := s.buildSpec(ctx, w, model, commit, svc)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}
