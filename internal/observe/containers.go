// SPDX-License-Identifier: Apache-2.0

// Package observe looks at what is there (containers, releases, Git, the host)
// and turns it into facts. It changes nothing.
package observe

import (
	"context"
	"fmt"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// Engine is what is asked of the Docker engine.
type Engine interface {
	ProjectContainers(ctx context.Context, project string) ([]docker.Container, error)
	Info(ctx context.Context) (docker.Engine, error)
}

// HostEngine is an engine that is asked about its host as well.
type HostEngine interface {
	Engine
	Projects(ctx context.Context) ([]docker.Project, error)
	DiskUsage(ctx context.Context) (docker.Usage, error)
}

// Containers lists the containers of a Compose project.
func Containers(ctx context.Context, engine Engine, project string) ([]docker.Container, error) {
	all, err := engine.ProjectContainers(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("list the containers of the project %s: %w", project, err)
	}
	return all, nil
}

// Facts turns containers into what package plan decides from. A container
// counts as ready when it runs and the request did not touch it; what the
// request made or started is for its gate to say.
func Facts(containers []docker.Container, releases []v1alpha1.Release, request string, touched func(docker.Container) bool) []plan.Container {
	out := make([]plan.Container, 0, len(containers))
	for _, c := range containers {
		mine := request != "" && c.Labels[v1alpha1.LabelRequest] == request
		out = append(out, plan.Container{
			ID: c.ID, Name: c.Name, Service: c.Service, Number: c.Number,
			Revision: release.RevisionOf(releases, c.ID, c.Labels),
			State:    plan.ContainerState(c.State), ExitCode: c.ExitCode,
			Mine:  mine,
			Ready: c.State == docker.StateRunning && !mine && !touched(c),
		})
	}
	return out
}
