// SPDX-License-Identifier: Apache-2.0

package dropin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/self"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// Gather finds out about the deployment: where it lies on the host, what project
// the own container is a part of, its clone and its Compose model. It makes the
// host's path lead to the workspace. own is the own container; its zero value
// means that this process runs on the host.
func Gather(ctx context.Context, s Settings, own docker.Container) (Facts, error) {
	f := Facts{Directory: s.Workspace}
	if info, err := os.Stat(s.Workspace); err != nil || !info.IsDir() {
		return f, fmt.Errorf("%s=%s is no directory: mount the deployment directory there, with `volumes: [\".:%s\"]` in the Compose file",
			EnvWorkspace, s.Workspace, s.Workspace)
	}
	if own.ID != "" {
		var err error
		if f.Project, err = ProjectOf(own); err != nil {
			return f, err
		}
		if f.Directory, err = HostDirectory(own, s.Workspace); err != nil {
			return f, err
		}
		if err := Link(f.Directory, s.Workspace); err != nil {
			return f, err
		}
	}
	repo, err := source.Open(ctx, f.Directory, source.Options{})
	if errors.Is(err, source.ErrNotRepository) {
		return f, fmt.Errorf("%s=%s is no Git clone, so there is nothing to fetch commits into: on the host, replace the files of %s by "+
			"a clone (git clone URL DIR, then move .env and .update there): %w", EnvWorkspace, s.Workspace, f.Directory, err)
	}
	if err != nil {
		return f, err
	}
	f.Origin = repo.URL()
	_, err = os.Stat(filepath.Join(f.Directory, ImageFile))
	f.HasImageFile = err == nil
	options := compose.Options{
		DeployDir: f.Directory, Files: composeFiles(s, f), EnvFiles: relativeAll(f.Directory, f.Project.EnvFiles),
		Profiles: s.Profiles, ProjectName: f.Project.Name,
	}
	if s.ForceAgent {
		options.AddProfiles = []string{AgentProfile}
	}
	project, err := compose.Load(ctx, options)
	if err != nil {
		// An updater must start all the same: the next commit may mend it.
		logr.FromContextOrDiscard(ctx).Error(err, "the Compose model cannot be loaded: the Application gets no checks of its own until the next start")
		return f, nil
	}
	f.Services, f.Profiles = services(project), project.Profiles()
	return f, nil
}

func services(project *compose.Project) map[string]Service {
	all := map[string]Service{}
	for _, s := range project.Services() {
		v := Service{Build: s.Build != nil, Environment: slices.Sorted(maps.Keys(s.Environment))}
		for _, p := range s.Ports {
			if p.Protocol == "tcp" {
				v.Port = int(p.Target)
				if n, err := strconv.Atoi(p.Published); err == nil {
					v.Published = n
				}
				break
			}
		}
		for _, n := range s.Networks {
			v.Networks = append(v.Networks, n.Key)
		}
		all[s.Name] = v
	}
	return all
}

// Own finds the own container for a process whose environment hints at an updater;
// its zero value means that there is none. The error says what to do when the
// engine, without which nothing works, is out of reach.
func Own(ctx context.Context, engine *docker.Client) (docker.Container, error) {
	if err := engine.Check(ctx); err != nil {
		return docker.Container{}, fmt.Errorf("%w; in a container, mount the engine's socket: `volumes: [\"/var/run/docker.sock:/var/run/docker.sock\"]`", err)
	}
	c, err := self.Find(ctx, engine)
	if errors.Is(err, self.ErrNoContainer) {
		return docker.Container{}, nil
	}
	return c, err
}
