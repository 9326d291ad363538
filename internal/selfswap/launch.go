// SPDX-License-Identifier: Apache-2.0

package selfswap

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

const (
	// Command is the subcommand that the helper's container runs.
	Command = "self-swap"
	// labelTemporary marks containers that are no part of an application.
	labelTemporary = "fairlead.dev/temporary"
	// maxFile bounds what is read from a helper.
	maxFile = 1 << 20
)

// passedOn are the variables of this process by which the engine is found; the
// address itself comes from the client.
var passedOn = []string{"DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"}

// Launch makes the helper's container, from the image that this process runs
// from, which is known to work, and starts it. labels are put on it.
func Launch(ctx context.Context, engine *docker.Client, p Params, labels map[string]string) error {
	own, err := engine.ContainerInspect(ctx, p.From.ID)
	if err != nil {
		return fmt.Errorf("inspect the daemon's own container: %w", err)
	}
	img, err := engine.ImageInspect(ctx, own.Image)
	if err != nil {
		return fmt.Errorf("inspect the daemon's own image: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := &container.Config{
		Image: own.Image, Entrypoint: []string{program, Command}, Cmd: []string{}, User: own.Config.User,
		Env:         []string{"DOCKER_HOST=" + engine.DaemonHost()},
		Labels:      map[string]string{},
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
	for _, name := range passedOn {
		if v := os.Getenv(name); v != "" {
			cfg.Env = append(cfg.Env, name+"="+v)
		}
	}
	if img.Config != nil {
		for name := range img.Config.Labels {
			// An image that Compose built says so; the helper must not be taken for
			// a container of the project.
			if strings.HasPrefix(name, "com.docker.compose.") {
				cfg.Labels[name] = ""
			}
		}
	}
	maps.Copy(cfg.Labels, labels)
	cfg.Labels[labelTemporary] = Command
	host := &container.HostConfig{
		// A restart of the engine must not lose a swap that has begun.
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
		// The engine's socket, or the certificates for it, are where they are here.
		VolumesFrom: []string{own.ID},
		LogConfig:   container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m"}},
		GroupAdd:    own.HostConfig.GroupAdd, SecurityOpt: own.HostConfig.SecurityOpt,
		UsernsMode: own.HostConfig.UsernsMode, Privileged: own.HostConfig.Privileged,
		NetworkMode: "none",
	}
	var more []string
	if !strings.HasPrefix(engine.DaemonHost(), "unix:") {
		host.NetworkMode, more = networks(own)
	}
	created, err := engine.ContainerCreate(ctx, cfg, host, nil, nil, p.Helper)
	if err != nil {
		return fmt.Errorf("create the helper container %s: %w", p.Helper, err)
	}
	err = prepare(ctx, engine, created.ID, p, more)
	if err == nil {
		err = engine.Start(ctx, created.ID)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the helper container %s: %w", p.Helper, err), engine.Remove(ctx, created.ID, false))
	}
	return nil
}

// networks are where an engine that is reached by network is found: the first
// one to create with, and the others.
func networks(own container.InspectResponse) (first container.NetworkMode, more []string) {
	mode := own.HostConfig.NetworkMode
	if !mode.IsUserDefined() || own.NetworkSettings == nil {
		return mode, nil
	}
	for name := range own.NetworkSettings.Networks {
		if name != string(mode) {
			more = append(more, name)
		}
	}
	slices.Sort(more)
	return mode, more
}

func prepare(ctx context.Context, engine *docker.Client, id string, p Params, networks []string) error {
	for _, name := range networks {
		if err := engine.NetworkConnect(ctx, name, id, &network.EndpointSettings{}); err != nil {
			return fmt.Errorf("connect to the network %s: %w", name, err)
		}
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return put(ctx, engine, id, paramsFile, data)
}

// put writes a file into the helper's directory, running or not.
func put(ctx context.Context, engine *docker.Client, id, name string, data []byte) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	dir := strings.TrimPrefix(Dir, "/")
	for _, h := range []tar.Header{
		// The helper may run as any user.
		{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o777},
		{Name: dir + "/" + name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))},
	} {
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := engine.CopyToContainer(ctx, id, "/", &archive, container.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// Swap is a helper's container as it was at one moment.
type Swap struct {
	docker.Container
	Params Params
	State  State
}

// Ended says that the helper has nothing left to do.
func (s Swap) Ended() bool { return s.State.Verdict != nil }

// Begun says that the helper was started. One that was not has changed nothing.
func (s Swap) Begun() bool { return s.Container.State != docker.StateCreated }

// List returns the helpers that have all the labels.
func List(ctx context.Context, engine *docker.Client, labels map[string]string) ([]Swap, error) {
	want := maps.Clone(labels)
	if want == nil {
		want = map[string]string{}
	}
	want[labelTemporary] = Command
	containers, err := engine.ContainersByLabel(ctx, want)
	if err != nil {
		return nil, err
	}
	var out []Swap
	for _, c := range containers {
		s := Swap{Container: c}
		err := read(ctx, engine, c.ID, &s)
		if docker.IsNotFound(err) && !s.Begun() {
			err = nil // not even its parameters are there
		}
		if docker.IsNotFound(err) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read the files of the helper container %s: %w", c.Name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// read takes the files out of the helper's directory.
func read(ctx context.Context, engine *docker.Client, id string, s *Swap) error {
	r, err := engine.CopyFrom(ctx, id, Dir)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var into any
		switch path.Base(h.Name) {
		case paramsFile:
			into = &s.Params
		case stateFile:
			into = &s.State
		default:
			continue
		}
		data, err := io.ReadAll(io.LimitReader(archive, maxFile))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, into); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// Confirm tells the helper that the daemon in the container works. The caller
// runs in that container.
func Confirm(ctx context.Context, engine *docker.Client, s Swap) error {
	data, err := json.Marshal(confirmation{Container: s.Params.To.ID})
	if err != nil {
		return err
	}
	return put(ctx, engine, s.ID, confirmFile, data)
}
