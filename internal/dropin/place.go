// SPDX-License-Identifier: Apache-2.0

package dropin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// HostDirectory is the path on the host of workspace, a directory in the container
// c. The error says what to mount.
func HostDirectory(c docker.Container, workspace string) (string, error) {
	var around docker.Mount
	for _, m := range c.Mounts {
		if within(m.Destination, workspace) && len(m.Destination) > len(around.Destination) {
			around = m
		}
	}
	if around.Destination == "" || around.Source == "" {
		return "", fmt.Errorf("%s=%s is no directory of the host: mount the deployment directory there, with `volumes: [\".:%s\"]` in the Compose file",
			EnvWorkspace, workspace, workspace)
	}
	rel, err := filepath.Rel(around.Destination, workspace)
	if err != nil {
		return "", err
	}
	return filepath.Join(around.Source, rel), nil
}

// Link makes the directory, a path on the host, lead to workspace in this
// container, so that one name means the same to the engine and to this process.
// What lies in the way is never removed, but an empty directory.
func Link(directory, workspace string) error {
	if directory == workspace {
		return nil
	}
	if within(workspace, directory) {
		return fmt.Errorf("the deployment directory is %s on the host, which in this container lies inside of %s itself: "+
			"mount it at the same path as on the host: `volumes: [\"%s:%s\"]` and %s=%s", directory, workspace, directory, directory, EnvWorkspace, directory)
	}
	if err := os.MkdirAll(filepath.Dir(directory), 0o755); err != nil { //nolint:gosec // as directories of the root are
		return fmt.Errorf("make %s lead to %s: %w", directory, workspace, err)
	}
	err := os.Symlink(workspace, directory)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(directory)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err := os.Readlink(directory); err != nil || target == workspace {
			return err
		}
	}
	// Another mount may lead there already.
	if here, err := os.Stat(directory); err == nil {
		if there, err := os.Stat(workspace); err == nil && os.SameFile(here, there) {
			return nil
		}
	}
	// The system removes a directory only if it is empty.
	if info.IsDir() && os.Remove(directory) == nil {
		return os.Symlink(workspace, directory)
	}
	return fmt.Errorf("the deployment directory is %s on the host, and in this container something else is there: "+
		"mount it at the same path as on the host: `volumes: [\"%s:%s\"]` and %s=%s", directory, directory, directory, EnvWorkspace, directory)
}

// ProjectOf reads the labels that Compose put on the container.
func ProjectOf(c docker.Container) (Project, error) {
	p := Project{Name: c.Labels[docker.LabelProject], Service: c.Labels[docker.LabelService]}
	if p.Name == "" || p.Service == "" {
		return p, fmt.Errorf("the container %s is not a service of a Compose project: run it as a service of the project that it is to update, see docs/compat.md", c.Name)
	}
	p.Files = list(c.Labels["com.docker.compose.project.config_files"])
	p.EnvFiles = list(c.Labels["com.docker.compose.project.environment_file"])
	return p, nil
}

func list(label string) []string {
	var out []string
	for f := range strings.SplitSeq(label, ",") {
		if f != "" {
			out = append(out, f)
		}
	}
	return out
}

// within reports whether path is dir or below it; both are clean.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
