// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plural"
)

const (
	defaultSoak = 30 * time.Second
	// endsSoon is how long Verify waits for old containers to end. Most do within a few hundredths of a second, and to
	// write that the next step begins takes as long.
	endsSoon = 200 * time.Millisecond
)

// verify asks the application's own checks, watches the new containers for the
// soak time, and records what runs as a release.
func (s *run) verify(ctx context.Context) error {
	w, err := s.opened(ctx)
	if err != nil {
		return err
	}
	project, model, err := readModel(w.modelPath(s.Request.Status.ID))
	if err != nil {
		return failure.Terminalf(v1alpha1.ReasonVerifyFailed, "%w", err)
	}
	listed := s.listReleases(ctx, time.Now())
	var seen look
	err = s.watched(ctx, project, nil, func() error {
		return s.backAtOnce(ctx, s.heeded(ctx, project, func(ctx context.Context, before look) (err error) {
			if err := s.askChecks(ctx, project.Name()); err != nil {
				return err
			}
			if len(s.Application.Spec.Verify.Checks) > 0 {
				before = look{} // they may have taken their time
			}
			seen, err = s.soak(ctx, project, before)
			return err
		}))
	})
	if err != nil {
		return err
	}
	if err := s.rec.Begun(ctx); err != nil {
		return err
	}
	seen.project = project
	s.endOld(project, seen, listed)
	if err := s.recordRelease(ctx, w, project, model, seen.containers, listed); err != nil {
		return err
	}
	if !s.restoreBegun() && s.endings.soon(ctx, s.application(), s.Request.UID, endsSoon) {
		s.leaveRest() // nothing is left for CleanUp to do first
	}
	return nil
}

func (s *run) askChecks(ctx context.Context, project string) error {
	spec := s.Application.Spec.Verify
	if len(spec.Checks) == 0 {
		s.say("the Application has no checks of its own")
		return nil
	}
	if err := s.rec.Begun(ctx); err != nil { // some are commands in containers
		return err
	}
	var checks []health.Check
	for _, c := range spec.Checks {
		check, err := s.check(c, project)
		if err != nil {
			return failure.Terminalf(v1alpha1.ReasonVerifyFailed, "%w", err)
		}
		checks = append(checks, check)
	}
	interval := 2 * time.Second
	if spec.Interval != nil {
		interval = spec.Interval.Duration
	}
	err := health.Verify(ctx, checks, int(spec.Attempts), interval, func(r health.Result) {
		switch {
		case r.Err == nil:
			s.say("check %s passed (attempt %d)", r.Name, r.Attempt)
		case r.Attempt == 1 || r.Attempt == r.Attempts:
			s.say("check %s failed (attempt %d of %d): %v", r.Name, r.Attempt, r.Attempts, r.Err)
		}
	})
	var bad *health.ChecksFailed
	if errors.As(err, &bad) {
		// What an engine runs may be down with it, which says nothing about the commit.
		if away := s.Docker.Check(ctx); docker.IsUnavailable(away) {
			return fmt.Errorf("the checks do not count, as the engine is away: %w (%v)", away, bad)
		}
		return s.pauses(&failure.Terminal{Reason: v1alpha1.ReasonVerifyFailed, Message: bad.Error(), Err: err}, compose.Service{})
	}
	return err
}

func (s *run) check(c v1alpha1.Check, project string) (health.Check, error) {
	timeout := health.DefaultCheckTimeout
	if c.Timeout != nil {
		timeout = c.Timeout.Duration
	}
	switch {
	case c.HTTP != nil:
		o := health.HTTPOptions{URL: c.HTTP.URL, BodyContains: c.HTTP.Contains, SkipTLSVerify: c.HTTP.InsecureSkipTLSVerify, Timeout: timeout}
		if c.HTTP.Status != 0 {
			o.Status = []int{int(c.HTTP.Status)}
		}
		return health.HTTP(c.Name, o)
	case c.TCP != nil:
		return health.TCP(c.Name, c.TCP.Address, timeout)
	case c.Exec != nil:
		service := c.Exec.Service
		return health.Exec(c.Name, s.Docker, func(ctx context.Context) (string, error) {
			return s.runningContainer(ctx, project, service)
		}, c.Exec.Command, timeout)
	}
	return nil, fmt.Errorf("the check %q says neither http nor tcp nor exec", c.Name)
}

