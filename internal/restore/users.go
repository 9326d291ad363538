// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// users are the running containers that may write to volumes and paths, by those,
// but for those of the application, which a restore stops, and the one called self.
func users(running, own []docker.Container, self string) map[string][]string {
	return docker.Writers(slices.DeleteFunc(slices.Clone(running), func(c docker.Container) bool {
		return c.ID == self || slices.ContainsFunc(own, func(o docker.Container) bool { return o.ID == c.ID })
	}))
}

// alone makes sure, when everything of the application is stopped, that nobody
// else began to write meanwhile.
func (w *work) alone(ctx context.Context) error {
	own, err := w.containers(ctx)
	if err != nil {
		return err
	}
	running, err := w.Deps.Docker.MountingContainers(ctx)
	if err != nil {
		return err
	}
	f := w.facts
	f.Users = users(running, own, w.Self)
	p := &planner{f: f, plan: &Plan{Items: w.plan.Items, Empty: w.plan.Empty}}
	if p.users(); len(p.plan.Blocked) > 0 {
		return errors.New(strings.Join(p.plan.Blocked, "; "))
	}
	return nil
}
