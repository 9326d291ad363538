// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// build brings every image to the host and then, with their content known,
// decides for good what is to be done with each service.
func (s *run) build(ctx context.Context) error {
	var w *workspace
	var project *compose.Project
	var releases []v1alpha1.Release
	err := s.together(
		func() (err error) {
			if w, err = s.workspace(ctx); err == nil {
				project, err = s.wantedModel(ctx, w)
			}
			return err
		},
		func() (err error) { releases, err = s.Store.Releases(ctx, s.Application); return err },
	)
	if err != nil {
		return err
	}
	commit := s.Request.Status.Commit
	current := release.Find(releases, s.Request.Status.PreviousRelease)
	want, err := s.desire(ctx, w, project, commit, releases)
	if err != nil {
		return err
	}
	if err := s.bringImages(ctx, want); err != nil {
		return err
	}
	if err := s.keepAdopted(ctx, w, want, current); err != nil {
		return err
	}
	shareBuilt(want)
	var seen look
	err = s.together(
		func() error { return s.tagContent(ctx, project, want) },
		func() (err error) { seen, err = s.lookAround(ctx, project.Name()); return err },
		func() error { _, err := writeModel(w.modelPath(s.Request.Status.ID), project); return err },
	)
	if err != nil {
		return err
	}
	if err := s.putBehind(ctx, want, seen.containers, current); err != nil {
		return err
	}
	var services []v1alpha1.ServicePlan
	err = s.together(
		func() (err error) {
			services, err = s.planServices(ctx, project, want, seen, releases, current)
			return err
		},
		func() error { return s.keptImages(ctx, project, want) },
	)
	if err != nil {
		return err
	}
	updates := serviceUpdates(services, want, seen.containers)
	s.record(func(st *v1alpha1.UpdateRequestStatus) { st.Services = updates })
	s.say("%s", plan.Summary(services))
	s.leaveLook(seen)
	return nil
}

// tagContent gives the images names by content, which outlive the tags that
// later builds take away.
func (s *run) tagContent(ctx context.Context, project *compose.Project, want []wanted) error {
	parts := make([]func() error, len(want))
	for i := range want {
		parts[i] = func() error {
			d := &want[i]
			ref := contentRef(contentRepository(project, d.Service), d.image.ID)
			if err := s.Docker.TagImage(ctx, d.image.ID, ref); err != nil {
				return fmt.Errorf("tag the image of %s: %w", d.Name, err)
			}
			if d.Build != nil || d.builtBy != "" {
				d.ImageName = ref
			}
			return nil
		}
	}
	return s.together(parts...)
}

// keptImages finds out whether the images are still there, now that they have
// names. Whoever removes the last other name of an image at the moment in which
// it is given this one, as a prune or another program may, removes it too; the
// step then begins again and builds it.
func (s *run) keptImages(ctx context.Context, project *compose.Project, want []wanted) error {
	parts := make([]func() error, len(want))
	for i, d := range want {
		parts[i] = func() error {
			_, err := s.Docker.ImageContent(ctx, contentRef(contentRepository(project, d.Service), d.image.ID))
			if docker.IsNotFound(err) {
				return fmt.Errorf("the image of %s was removed from the host while it was made ready: %w", d.Name, err)
			}
			return err
		}
	}
	return s.together(parts...)
}

// bringImages builds and pulls what is not on the host, some at a time.
func (s *run) bringImages(ctx context.Context, want []wanted) error {
	parallel := int(max(1, s.Application.Spec.Build.Parallel))
	out := s.output("")
	defer out.Close()
	gauge := s.imageGauge()
	var specs []build.Spec
	for _, d := range want {
		switch {
		case d.builtBy != "":
		case d.how == imageBuild:
			spec := d.spec
			spec.Progress = gauge.of(d.Name)
			spec.Missing = true // desire has looked
			specs = append(specs, spec)
		case d.how == imageReuse:
			s.say("%s: the same content was built already (%s)", d.Name, Short12(d.image.ID[len("sha256:"):]))
		}
	}
	for _, d := range want {
		if d.how == imagePull {
			gauge.expect(d.Name)
		}
	}
	disk := &diskMeter{}
	var results map[string]build.Result
	err := s.together(
		func() error { // no build has written anything by the time that the engine has said where its disk is
			if gauge.busy() {
				disk = s.meter(ctx)
			}
			return nil
		},
		func() (err error) { results, err = s.Builder(parallel).Parallel(ctx, specs, out); return err },
	)
	if err != nil {
		return imageError(v1alpha1.ReasonBuildFailed, err)
	}
	built := disk.taken()
	pulls, pctx := errgroup.WithContext(ctx)
	pulls.SetLimit(parallel)
	for i := range want {
		d := &want[i]
		if d.how != imagePull {
			continue
		}
		pulls.Go(func() error {
			lines := s.output(d.Name)
			defer lines.Close()
			_, _, err := s.Puller.Pull(pctx, d.ImageName, build.PullOptions{Platform: d.Platform, Progress: gauge.of(d.Name)}, lines)
			return err
		})
	}
	if err := pulls.Wait(); err != nil {
		return imageError(v1alpha1.ReasonPullFailed, err)
	}
	pulled := disk.taken()
	s.record(func(st *v1alpha1.UpdateRequestStatus) {
		// Another attempt finds what an earlier one has brought.
		st.BuildBytes, st.PullBytes = max(st.BuildBytes, built), max(st.PullBytes, pulled)
	})
	for i := range want {
		d := &want[i]
		if d.builtBy != "" {
			continue
		}
		ref := d.ImageName
		if r, ok := results[d.Name]; ok {
			ref = r.ImageID
		} else if d.how == imageReuse {
			ref = d.image.ID
		}
		found, err := s.lookup(ctx, ref, d)
		if err != nil {
			return err
		}
		if !found {
			return failure.Terminalf(v1alpha1.ReasonPullFailed,
				"the image %s of the service %s is not on the host, and the pull policy is Never: pull it by hand, or set build.pull", ref, d.Name)
		}
	}
	return nil
}

// imageError tells a disturbance, which passes, from a failure that the commit
// is to blame for.
func imageError(reason string, err error) error {
	if build.Retryable(err) || docker.IsUnavailable(err) {
		return err
	}
	var b *build.Error
	if errors.As(err, &b) {
		switch b.Kind { // the host is to blame, not the commit
		case build.KindNoSpace:
			reason = v1alpha1.ReasonNoSpace
		case build.KindUnauthorized:
			reason = v1alpha1.ReasonRegistryUnauthorized
		}
		return &failure.Terminal{Reason: reason, Message: b.Error(), Err: err}
	}
	return failure.Terminalf(reason, "%w", err)
}

// terminalIf makes err Terminal if it is one of kinds.
func terminalIf(err error, reason string, kinds ...error) error {
	if slices.ContainsFunc(kinds, func(k error) bool { return errors.Is(err, k) }) {
		return failure.Terminalf(reason, "%w", err)
	}
	return err
}
