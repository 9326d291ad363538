// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// afterStart runs the post_start commands of the Compose file, as Compose does
// after it started a container.
func (e *executor) afterStart(ctx context.Context, service, id string) error {
	svc, _ := e.project.Service(service)
	for _, h := range svc.PostStart {
		if err := e.hook(ctx, service, id, h); err != nil {
			return fmt.Errorf("post_start of the service %s: %w", service, err)
		}
	}
	return nil
}

// beforeStop runs the pre_stop commands. A container that is on its way out is
// stopped whatever they say.
func (e *executor) beforeStop(ctx context.Context, service string, c docker.Container) {
	if c.State != docker.StateRunning {
		return
	}
	svc, _ := e.project.Service(service)
	for _, h := range svc.PreStop {
		if err := e.hook(ctx, service, c.ID, h); err != nil {
			e.say("%s: pre_stop failed, the container is stopped all the same: %v", service, err)
		}
	}
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
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%s ended with exit code %d", path.Base(h.Command[0]), code)
	}
	return nil
}

// resolveAnew has nginx servers that were kept, and that depend on services
// whose containers changed, reload: nginx resolves a name in proxy_pass only
// when it reads its configuration, and would send requests to an address that
// nobody has any more. A reload takes no request down.
func (e *executor) resolveAnew(ctx context.Context) error {
	changed := map[string]bool{}
	for _, t := range e.in.Targets {
		// Behind the gateway its address stays the same.
		if t.Action != v1alpha1.ActionKeep && !(t.Gateway && e.before[t.Name].Gateway) {
			changed[t.Name] = true
		}
	}
	e.mu.Lock()
	containers := make([]docker.Container, 0, len(e.seen))
	for _, c := range e.seen {
		containers = append(containers, c)
	}
	e.mu.Unlock()
	slices.SortFunc(containers, func(a, b docker.Container) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range containers {
		svc, ok := e.project.Service(c.Service)
		if !ok || changed[c.Service] || c.State != docker.StateRunning || !isNginx(c) {
			continue
		}
		if !slices.ContainsFunc(svc.DependsOn, func(d compose.Dependency) bool { return changed[d.Service] }) {
			continue
		}
		e.say("%s: reloading the nginx of %s, so that it resolves its upstreams anew", c.Service, c.Name)
		before := e.nginxWorkers(ctx, c.ID)
		if err := e.Docker.ContainerKill(ctx, c.ID, "HUP"); err != nil && !docker.IsNotFound(err) && !docker.IsConflict(err) {
			return fmt.Errorf("reload the nginx of %s: %w", c.Name, err)
		}
		e.reloaded(ctx, c.ID, before)
	}
	return nil
}

// Waiting for nginx: how long at most, and how often it is looked at.
const (
	reloadTimeout = 5 * time.Second
	reloadPoll    = 20 * time.Millisecond
)

// reloaded waits until the workers of before take no more requests, which they
// would send to addresses that are gone, and others do. An nginx that does not
// reload, as its configuration is bad, goes on as it is.
func (e *executor) reloaded(ctx context.Context, id string, before []string) {
	if len(before) == 0 {
		return // cannot be seen
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	tick := time.NewTicker(reloadPoll)
	defer tick.Stop()
	for {
		now := e.nginxWorkers(ctx, id)
		if len(now) > 0 && !slices.ContainsFunc(now, func(pid string) bool { return slices.Contains(before, pid) }) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// nginxWorkers are the process ids of an nginx's workers that take requests;
// none where they cannot be seen.
func (e *executor) nginxWorkers(ctx context.Context, id string) []string {
	top, err := e.Docker.ContainerTop(ctx, id, []string{"-eo", "pid,args"})
	if err != nil {
		return nil
	}
	var pids []string
	for _, p := range top.Processes {
		line := strings.Join(p, " ")
		if strings.Contains(line, "nginx: worker process") && !strings.Contains(line, "shutting down") {
			pids = append(pids, p[0])
		}
	}
	return pids
}

// isNginx reports whether a container's first process is nginx, or the
// entrypoint of the official image, which becomes nginx.
func isNginx(c docker.Container) bool {
	return slices.ContainsFunc(c.Command, func(arg string) bool { return path.Base(arg) == "nginx" })
}
