// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

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
	return e.reloadNginx(ctx, func(c docker.Container, svc compose.Service) bool { return e.knowsOldOnes(c, svc, changed) })
}

// knowsOldOnes reports whether a container may have resolved the name of one that is gone: it was there before the services
// that it depends on changed, or began while old containers of theirs still answered to their names.
func (e *executor) knowsOldOnes(c docker.Container, svc compose.Service, changed map[string]bool) bool {
	return slices.ContainsFunc(svc.DependsOn, func(d compose.Dependency) bool {
		return changed[d.Service] && (!changed[c.Service] || c.StartedAt.Before(e.retired[d.Service]))
	})
}

// reloadNginx has those nginx servers of the application reload that which chooses.
func (e *executor) reloadNginx(ctx context.Context, which func(docker.Container, compose.Service) bool) error {
	e.mu.Lock()
	containers := make([]docker.Container, 0, len(e.seen))
	for _, c := range e.seen {
		containers = append(containers, c)
	}
	e.mu.Unlock()
	slices.SortFunc(containers, func(a, b docker.Container) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range containers {
		svc, ok := e.project.Service(c.Service)
		if !ok || c.State != docker.StateRunning || !which(c, svc) || !e.isNginx(ctx, c) {
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

// process is one of a container, by the numbers of the host.
type process struct{ pid, parent, args string }

// processes of a container. The error is that of an engine, or of a host, that cannot tell.
func (e *executor) processes(ctx context.Context, id string) ([]process, error) {
	top, err := e.Docker.ContainerTop(ctx, id, []string{"-eo", "pid,ppid,args"})
	if err != nil {
		return nil, err
	}
	var out []process
	for _, p := range top.Processes {
		if len(p) >= 3 {
			out = append(out, process{p[0], p[1], strings.Join(p[2:], " ")})
		}
	}
	return out, nil
}

// nginxWorkers are the process ids of an nginx's workers that take requests;
// none where they cannot be seen.
func (e *executor) nginxWorkers(ctx context.Context, id string) []string {
	processes, err := e.processes(ctx, id)
	if err != nil {
		return nil
	}
	var pids []string
	for _, p := range processes {
		if strings.HasPrefix(p.args, "nginx: worker process") && !strings.Contains(p.args, "shutting down") {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// isNginx reports whether a signal to a container reaches an nginx, which it has
// reload. Most other programs end on that signal.
func (e *executor) isNginx(ctx context.Context, c docker.Container) bool {
	processes, err := e.processes(ctx, c.ID)
	if err != nil {
		return startsNginx(c.Command)
	}
	return masters(processes, strconv.Itoa(c.Pid))
}

// forwarders are the programs that pass signals on to the one that they start.
var forwarders = []string{"docker-init", "tini", "dumb-init", "catatonit"}

// masters reports whether the first process of a container, or the one that its init
// passes signals on to, is the master of an nginx.
func masters(processes []process, first string) bool {
	forwards := slices.ContainsFunc(processes, func(p process) bool {
		program, _, _ := strings.Cut(p.args, " ")
		return p.pid == first && slices.Contains(forwarders, path.Base(program))
	})
	return slices.ContainsFunc(processes, func(p process) bool {
		return strings.HasPrefix(p.args, "nginx: master process") && (p.pid == first || forwards && p.parent == first)
	})
}

// startsNginx reports whether a command is nginx, or the entrypoint of the official
// image, which becomes nginx.
func startsNginx(command []string) bool {
	if len(command) > 1 && path.Base(command[0]) == "docker-entrypoint.sh" {
		command = command[1:]
	}
	return len(command) > 0 && path.Base(command[0]) == "nginx"
}
