// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// checkProject refuses what would be another application than the one that runs:
// another project name, and so other containers and other volumes; or the same name
// as that of an application of another directory, whose containers would be taken. It
// returns what it found there.
func (p *preflightRun) checkProject(ctx context.Context) (looked, error) {
	name := p.project.Name()
	found := p.beside
	var err error
	if !found.recent() || name != p.Application.Status.Project {
		found = looked{}
		if found.releases, err = p.Store.Releases(ctx, p.Application); err != nil {
			return looked{}, trouble{err}
		}
	}
	if current := release.Current(found.releases); current != nil && current.Spec.Project != "" && current.Spec.Project != name {
		left, err := observe.Containers(ctx, p.Docker, current.Spec.Project)
		if err != nil {
			return looked{}, trouble{err}
		}
		if len(left) > 0 {
			return looked{}, renamed(current, name)
		}
	}
	if found.look, err = p.lookAt(ctx, name, found.look); err != nil {
		return looked{}, trouble{err}
	}
	self, err := p.ownContainer(ctx)
	if err != nil {
		return looked{}, trouble{err}
	}
	home := homeOf(p.Application.Spec.Compose.Directory)
	foreign := slices.DeleteFunc(slices.Clone(found.containers), func(c docker.Container) bool {
		// The label of the application alone may come from the image.
		own := c.Labels[v1alpha1.LabelRequest] != "" && c.Labels[v1alpha1.LabelApplication] == applicationLabel(p.Application)
		return own || !home.elsewhere(c, self != "")
	})
	if len(foreign) == 0 {
		return found, nil
	}
	// Those of services that are not the application's are left alone in any case.
	if foreign = p.ownContainers(ctx, foreign, p.project); len(foreign) == 0 {
		return found, nil
	}
	return looked{}, taken(name, p.Application.Spec.Compose.Directory, foreign)
}

func renamed(current *v1alpha1.Release, name string) error {
	was := current.Spec.Project
	return fmt.Errorf("the Compose project is called %s now, and the containers of release %s belong to the project %s: both would run, and the volumes of the new one "+
		"be empty. Keep the name: set compose.project of the Application to %s, or take back the change of COMPOSE_PROJECT_NAME in .env or of name: in the Compose "+
		"file. To give the application another name, save what its volumes hold, end the old project (docker compose -p %s down), and ask again",
		name, current.Name, was, was, was)
}

func taken(name, dir string, foreign []docker.Container) error {
	c := foreign[0]
	return fmt.Errorf("%d containers of the Compose project %s, such as %s of the service %s, were started from %s, not from %s: an update would replace what runs "+
		"there. Give this application a name of its own: set compose.project of the Application, or COMPOSE_PROJECT_NAME in .env. If the directory was moved, start "+
		"it from %s once (docker compose up --detach --force-recreate), and ask again",
		len(foreign), name, c.Name, c.Service, cmp.Or(c.Labels[docker.LabelWorkingDir], "another directory"), dir, dir)
}

// home is a deployment directory under all its names.
type home []string

func homeOf(dir string) home {
	h := home{filepath.Clean(dir)}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil && resolved != h[0] {
		h = append(h, resolved)
	}
	return h
}

func (h home) holds(path string) bool {
	return slices.ContainsFunc(h, func(dir string) bool {
		rel, err := filepath.Rel(dir, path)
		return err == nil && filepath.IsLocal(rel)
	})
}

// elsewhere reports whether a container was started from another directory. One
// that is gone was moved; a daemon in a container does not see which are there.
func (h home) elsewhere(c docker.Container, contained bool) bool {
	dir := c.Labels[docker.LabelWorkingDir]
	if !filepath.IsAbs(dir) || h.holds(filepath.Clean(dir)) {
		return false
	}
	for _, file := range strings.Split(c.Labels[docker.LabelConfigFiles], ",") {
		if filepath.IsAbs(file) && h.holds(filepath.Clean(file)) {
			return false
		}
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return contained
	}
	return err != nil || !h.holds(resolved)
}