func (s *run) runningContainer(ctx context.Context, project, service string) (string, error) {
	containers, err := observe.Containers(ctx, s.Docker, project)
	if err != nil {
		return "", err
	}
	if c, ok := s.toAsk(containers, service); ok {
		return c.ID, nil
	}
	return "", fmt.Errorf("the service %s has no running container", service)
}

// toAsk is the running container of a service that a check is asked in: one that the
// request made, and never an old one that only waits for a way back.
func (s *run) toAsk(containers []docker.Container, service string) (docker.Container, bool) {
	u := v1alpha1.ServiceUpdate{}
	if i := slices.IndexFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Name == service }); i >= 0 {
		u = s.Request.Status.Services[i]
	}
	var other docker.Container
	for _, c := range containers {
		switch {
		case c.Service != service || c.State != docker.StateRunning || s.keptWarm(c, u):
		case c.Labels[v1alpha1.LabelRequest] == string(s.Request.UID):
			return c, true
		case other.ID == "":
			other = c
		}
	}
	return other, other.ID != ""
}

// soak watches the containers that the request put in place, and returns what there is in the end, given what there
// was just now if that is known.
func (s *run) soak(ctx context.Context, project *compose.Project, seen look) (look, error) {
	d := defaultSoak
	if set := s.Application.Spec.Rollout.Soak; set != nil {
		d = set.Duration
	}
	for _, u := range s.Request.Status.Services {
		if svc, ok := project.Service(u.Name); ok && u.Action == v1alpha1.ActionReplace {
			d = max(d, s.batches(svc).monitor) // as Swarm watches after it replaced a container
		}
	}
	seen, err := s.lookAt(ctx, project.Name(), seen)
	if err != nil {
		return look{}, err
	}
	containers := seen.containers
	var ids []string
	for _, u := range s.Request.Status.Services {
		if u.Action != v1alpha1.ActionReplace && u.Action != v1alpha1.ActionCreate {
			continue
		}
		svc, _ := project.Service(u.Name)
		running := 0
		for _, c := range containers {
			if c.Service == u.Name && c.Running() && !s.keptWarm(c, u) && !slices.Contains(u.FailedContainers, Short12(c.ID)) {
				ids = append(ids, c.ID)
				running++
			}
		}
		if running < svc.Replicas-s.batches(svc).tolerate(svc) {
			return look{}, s.wentDown(ctx, u, containers, running, svc)
		}
	}
	if d <= 0 || len(ids) == 0 {
		return seen, nil
	}
	s.say("watching %s for %s", plural.Of(len(ids), "container"), d)
	spare := s.spare(project, containers, ids)
	bad, err := s.soakEach(ctx, ids, d, func(id string) bool {
		service := serviceOfContainer(containers, id)
		spare[service]--
		return spare[service] < 0
	})
	for id, u := range bad {
		service := serviceOfContainer(containers, id)
		if spare[service] >= 0 {
			s.say("%s: %s failed, which is borne: %s", service, u.Container, u.Reason)
			s.bear(service, id)
			continue
		}
		for _, c := range containers {
			if c.ID == id {
				s.keepLog(ctx, c)
			}
		}
		svc, _ := project.Service(service)
		t := failure.AsTerminal(failure.Terminalf(v1alpha1.ReasonHealthCheckFailed, "after the rollout, in the soak time of %s: %w", d, u))
		return look{}, s.pauses(t, svc)
	}
	if err != nil {
		return look{}, err
	}
	return s.lookAt(ctx, project.Name(), look{})
}

