// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/hooks"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// stepEnd is what the log calls the work after the end; it is no step of a request.
const stepEnd v1alpha1.StepName = "Hooks"

// maxHookMessage is how much of a hook's failure the status keeps.
const maxHookMessage = 1000

// hooksAt runs the hooks of a moment, one after another in the order of the
// Application. The first one that fails, and whose failure counts, ends the
// step. What an earlier attempt is known to have run is not run again.
func (s *run) hooksAt(ctx context.Context, at v1alpha1.HookPoint, service, project string) error {
	for _, h := range hooks.At(s.Application.Spec.Hooks, at, service) {
		rec, err := s.runHook(ctx, h, at, service, project)
		if err != nil {
			return err
		}
		if rec.State == v1alpha1.HookFailed && h.OnFailure != v1alpha1.HookContinue {
			return hookFailure(h, at, service, rec)
		}
	}
	return nil
}

func hookFailure(h v1alpha1.Hook, at v1alpha1.HookPoint, service string, rec v1alpha1.HookStatus) error {
	where := string(at)
	if service != "" {
		where += " of " + service
	}
	return failure.Terminalf(v1alpha1.ReasonHookFailed, "the hook %s at %s %s", h.Name, where, rec.Message)
}

// runHook runs one hook, unless it ran, and records what became of it: that it
// runs is written before it does, and how it ended before anything else happens.
// The error is a disturbance or an interruption.
func (s *run) runHook(ctx context.Context, h v1alpha1.Hook, at v1alpha1.HookPoint, service, project string) (v1alpha1.HookStatus, error) {
	rec := v1alpha1.HookStatus{Name: h.Name, At: at, Service: service}
	s.mu.Lock()
	known := hooks.Find(&s.Request.Status, h.Name, at, service)
	if known != nil {
		rec = *known
	}
	done := hooks.Done(&s.Request.Status, h, at, service)
	event := hooks.NewEvent(at, service, s.Request)
	s.mu.Unlock()
	name := hookName(h, at, service)
	if done {
		s.say("%s: ran before (%s)", name, rec.State)
		return rec, nil
	}
	if rec.State == v1alpha1.HookRunning {
		s.say("%s: is run again, as it is not known whether it ended", name)
	}
	container, missing, err := s.hookContainer(ctx, h, at, project)
	if err != nil {
		return rec, err
	}
	rec.State, rec.Message, rec.FinishedAt = v1alpha1.HookRunning, "", nil
	rec.Attempt++
	if missing == nil {
		s.recordHook(rec)
		if err := s.rec.Written(ctx); err != nil {
			return rec, err
		}
		s.say("%s: runs", name)
		missing = s.Hooks.Run(ctx, &h, event, container, func(line string) { s.say("%s | %s", h.Name, line) })
	}
	var bad *hooks.Failed
	var absent *noContainer
	switch {
	case missing == nil:
		rec.State = v1alpha1.HookSucceeded
		s.say("%s: passed", name)
	case errors.As(missing, &absent):
		rec.State, rec.Message = v1alpha1.HookSkipped, absent.Error()
		s.say("%s: is left out: %s", name, rec.Message)
	case errors.As(missing, &bad):
		rec.State, rec.Message = v1alpha1.HookFailed, limitTo(bad.Message, maxHookMessage)
		s.say("%s: failed: %s", name, rec.Message)
	default:
		return rec, fmt.Errorf("hook %s: %w", h.Name, missing)
	}
	now := metav1.NewTime(s.Clock.Now())
	rec.FinishedAt = &now
	s.recordHook(rec)
	return rec, s.rec.Written(ctx)
}

func hookName(h v1alpha1.Hook, at v1alpha1.HookPoint, service string) string {
	name := fmt.Sprintf("hook %s at %s", h.Name, at)
	if service != "" {
		name += " of " + service
	}
	return name
}

func (s *run) recordHook(rec v1alpha1.HookStatus) {
	s.record(func(st *v1alpha1.UpdateRequestStatus) {
		if have := hooks.Find(st, rec.Name, rec.At, rec.Service); have != nil {
			*have = rec
			return
		}
		st.Hooks = append(st.Hooks, rec)
	})
}

// noContainer says that a service does not run yet, or not any more.
type noContainer struct{ service string }

func (e *noContainer) Error() string {
	return "there is no container of the service " + e.service + " to run it in"
}

