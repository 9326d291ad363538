// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// rollback brings every service of the request, and the working tree, back to
// the release that ran before. Nothing is built, and data stays as it is.
func (s *run) rollback(ctx context.Context) error {
	w, treeErr := s.workspace(ctx)
	if treeErr != nil {
		w, treeErr = s.bareWorkspace(ctx, treeErr)
	}
	releases, err := s.Store.Releases(ctx, s.Application)
	if err != nil {
		return err
	}
	previous := release.Find(releases, s.Request.Status.PreviousRelease)
	if name := s.Request.Status.PreviousRelease; name != "" && previous == nil {
		// Without it, going back would only remove what runs.
		return failure.Terminalf(v1alpha1.ReasonRollbackFailed,
			"the Release %s, which ran before, is gone, so the containers are left as they are: update to a good commit", name)
	}
	project, err := s.previousModel(ctx, w, previous)
	if err != nil {
		return failure.Terminalf(v1alpha1.ReasonRollbackFailed, "%w", err)
	}
	// Files that containers mount come back before the containers do.
	if treeErr == nil {
		treeErr = w.repo.MoveTo(ctx, s.Request.Status.PreviousTree)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.treeMayFollow(treeErr) {
		return fmt.Errorf("bring the working tree back to %s: %w", Short(s.Request.Status.PreviousTree), treeErr)
	}
	if treeErr != nil {
		s.say("the working tree stays where it is: %v", treeErr)
	}
	if err := s.removeStrays(ctx, project.Name()); err != nil {
		return err
	}
	containers, err := observe.Containers(ctx, s.Docker, project.Name())
	if err != nil {
		return err
	}
	e := s.undoing(project, previous, releases, containers)
	back := func() error { return e.loop(ctx) }
	if previous == nil {
		err = back() // ports go away for good
	} else {
		err = s.watched(ctx, project, containers, back)
	}
	if err != nil {
		if t := failure.AsTerminal(err); t != nil {
			// What is back comes back after a reboot too.
			if err := e.restorePolicies(ctx); err != nil {
				s.say("not every container has its restart policy again: %v", err)
			}
			return &failure.Terminal{Reason: v1alpha1.ReasonRollbackFailed, Message: t.Error() + s.dataNote(), Err: err}
		}
		return err
	}
	if err := e.restorePolicies(ctx); err != nil {
		return err
	}
	if err := s.pointTags(ctx, project, e.touchedImages()); err != nil {
		return err
	}
	if passes(treeErr) {
		return fmt.Errorf("the containers are back, the working tree cannot follow yet: %w", treeErr)
	}
	if made := release.ByRequest(releases, string(s.Request.UID)); made != nil {
		// It was cut off after it had recorded what it brought.
		if err := s.Store.Expire(ctx, made, "the update that made it was undone"); err != nil {
			return err
		}
	}
	if previous != nil {
		if err := s.Store.SetCurrent(ctx, s.Application, previous.Name, false); err != nil {
			return err
		}
	}
	result := s.rollbackStatus(previous, treeErr)
	s.record(func(st *v1alpha1.UpdateRequestStatus) { st.Rollback = result })
	s.say("%s", result.Message)
	return broughtBack(result, treeErr)
}

// removeStrays ends what the request made under another project name than the one
// that is gone back to: they would keep the ports.
func (s *run) removeStrays(ctx context.Context, project string) error {
	made, err := s.Docker.ContainersByLabel(ctx, map[string]string{v1alpha1.LabelRequest: string(s.Request.UID), docker.LabelProject: ""})
	if err != nil {
		return err
	}
	keep := context.WithoutCancel(ctx)
	for _, c := range made {
		if c.Labels[docker.LabelProject] == project {
			continue
		}
		timeout := defaultStopTimeout
		if c.StopTimeout != nil {
			timeout = *c.StopTimeout
		}
		s.say("%s: removing %s, which was made under the project name %s", c.Service, c.Name, c.Labels[docker.LabelProject])
		if _, err := s.Docker.StopAndKeep(keep, c.ID, timeout, ""); err != nil && !docker.IsNotFound(err) {
			return err
		}
		if err := s.Docker.Remove(keep, c.ID, false); err != nil {
			return err
		}
	}
	return nil
}

// undoing is what brings the containers back to the release that ran before, nil if there was none.
func (s *run) undoing(project *compose.Project, previous *v1alpha1.Release, releases []v1alpha1.Release, containers []docker.Container) *executor {
	targets := s.previousTargets(project, previous)
	displace(targets, project, containers, string(s.Request.UID))
	e := &executor{
		found: containers,
		run:   s, project: project, releases: releases,
		in:        plan.RolloutInput{Targets: targets, Undo: true},
		requestID: string(s.Request.UID),
		before:    servicesOf(previous),
		images:    previousImages(previous),
		touched:   s.startedSince(v1alpha1.StepRollback),
		labels: map[string]string{
			v1alpha1.LabelApplication: applicationLabel(s.Application),
			v1alpha1.LabelRequest:     string(s.Request.UID) + "-undo",
		},
	}
	if previous != nil {
		e.labels[v1alpha1.LabelRelease] = previous.Name
	}
	return e
}

func (s *run) rollbackStatus(previous *v1alpha1.Release, treeErr error) *v1alpha1.RollbackStatus {
	out := &v1alpha1.RollbackStatus{Commit: s.Request.Status.PreviousTree}
	if f := s.Request.Status.Failure; f != nil {
		out.Reason = f.Reason
	}
	if previous == nil {
		out.Message = "the application did not run before, so what was started is removed"
	} else {
		out.Release = previous.Name
		out.Message = fmt.Sprintf("the application runs release %s (%s) again", previous.Name, Short(previous.Spec.Commit))
	}
	if treeErr != nil {
		out.Message += fmt.Sprintf("; but the working tree could not go back to %s: %v", Short(s.Request.Status.PreviousTree), treeErr)
	}
	out.Message += s.dataNote()
	return out
}

// dataNote says where data could come back from: it is never restored by
// itself.
func (s *run) dataNote() string {
	if s.Request.Status.Backup == "" {
		return ""
	}
	return fmt.Sprintf("; data was not changed back, it could be restored from %s (%s)", s.Request.Status.Backup, s.Request.Status.BackupPath)
}

// previousModel is the model of the release that ran before; where it is not
// known, that of the update names the services, if it is of the same project.
func (s *run) previousModel(ctx context.Context, w *workspace, previous *v1alpha1.Release) (*compose.Project, error) {
	if previous != nil && previous.Spec.ComposePath != "" {
		p, err := releaseModel(previous)
		if err == nil {
			return p, nil
		}
		s.say("%v", err)
	}
	p, _, err := readModel(w.modelPath(s.Request.Status.ID))
	if err != nil && w.repo == nil {
		return nil, errors.New("no stored Compose model is left, and the Git clone cannot be read")
	}
	if err != nil {
		p, err = s.wantedModel(ctx, w)
	}
	if err == nil && previous != nil && previous.Spec.Project != "" && p.Name() != previous.Spec.Project {
		// Under another name it would find other containers, and end those that run.
		return nil, fmt.Errorf("the stored Compose model of the release %s cannot be used, and that of the update is of the project %s instead of %s",
			previous.Name, p.Name(), previous.Spec.Project)
	}
	return p, err
}

// touchedImages are the image IDs of the services that were brought back.
func (e *executor) touchedImages() map[string]string {
	out := map[string]string{}
	for _, t := range e.in.Targets {
		if t.Action != v1alpha1.ActionKeep {
			out[t.Name] = e.images[t.Name].id
		}
	}
	return out
}

// previousTargets are the services of the previous release. Those that the
// update kept are left alone.
func (s *run) previousTargets(project *compose.Project, previous *v1alpha1.Release) []plan.Target {
	if previous == nil {
		return nil
	}
	var out []plan.Target
	for _, rs := range previous.Spec.Services {
		t := plan.Target{
			Service: plan.Service{Name: rs.Name, Revision: rs.Revision, Replicas: int(rs.Replicas), OneShot: rs.OneShot, Gateway: rs.Gateway},
			Action:  v1alpha1.ActionReplace, Order: v1alpha1.OrderStopFirst,
		}
		i := slices.IndexFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Name == rs.Name })
		if i >= 0 {
			u := s.Request.Status.Services[i]
			if u.Action == v1alpha1.ActionKeep {
				t.Action = v1alpha1.ActionKeep
			}
			if u.Order == v1alpha1.OrderStartFirst {
				t.Order = u.Order
			}
		}
		if svc, ok := project.Service(rs.Name); ok {
			if c := svc.RollbackConfig; c != nil && composeOrders[c.Order] != "" && (t.Gateway || len(fixedPorts(svc)) == 0) {
				t.Order = composeOrders[c.Order]
			}
			t.ContainerName, t.Shares, t.VolumesFrom = svc.ContainerName, shares(svc), volumesFrom(svc)
			for _, d := range svc.DependsOn {
				t.DependsOn = append(t.DependsOn, plan.Dependency{Service: d.Service, Condition: plan.Condition(d.Condition)})
			}
		}
		out = append(out, t)
	}
	return following(out, project)
}

func previousImages(previous *v1alpha1.Release) map[string]imageRef {
	out := map[string]imageRef{}
	if previous != nil {
		for _, rs := range previous.Spec.Services {
			out[rs.Name] = imageRef{name: rs.Image, id: rs.ImageID}
		}
	}
	return out
}

// startedSince tells the containers that were started after a step began: a
// step that goes on after a crash cannot know that they passed their gate.
func (s *run) startedSince(step v1alpha1.StepName) func(docker.Container) bool {
	for _, st := range s.Request.Status.Steps {
		if st.Name == step && st.StartedAt != nil {
			began := st.StartedAt.Time
			return func(c docker.Container) bool { return !c.StartedAt.Before(began) }
		}
	}
	return untouched
}
