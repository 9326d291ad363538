// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"syscall"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// rollout moves the working tree and brings the containers to the wanted
// revisions.
func (s *run) rollout(ctx context.Context) (err error) {
	var w *workspace
	var project *compose.Project
	err = s.together(
		func() (err error) { w, err = s.opened(ctx); return err },
		func() (err error) {
			if project, _, err = readModel((&workspace{dir: s.Application.Spec.Compose.Directory}).modelPath(s.Request.Status.ID)); err != nil {
				return failure.Terminalf(v1alpha1.ReasonRolloutFailed, "%w", err)
			}
			return nil
		},
	)
	if err != nil {
		return err
	}
	moved := s.moving(ctx, w)
	defer func() {
		if unmoved := moved(); unmoved != nil {
			err = unmoved
		}
	}()
	var releases []v1alpha1.Release
	seen := s.sights.left(s.Request.UID)
	err = s.together(
		func() (err error) { releases, err = s.Store.Releases(ctx, s.Application); return err },
		func() error {
			if err := s.rec.Begun(ctx); err != nil {
				return err
			}
			if err := s.Creator.EnsureResources(ctx, project, s.resourceLabels()); err != nil {
				return startError("networks and volumes", err)
			}
			return nil
		},
		func() (err error) { seen, err = s.lookAt(ctx, project.Name(), seen); return err },
	)
	if err != nil {
		return err
	}
	targets := s.targets(project)
	displace(targets, project, seen.containers, "")
	e := &executor{
		found: seen.containers, foundAt: seen.at, boxes: seen.gateways,
		run: s, project: project, releases: releases,
		in:        plan.RolloutInput{Targets: targets, Fresh: s.fresh(), Warm: !s.serial(), Serial: s.serial()},
		requestID: string(s.Request.UID),
		before:    servicesOf(release.Find(releases, s.Request.Status.PreviousRelease)),
		images:    s.images(),
		touched:   s.startedSince(v1alpha1.StepRollout),
		first:     moved,
		labels: map[string]string{
			v1alpha1.LabelApplication: applicationLabel(s.Application),
			v1alpha1.LabelRequest:     string(s.Request.UID),
			v1alpha1.LabelRelease:     s.releaseName(releases),
		},
	}
	return s.watched(ctx, project, seen.containers, func() error {
		err := e.loop(ctx)
		if unmoved := moved(); unmoved != nil {
			return unmoved // no container was touched
		}
		return s.backAtOnce(ctx, err)
	})
}

// resourceLabels are put on networks and volumes that Fairlead makes.
func (s *run) resourceLabels() map[string]string {
	return map[string]string{v1alpha1.LabelApplication: applicationLabel(s.Application)}
}

// releaseName is the name that the release of this request has or will have, or that of
// the release that is gone back to.
func (s *run) releaseName(releases []v1alpha1.Release) string {
	if r := release.ByRequest(releases, string(s.Request.UID)); r != nil {
		return r.Name
	}
	if r := s.goneBackTo(releases); r != nil {
		return r.Name
	}
	return release.Name(s.Application.Name, release.NextNumber(releases, s.Application.Status.LastReleaseNumber))
}

// targets are the services of the model with what the status says of each.
func (s *run) targets(project *compose.Project) []plan.Target {
	var out []plan.Target
	for _, u := range s.Request.Status.Services {
		t := plan.Target{Service: plan.Service{Name: u.Name, Revision: u.Revision, Gateway: u.Gateway}, Action: u.Action, Order: u.Order}
		if svc, ok := project.Service(u.Name); ok {
			t.Replicas, t.OneShot, t.ContainerName = svc.Replicas, svc.OneShot, svc.ContainerName
			t.Shares, t.VolumesFrom = shares(svc), volumesFrom(svc)
			b := s.batches(svc)
			t.Batch, t.Tolerate = b.size(svc), b.tolerate(svc)
			for _, d := range svc.DependsOn {
				t.DependsOn = append(t.DependsOn, plan.Dependency{Service: d.Service, Condition: plan.Condition(d.Condition)})
			}
		}
		out = append(out, t)
	}
	return following(out, project)
}

