// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/cli/cli/command"
	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
)

// write makes files below dir, by slash-separated names.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// merged returns a directory with the files of both maps, the later ones winning.
func merged(maps ...map[string]string) map[string]string {
	result := map[string]string{}
	for _, m := range maps {
		for name, content := range m {
			result[name] = content
		}
	}
	return result
}

// cliProject loads a project as `docker compose up`, run in dir, does.
func cliProject(t *testing.T, dir string, options api.ProjectLoadOptions) *types.Project {
	t.Helper()
	t.Setenv("PWD", dir)
	t.Chdir(dir)
	dockerCLI, err := command.NewDockerCli(command.WithCombinedStreams(&strings.Builder{}))
	if err != nil {
		t.Fatal(err)
	}
	service, err := composesdk.NewComposeService(dockerCLI)
	if err != nil {
		t.Fatal(err)
	}
	options.Offline = true
	options.ProjectOptionsFns = []cli.ProjectOptionsFn{cli.WithoutEnvironmentResolution}
	project, err := service.LoadProject(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	project, err = project.WithServicesEnvironmentResolved(true)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func mustLoad(t *testing.T, o Options) *Project {
	t.Helper()
	p, err := Load(t.Context(), o)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return p
}

// deployment makes a deployment directory with a fixed base name, and an
// export inside it as the daemon makes it.
func deployment(t *testing.T, deployed, tree map[string]string) (deployDir, treeDir string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deployDir = filepath.Join(root, "shop")
	treeDir = filepath.Join(deployDir, ".update", "work", "abc1234")
	write(t, deployDir, deployed)
	write(t, treeDir, tree)
	return deployDir, treeDir
}