// hookContainer finds the container for a command: an old one up to
// BeforeService, and one that the request made from AfterService on. Where there
// is none of that kind, another one that runs does. missing says why there is
// none at all.
func (s *run) hookContainer(ctx context.Context, h v1alpha1.Hook, at v1alpha1.HookPoint, project string) (id string, missing, err error) {
	if h.Exec == nil {
		return "", nil, nil
	}
	if project == "" {
		return "", &hooks.Failed{Message: "finds no container, as the Compose project is not known"}, nil
	}
	containers, err := observe.Containers(ctx, s.Docker, project)
	if err != nil {
		return "", nil, err
	}
	containers = slices.DeleteFunc(containers, func(c docker.Container) bool { return c.Service != h.Exec.Service })
	if len(containers) == 0 {
		return "", &noContainer{h.Exec.Service}, nil
	}
	running := slices.DeleteFunc(containers, func(c docker.Container) bool { return c.State != docker.StateRunning })
	if len(running) == 0 {
		return "", &hooks.Failed{Message: "finds no running container of the service " + h.Exec.Service}, nil
	}
	return pickContainer(running, at, string(s.Request.UID)), nil, nil
}

// pickContainer prefers what the request made, or what it did not make.
func pickContainer(running []docker.Container, at v1alpha1.HookPoint, uid string) string {
	wantNew := at == v1alpha1.HookAfterService || at == v1alpha1.HookSuccess || at == v1alpha1.HookFailure
	slices.SortStableFunc(running, func(a, b docker.Container) int {
		mine := func(c docker.Container) int {
			if (c.Labels[v1alpha1.LabelRequest] == uid) == wantNew {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(mine(a), mine(b)), cmp.Compare(a.Name, b.Name))
	})
	return running[0].ID
}

// Due reports whether there is something for End to do.
func (r *Runner) Due(app *v1alpha1.Application, request *v1alpha1.UpdateRequest) bool {
	return request.Status.CleanUpPending || hooks.DueAtEnd(app, request)
}

// End does what is left when a request has ended: what its clean-up left, and the hooks for its end. How it ended stays
// as it is, whatever comes of that. The error is an interruption: what is then left is done at the next start.
func (r *Runner) End(ctx context.Context, work Work, rec Recorder) error {
	log, err := updatelog.Open(work.Request.Status.LogFile)
	if err != nil {
		log = updatelog.Lost(work.Request.Status.LogFile, err)
	}
	defer func() { _ = log.Close() }()
	s := &run{Deps: r.Deps, Work: work, rec: rec, log: log, clones: &r.clones, engineRoot: new(atomic.Pointer[string]), endings: &r.endings}
	if work.Request.Status.CleanUpPending {
		s.Step = v1alpha1.StepCleanUp
		start := r.Clock.Now()
		s.say("the rest of it, now that the request has succeeded")
		err := s.together(func() error { return s.claimed(ctx, s.cleanLeft) })
		if ctx.Err() == nil {
			_ = s.tell(err) // as of a restore by hand that has the directory
			s.record(func(st *v1alpha1.UpdateRequestStatus) { st.CleanUpPending = false })
			s.say("done in %s", r.Clock.Since(start).Round(time.Millisecond))
		}
	}
	at, ok := hooks.AtEnd(work.Request)
	if !ok || ctx.Err() != nil {
		return interrupted(ctx)
	}
	s.Step = stepEnd
	project := work.Application.Status.Project
	for _, h := range hooks.At(work.Application.Spec.Hooks, at, "") {
		_, err := s.runHook(ctx, h, at, "", project)
		if ctx.Err() != nil {
			return interrupted(ctx)
		}
		if err != nil {
			s.giveUpHook(h, at, err)
		}
	}
	return nil
}

// interrupted is the end of ctx, which is what the next start goes on from.
func interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return &failure.Interrupted{Err: context.Cause(ctx)}
}

// giveUpHook records a disturbance as a failure: at the end nothing waits for it to
// pass.
func (s *run) giveUpHook(h v1alpha1.Hook, at v1alpha1.HookPoint, err error) {
	now := metav1.NewTime(s.Clock.Now())
	s.say("%s: failed: %v", hookName(h, at, ""), err)
	s.recordHook(v1alpha1.HookStatus{
		Name: h.Name, At: at, State: v1alpha1.HookFailed, Attempt: 1, Message: limitTo(err.Error(), maxHookMessage), FinishedAt: &now,
	})
}
