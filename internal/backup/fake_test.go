// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing/iotest"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// fakeEngine is an engine with volumes, images and the containers that are
// made; application containers run unless they are in gone.
type fakeEngine struct {
	images  []string
	volumes map[string]func() ([]byte, error) // content as an archive, asked for at every copy
	dump    string
	code    int    // exit code of pg_dumpall
	stderr  string // of pg_dumpall
	psql    func(env []string, sql string) (string, int)
	onExec  func(cmd []string)

	next       int
	containers map[string]container.Config
	mounts     map[string]string
	paused     map[string]bool
	gone       map[string]bool
	pauses     []string // history
	envs       [][]string
	commands   []string
	failPause  map[string]error
	failResume error
	failCreate error
	state      container.State // of those that run
	cut        bool            // the connection breaks in the middle of an archive
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{
		images: []string{"sha256:web"}, volumes: map[string]func() ([]byte, error){}, dump: sampleDump,
		containers: map[string]container.Config{}, mounts: map[string]string{}, paused: map[string]bool{}, gone: map[string]bool{},
		failPause: map[string]error{}, state: container.State{Running: true},
	}
}

func (e *fakeEngine) Exec(ctx context.Context, _ string, cmd []string, o docker.ExecOptions) (int, error) {
	e.commands = append(e.commands, strings.Join(cmd, " "))
	e.envs = append(e.envs, o.Env)
	if e.onExec != nil {
		e.onExec(cmd)
	}
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	switch {
	case cmd[0] == "cat":
		fmt.Fprintf(o.Stdout, "secret of %s\n", cmd[1])
		return 0, nil
	case cmd[0] == "psql" && e.psql != nil:
		out, code := e.psql(o.Env, cmd[len(cmd)-1])
		fmt.Fprint(o.Stdout, out)
		return code, nil
	case cmd[0] == "psql":
		fmt.Fprint(o.Stdout, "postgres\x008000\x00t\x00shop\x009000\x00t\x00")
		return 0, nil
	case slices.Equal(cmd, []string{"pg_dumpall", "--version"}):
		fmt.Fprintln(o.Stdout, "pg_dumpall (PostgreSQL) 15.4")
		return 0, nil
	default:
		for chunk := range slices.Chunk([]byte(e.dump), 100) {
			if _, err := o.Stdout.Write(chunk); err != nil {
				return -1, fmt.Errorf("output: %w", err)
			}
		}
		fmt.Fprint(o.Stderr, e.stderr)
		return e.code, ctx.Err()
	}
}

func (e *fakeEngine) ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, _ *network.NetworkingConfig, _ *ocispec.Platform, _ string) (container.CreateResponse, error) {
	if err := cmpErr(ctx.Err(), e.failCreate); err != nil {
		return container.CreateResponse{}, err
	}
	if !slices.Contains(e.images, c.Image) {
		return container.CreateResponse{}, fmt.Errorf("no such image: %w", cerrdefs.ErrNotFound)
	}
	e.next++
	id := fmt.Sprintf("tmp-%d", e.next)
	e.containers[id], e.mounts[id] = *c, h.Mounts[0].Source
	return container.CreateResponse{ID: id}, nil
}

func (e *fakeEngine) ContainerRemove(ctx context.Context, id string, _ container.RemoveOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, ok := e.containers[id]; !ok {
		return cerrdefs.ErrNotFound
	}
	delete(e.containers, id)
	return nil
}

func (e *fakeEngine) ContainerList(ctx context.Context, o container.ListOptions) ([]container.Summary, error) {
	var found []container.Summary
	for _, id := range slices.Sorted(maps.Keys(e.containers)) {
		if o.Filters.MatchKVList("label", e.containers[id].Labels) {
			found = append(found, container.Summary{ID: id, Labels: e.containers[id].Labels})
		}
	}
	return found, ctx.Err()
}

func (e *fakeEngine) ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error) {
	if e.gone[id] {
		return container.InspectResponse{}, cerrdefs.ErrNotFound
	}
	state := e.state
	state.Paused = e.paused[id]
	return container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{ID: id, State: &state}}, ctx.Err()
}

func (e *fakeEngine) ContainerPause(ctx context.Context, id string) error {
	if err := cmpErr(ctx.Err(), e.failPause[id]); err != nil {
		return err
	}
	if e.paused[id] {
		return errors.New("already paused")
	}
	e.paused[id], e.pauses = true, append(e.pauses, "pause "+id)
	return nil
}

func (e *fakeEngine) ContainerUnpause(ctx context.Context, id string) error {
	if err := cmpErr(ctx.Err(), e.failResume); err != nil {
		return err
	}
	if !e.paused[id] {
		return errors.New("not paused")
	}
	e.pauses = append(e.pauses, "unpause "+id)
	delete(e.paused, id)
	return nil
}

func (e *fakeEngine) CopyFromContainer(ctx context.Context, id, path string) (io.ReadCloser, container.PathStat, error) {
	if _, ok := e.containers[id]; !ok || path != volumePath+"/." {
		return nil, container.PathStat{}, cerrdefs.ErrNotFound
	}
	data, err := e.volumes[e.mounts[id]]()
	if err := cmpErr(ctx.Err(), err); err != nil {
		return nil, container.PathStat{}, err
	}
	if e.cut {
		return io.NopCloser(io.MultiReader(bytes.NewReader(data[:len(data)/2]), iotest.ErrReader(io.ErrUnexpectedEOF))), container.PathStat{}, nil
	}
	return io.NopCloser(bytes.NewReader(data)), container.PathStat{}, nil
}

func (e *fakeEngine) VolumeInspect(ctx context.Context, name string) (volume.Volume, error) {
	if e.volumes[name] == nil {
		return volume.Volume{}, cerrdefs.ErrNotFound
	}
	return volume.Volume{Name: name, Driver: "local", Mountpoint: "/nonexistent/" + name}, ctx.Err()
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