// following marks the services that live in the network of those behind the gateway.
func following(targets []plan.Target, project *compose.Project) []plan.Target {
	behind := map[string]bool{}
	for _, t := range targets {
		behind[t.Name] = t.Gateway
	}
	for i := range targets {
		if svc, ok := project.Service(targets[i].Name); ok {
			targets[i].Follows = follows(svc, behind)
		}
	}
	return targets
}

// servicesOf are the services of a release, which may be nil, by name.
func servicesOf(r *v1alpha1.Release) map[string]v1alpha1.ReleaseService {
	out := map[string]v1alpha1.ReleaseService{}
	if r != nil {
		for _, rs := range r.Spec.Services {
			out[rs.Name] = rs
		}
	}
	return out
}

// serial reports whether services are replaced one after another.
func (s *run) serial() bool {
	return s.Request.Status.Plan != nil && s.Request.Status.Plan.Strategy == v1alpha1.StrategyOneByOne
}

// fresh names the services whose containers are replaced although their
// revision stays the same.
func (s *run) fresh() map[string]bool {
	out := map[string]bool{}
	for _, u := range s.Request.Status.Services {
		if u.Recreate {
			out[u.Name] = true
		}
	}
	return out
}

// images are what new containers are made from.
func (s *run) images() map[string]imageRef {
	out := map[string]imageRef{}
	for _, u := range s.Request.Status.Services {
		out[u.Name] = imageRef{name: u.Image, id: u.ImageID}
	}
	return out
}

// serviceOf returns the record of a service in the status, to be changed inside
// of a recorded change.
func serviceOf(st *v1alpha1.UpdateRequestStatus, name string) *v1alpha1.ServiceUpdate {
	i := slices.IndexFunc(st.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Name == name })
	if i < 0 {
		st.Services = append(st.Services, v1alpha1.ServiceUpdate{Name: name, Action: v1alpha1.ActionRemove})
		i = len(st.Services) - 1
	}
	return &st.Services[i]
}

// startError tells an engine that is away, which passes, from a configuration
// that the engine refuses.
func startError(what string, err error) error {
	if docker.IsUnavailable(err) || isContextError(err) {
		return err
	}
	return failure.Terminalf(cmp.Or(hostFault(err), v1alpha1.ReasonRolloutFailed), "%s: %w", what, err)
}

// fullDisk is an error of the engine that says in words that its disk is full.
type fullDisk struct{ error }

// Unwrap gives it the number that errors of this program and of git have.
func (e fullDisk) Unwrap() []error { return []error{e.error, syscall.ENOSPC} }

// namedFullDisk is the end of a step, by which the status tells a full disk from
// any other disturbance, whoever met it.
func namedFullDisk(err error) error {
	if err == nil || failure.AsTerminal(err) != nil || failure.IsNoSpace(err) || hostFault(err) != v1alpha1.ReasonNoSpace {
		return err
	}
	return fullDisk{err}
}

// hostFault is the reason for an error of the engine that another commit would meet
// as well, for which the engine has no kind; "" if it is not known to be one.
func hostFault(err error) string {
	if failure.IsNoSpace(err) {
		return v1alpha1.ReasonNoSpace
	}
	text := err.Error()
	for _, f := range []struct{ words, reason string }{
		{"no space left on device", v1alpha1.ReasonNoSpace},
		{"disk quota exceeded", v1alpha1.ReasonNoSpace},
		{"port is already allocated", v1alpha1.ReasonHostConflict},
		{"address already in use", v1alpha1.ReasonHostConflict},
		{"is already in use by container", v1alpha1.ReasonHostConflict},
	} {
		if strings.Contains(text, f.words) {
			return f.reason
		}
	}
	return ""
}