// spare is how many more containers of each service may fail.
func (s *run) spare(project *compose.Project, containers []docker.Container, ids []string) map[string]int {
	out := map[string]int{}
	for _, svc := range project.Services() {
		watched := 0
		for _, id := range ids {
			if serviceOfContainer(containers, id) == svc.Name {
				watched++
			}
		}
		out[svc.Name] = s.batches(svc).tolerate(svc) - max(svc.Replicas-watched, 0)
	}
	return out
}

func serviceOfContainer(containers []docker.Container, id string) string {
	for _, c := range containers {
		if c.ID == id {
			return c.Service
		}
	}
	return ""
}

// wentDown tells of a service whose containers had been ready in the rollout and
// do not run any more.
func (s *run) wentDown(ctx context.Context, u v1alpha1.ServiceUpdate, containers []docker.Container, running int, svc compose.Service) error {
	wanted := svc.Replicas
	why := fmt.Sprintf("%d of %d containers of the service %s run", running, wanted, u.Name)
	for _, c := range containers {
		if c.Service == u.Name && !c.Running() && slices.Contains(u.NewContainers, Short12(c.ID)) {
			s.keepLog(ctx, c)
			why += fmt.Sprintf("; %s is %s (exit code %d)", c.Name, c.State, c.ExitCode)
		}
	}
	return s.pauses(&failure.Terminal{Reason: v1alpha1.ReasonHealthCheckFailed, Message: "after the rollout " + why}, svc)
}

// keepLog puts the last lines of a container into the status and the log.
func (s *run) keepLog(ctx context.Context, c docker.Container) []string {
	lines, err := s.Docker.LogTail(ctx, c.ID, failureLogLines)
	if err != nil {
		lines = []string{fmt.Sprintf("(its log cannot be read: %v)", err)}
	}
	for i := range lines {
		lines[i] = limitTo(lines[i], maxLogLine)
		s.say("%s | %s", c.Name, lines[i])
	}
	service := c.Service
	s.record(func(st *v1alpha1.UpdateRequestStatus) { serviceOf(st, service).Log = lines })
	return lines
}

// pointTags gives the names that `docker compose` would use to the images, by
// service, that run now, so that a later `docker compose up` starts the same.
func (s *run) pointTags(ctx context.Context, project *compose.Project, images map[string]string) error {
	for _, svc := range project.Services() {
		id := images[svc.Name]
		if id == "" || strings.Contains(svc.ImageName, "@") { // a digest cannot mean another image
			continue
		}
		have, err := s.Docker.ImageContent(ctx, svc.ImageName)
		if err == nil && have.ID == id {
			continue
		}
		if err == nil || docker.IsNotFound(err) {
			err = s.Docker.TagImage(ctx, id, svc.ImageName)
		}
		if err != nil && (docker.IsUnavailable(err) || ctx.Err() != nil) {
			return fmt.Errorf("tag the image of %s: %w", svc.Name, err)
		}
		if err != nil {
			s.say("warning: a later `docker compose up` may replace %s, as its image cannot be called %s: %v", svc.Name, svc.ImageName, err)
		}
	}
	return s.pointBuildTags(ctx, project, images)
}

// pointBuildTags gives the images of built services, by service, the further names of build.tags.
func (s *run) pointBuildTags(ctx context.Context, project *compose.Project, images map[string]string) error {
	for _, svc := range project.Services() {
		if svc.Build == nil || images[svc.Name] == "" {
			continue
		}
		for _, tag := range svc.Build.Tags {
			err := s.Docker.TagImage(ctx, images[svc.Name], tag)
			if err != nil && (docker.IsUnavailable(err) || ctx.Err() != nil) {
				return fmt.Errorf("tag the image of %s: %w", svc.Name, err)
			}
			if err != nil {
				s.say("warning: the image of %s cannot be called %s (build.tags): %v", svc.Name, tag, err)
			}
		}
	}
	return nil
}
