// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"path"
	"sort"
	"time"

	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// preStopAtLeast is how long the pre_stop commands of a container have, also where
// stopping has less.
const preStopAtLeast = 30 * time.Second

// afterStart runs the post_start commands of the Compose file, as Compose does
// after it started a container. All of them have as long as it may take until it is ready.
func (e *executor) afterStart(ctx context.Context, service, id string) error {
	svc, _ := e.project.Service(service)
	if len(svc.PostStart) == 0 {
		return nil
	}
	ctx, cancel := bounded(ctx, e.policy(plan.Action{Service: service, Container: plan.Container{ID: id}}).Timeout)
	defer cancel()
	for _, h := range svc.PostStart {
		if err := e.hook(ctx, service, id, h); err != nil {
			return fmt.Errorf("post_start of the service %s: %w", service, err)
		}
	}
	e.paidPostStart(service, id)
	return e.rec.Written(ctx) // or a daemon that is killed now would run them again
}

// beforeStop runs the pre_stop commands. A container that is on its way out is
// stopped whatever they say, and after limit also if they say nothing.
func (e *executor) beforeStop(ctx context.Context, service string, c docker.Container, limit time.Duration) {
	if c.State != docker.StateRunning {
		return
	}
	svc, _ := e.project.Service(service)
	ctx, cancel := bounded(ctx, limit)
	defer cancel()
	for _, h := range svc.PreStop {
		if err := e.hook(ctx, service, c.ID, h); err != nil {
			e.say("%s: pre_stop failed, the container is stopped all the same: %v", service, err)
		}
	}
}

// lateError says that commands took too long. It is no end of a context to anybody else.
type lateError struct{ after time.Duration }

func (e lateError) Error() string { return fmt.Sprintf("did not end within %s", e.after) }

func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, lateError{d})
}

// hook runs one command; what it prints goes to the log.
func (e *executor) hook(ctx context.Context, service, id string, h compose.Hook) error {
	out := e.output(service)
	defer out.Close()
	var env []string
	for k, v := range h.Environment {
		env = append(env, k+"="+v)
	}
	sort.Strings(env)
	code, err := e.Docker.Exec(ctx, id, h.Command, docker.ExecOptions{
		Env: env, User: h.User, WorkingDir: h.WorkingDir, Privileged: h.Privileged, Stdout: out, Stderr: out,
	})
	if late := (lateError{}); asError(context.Cause(ctx), &late) {
		return fmt.Errorf("%s %w", path.Base(h.Command[0]), late)
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%s ended with exit code %d", path.Base(h.Command[0]), code)
	}
	return nil
}
