// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

// LabelWorkingDir is Compose's label with the directory that a project was started
// in.
const LabelWorkingDir = "com.docker.compose.project.working_dir"

// LabelConfigFiles is Compose's label with the Compose files of a project, separated
// by commas.
const LabelConfigFiles = "com.docker.compose.project.config_files"

// Project is a Compose project that has containers.
type Project struct {
	Name string
	// Directory is the one that most of its containers name; empty if none does.
	Directory string
	// Running is the number of its containers that run.
	Running int
}

// Projects lists the Compose projects that have containers, by name.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	list, err := c.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", LabelProject))})
	if err != nil {
		return nil, fmt.Errorf("list the Compose projects: %w", err)
	}
	type count struct {
		running     int
		directories map[string]int
	}
	counts := map[string]*count{}
	for _, ct := range list {
		n := counts[ct.Labels[LabelProject]]
		if n == nil {
			n = &count{directories: map[string]int{}}
			counts[ct.Labels[LabelProject]] = n
		}
		if ct.State == StateRunning {
			n.running++
		}
		if dir := ct.Labels[LabelWorkingDir]; dir != "" {
			n.directories[dir]++
		}
	}
	out := make([]Project, 0, len(counts))
	for name, n := range counts {
		p := Project{Name: name, Running: n.running}
		for dir, votes := range n.directories {
			if best := n.directories[p.Directory]; votes > best || votes == best && dir < p.Directory {
				p.Directory = dir
			}
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Project) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
