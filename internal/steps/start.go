// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// start starts a container with the restart policy of its service, as a retired one
// was kept from starting by itself, and runs what comes after that.
func (e *executor) start(ctx context.Context, a plan.Action) error {
	keep := context.WithoutCancel(ctx)
	if p, ok := e.restartOf(a.Service); ok && a.Container.State == plan.StateExited {
		if err := e.Docker.SetRestartPolicy(keep, a.Container.ID, p); err != nil {
			return err
		}
	}
	if err := e.owePostStart(ctx, a.Service, a.Container.ID); err != nil {
		return err
	}
	e.health(a.Service, "starting")
	if err := e.Docker.Start(keep, a.Container.ID); err != nil {
		return err
	}
	e.mu.Lock()
	e.started[a.Container.ID] = true
	e.mu.Unlock()
	return e.afterStart(ctx, a.Service, a.Container.ID)
}

// owePostStart writes, before a container is started, that its post_start commands are to come.
func (e *executor) owePostStart(ctx context.Context, service, id string) error {
	if svc, _ := e.project.Service(service); len(svc.PostStart) == 0 {
		return nil
	}
	e.record(func(st *v1alpha1.UpdateRequestStatus) {
		if u := serviceOf(st, service); !slices.Contains(u.PendingPostStart, Short12(id)) {
			u.PendingPostStart = append(u.PendingPostStart, Short12(id))
		}
	})
	return e.rec.Written(ctx)
}

// paidPostStart records that they ended.
func (e *executor) paidPostStart(service, id string) {
	e.record(func(st *v1alpha1.UpdateRequestStatus) {
		u := serviceOf(st, service)
		u.PendingPostStart = slices.DeleteFunc(slices.Clone(u.PendingPostStart), func(have string) bool { return have == Short12(id) })
	})
}

// makeUpPostStart runs the post_start commands in a container that an earlier attempt started, and
// of which it is not known that they ended. One that does not run any more is left to its gate.
func (e *executor) makeUpPostStart(ctx context.Context, a plan.Action) error {
	e.run.mu.Lock()
	owed := slices.Contains(e.updateOf(a.Service).PendingPostStart, Short12(a.Container.ID))
	e.run.mu.Unlock()
	if c, _ := e.lookup(a.Container.ID); !owed || c.State != docker.StateRunning {
		return nil
	}
	e.say("%s: post_start is run in %s, as it is not known that it ended", a.Service, a.Container.Name)
	return e.afterStart(ctx, a.Service, a.Container.ID)
}

// restartOf is the restart policy of a service: that of the model, or else what its old containers
// had. Going back, what those had counts, as the model may be another one's; but for "no",
// which may be what an update before this one left when it was cut off.
func (e *executor) restartOf(service string) (p docker.RestartPolicy, known bool) {
	e.run.mu.Lock()
	old := e.updateOf(service).OldRestart
	e.run.mu.Unlock()
	svc, ok := e.project.Service(service)
	if ok && (!e.in.Undo || old == "" || old == "no") {
		return docker.RestartPolicy{Name: cmp.Or(svc.Restart.Name, "no"), MaximumRetryCount: svc.Restart.MaxAttempts}, true
	}
	if old == "" {
		return docker.RestartPolicy{}, false
	}
	name, count, _ := strings.Cut(old, ":")
	retries, _ := strconv.Atoi(count) // nothing is without limit
	return docker.RestartPolicy{Name: name, MaximumRetryCount: retries}, true
}

// restartWords is a restart policy as Compose writes it.
func restartWords(p docker.RestartPolicy) string {
	if p.MaximumRetryCount > 0 {
		return p.Name + ":" + strconv.Itoa(p.MaximumRetryCount)
	}
	return p.Name
}

// restorePolicies gives containers that were kept running the restart policy of
// their service again: a daemon that was killed while it retired one may have
// taken it away without stopping the container.
func (e *executor) restorePolicies(ctx context.Context) error {
	for _, t := range e.in.Targets {
		p, ok := e.restartOf(t.Name)
		if !ok || t.Action == v1alpha1.ActionKeep || t.OneShot {
			continue
		}
		for _, c := range e.seen {
			if c.Service != t.Name || !c.Running() {
				continue
			}
			if err := e.Docker.SetRestartPolicy(ctx, c.ID, p); err != nil && !docker.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}
