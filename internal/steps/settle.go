// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// up reports whether a container runs, or will again by itself.
func up(c docker.Container) bool { return c.Running() || c.State == docker.StateRestarting }

// keepsWarm reports whether the rollout may have left old containers running.
func (s *run) keepsWarm() bool {
	return s.Gateways != nil && slices.ContainsFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Gateway })
}

// settle ends the old containers that were kept running for a way back, now that
// the update is verified. Git has no part in it. listed are the releases, seen is what there was just now, if that is known,
// and told is told how far it is. The error is Terminal if trying again does not help.
func (s *run) settle(ctx context.Context, listed func() ([]v1alpha1.Release, error), seen look, told old) error {
	if !s.keepsWarm() {
		return nil
	}
	project, modelErr := seen.project, error(nil)
	if project == nil {
		project, _, modelErr = readModel((&workspace{dir: s.Application.Spec.Compose.Directory}).modelPath(s.Request.Status.ID))
	}
	name := s.Application.Status.Project
	if modelErr == nil {
		name = project.Name()
	} else if name == "" {
		return failure.Terminalf(v1alpha1.ReasonRolloutFailed, "%w", modelErr)
	}
	var releases []v1alpha1.Release
	var unknown error
	err := s.together(
		func() (err error) { seen, err = s.lookAt(ctx, name, seen); return err },
		func() error { releases, unknown = listed(); return nil },
	)
	if err != nil {
		return err
	}
	warm := slices.ContainsFunc(seen.containers, func(c docker.Container) bool {
		return up(c) && slices.ContainsFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool {
			return u.Name == c.Service && s.keptWarm(c, u)
		})
	})
	if !warm {
		return nil // also where the model is gone, as an attempt before this one came that far
	}
	if modelErr != nil {
		return failure.Terminalf(v1alpha1.ReasonRolloutFailed, "%w", modelErr)
	}
	if unknown != nil {
		return unknown
	}
	e := &executor{
		run: s, project: project, found: seen.containers, foundAt: seen.at, boxes: seen.gateways, releases: releases, settling: true, old: told,
		in:        plan.RolloutInput{Targets: s.targets(project), Fresh: s.fresh(), Serial: s.serial()},
		requestID: string(s.Request.UID),
		before:    servicesOf(release.Find(releases, s.Request.Status.PreviousRelease)),
		images:    s.images(),
		labels: map[string]string{
			v1alpha1.LabelApplication: applicationLabel(s.Application),
			v1alpha1.LabelRequest:     string(s.Request.UID),
			v1alpha1.LabelRelease:     s.releaseName(releases),
		},
	}
	return e.loop(ctx)
}
