// SPDX-License-Identifier: Apache-2.0

//go:build engine

package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/flags"
	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

// program waits until it is told to stop.
const program = `package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}
`

// engine is a real engine with two images that differ, for one test's project.
type engine struct {
	*client.Client
	creator *Creator
	project string
	v1, v2  string
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	creator, err := NewCreator(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = creator.Close() })
	suffix := make([]byte, 4)
	if _, err := rand.Read(suffix); err != nil {
		t.Fatal(err)
	}
	e := &engine{Client: c, creator: creator, project: "flcompose-" + hex.EncodeToString(suffix)}
	e.v1, e.v2 = e.project+":v1", e.project+":v2"
	binary := compile(t)
	t.Cleanup(func() { e.clean(t) })
	for _, name := range []string{e.v1, e.v2} {
		e.makeImage(t, name, binary)
	}
	return e
}

func compile(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"main.go": program})
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "app"), filepath.Join(dir, "main.go"))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	binary, err := os.ReadFile(filepath.Join(dir, "app"))
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func (e *engine) makeImage(t *testing.T, name string, binary []byte) {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, f := range []struct {
		name    string
		content []byte
	}{{"app", binary}, {"version", []byte(name)}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := e.ImageImport(t.Context(), image.ImportSource{Source: &buffer, SourceName: "-"}, name, image.ImportOptions{
		Changes: []string{`CMD ["/app"]`, "LABEL fairlead.dev/test=compose"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, r)
	if err := errorsOf(err, r.Close()); err != nil {
		t.Fatal(err)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// clean removes what belongs to the test's project, and nothing else.
func (e *engine) clean(t *testing.T) {
	ctx := context.WithoutCancel(t.Context()) // which is over when this runs
	for _, project := range []string{e.project, e.project + "-two"} {
		mine := filters.NewArgs(filters.Arg("label", LabelProject+"="+project))
		containers, err := e.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
		if err != nil {
			t.Error(err)
		}
		for _, c := range containers {
			if err := e.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
				t.Error(err)
			}
		}
		e.cleanResources(ctx, t, mine)
	}
	for _, name := range []string{e.v1, e.v2, e.v1 + "-db"} {
		if _, err := e.ImageRemove(ctx, name, image.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	}
}

func (e *engine) cleanResources(ctx context.Context, t *testing.T, mine filters.Args) {
	networks, err := e.networkList(ctx, mine)
	if err != nil {
		t.Error(err)
	}
	for _, n := range networks {
		if err := e.NetworkRemove(ctx, n); err != nil {
			t.Error(err)
		}
	}
	volumes, err := e.VolumeList(ctx, volume.ListOptions{Filters: mine})
	if err != nil {
		t.Error(err)
	}
	for _, v := range volumes.Volumes {
		if err := e.VolumeRemove(ctx, v.Name, true); err != nil {
			t.Error(err)
		}
	}
}

// sdk is the Compose library as the `docker compose` command uses it.
func sdk(t *testing.T) api.Compose {
	t.Helper()
	dockerCLI, err := command.NewDockerCli(command.WithCombinedStreams(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if err := dockerCLI.Initialize(flags.NewClientOptions()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dockerCLI.Client().Close() })
	service, err := composesdk.NewComposeService(dockerCLI, composesdk.WithMaxConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return service
}

// up does what `docker compose up -d` does.
func up(t *testing.T, project *types.Project) {
	t.Helper()
	err := sdk(t).Up(t.Context(), project, api.UpOptions{
		Create: api.CreateOptions{Recreate: api.RecreateDiverged, RecreateDependencies: api.RecreateDiverged, IgnoreOrphans: true, Inherit: true},
		Start:  api.StartOptions{Project: project},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// state says what there is of each container of the project, by name.
func (e *engine) state(t *testing.T, project string) map[string]string {
	t.Helper()
	list, err := e.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", LabelProject+"="+project))})
	if err != nil {
		t.Fatal(err)
	}
	result := map[string]string{}
	for _, c := range list {
		i := e.inspect(t, c.ID)
		result[i.Name[1:]] = c.ID + " " + i.State.Status + " " + i.State.StartedAt
	}
	return result
}

func (e *engine) inspect(t *testing.T, id string) container.InspectResponse {
	t.Helper()
	i, err := e.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return i
}
