// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// volumePath is where a volume is mounted in a temporary container.
const volumePath = "/fairlead-volume"

// volumeSource archives a named volume through the engine, so that it works
// wherever the engine keeps the volume, and when Fairlead itself runs in a
// container. The volume is mounted, alone and read-only, into a container that
// is created but never started; any local image will do.
type volumeSource struct {
	engine Engine
	volume string
	// service that mounts it.
	service string
	images  []string
	labels  map[string]string
}

func (s volumeSource) inspect(ctx context.Context) (volume.Volume, error) {
	v, err := s.engine.VolumeInspect(ctx, s.volume)
	if docker.IsNotFound(err) {
		// Creating a container would make an empty one.
		return v, inputErrorf("the volume %s does not exist any more", s.volume)
	}
	if err != nil {
		return v, fmt.Errorf("volume %s: %w", s.volume, err)
	}
	return v, nil
}

// size looks at the engine's directory where it can be seen from here. The
// engine's own figures cost minutes on hosts with many images.
func (s volumeSource) size(ctx context.Context) (int64, bool, error) {
	v, err := s.inspect(ctx)
	if err != nil || v.Driver != "local" || len(v.Options) > 0 || SourceKindOf(v.Mountpoint) != SourceDirectory {
		return 0, false, err
	}
	n, err := treeSize(ctx, v.Mountpoint, nil)
	return n, true, err
}

func (s volumeSource) write(ctx context.Context, w io.Writer) (_ content, err error) {
	if _, err := s.inspect(ctx); err != nil {
		return content{}, err
	}
	id, err := s.create(ctx)
	if err != nil {
		return content{}, err
	}
	defer func() {
		ctx, cancel := cleanup(ctx)
		defer cancel()
		if rmErr := removeContainer(ctx, s.engine, id); rmErr != nil && err == nil {
			err = rmErr
		}
	}()
	stream, _, err := s.engine.CopyFromContainer(ctx, id, volumePath+"/.")
	if err != nil {
		return content{}, fmt.Errorf("read volume %s: %w", s.volume, err)
	}
	defer func() { _ = stream.Close() }()
	// The engine ends the stream without an error when a file shrinks under
	// its hands; only the archive itself tells.
	read := &watchedReader{r: stream}
	entries, err := scanTar(io.TeeReader(read, w))
	if read.err != nil {
		return content{}, fmt.Errorf("read volume %s: the connection to the Docker engine was lost: %w", s.volume, read.err)
	}
	if err != nil {
		return content{}, &TornError{What: "volume " + s.volume, Err: err}
	}
	return content{entries: entries, tool: "engine archive"}, nil
}

// watchedReader remembers why a stream could not be read, which says nothing
// about what is in it.
type watchedReader struct {
	r   io.Reader
	err error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// create makes the container from the first image that the engine still has.
func (s volumeSource) create(ctx context.Context) (string, error) {
	var errs []error
	for _, image := range s.images {
		resp, err := s.engine.ContainerCreate(ctx,
			&container.Config{Image: image, Entrypoint: []string{"/never-started"}, Labels: s.labels, NetworkDisabled: true},
			&container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{
				Type: mount.TypeVolume, Source: s.volume, Target: volumePath, ReadOnly: true,
				VolumeOptions: &mount.VolumeOptions{NoCopy: true},
			}}}, nil, nil, "")
		if err == nil {
			return resp.ID, nil
		}
		if !docker.IsNotFound(err) {
			return "", fmt.Errorf("mount volume %s: %w", s.volume, err)
		}
		errs = append(errs, err)
	}
	return "", inputErrorf("there is no local image to reach the volume %s with; pull one, such as that of %s: %v", s.volume, s.service, errors.Join(errs...))
}

// removeContainer removes a temporary container and the anonymous volumes that
// its image asked for, never the volume that was mounted.
func removeContainer(ctx context.Context, engine Engine, id string) error {
	err := engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !docker.IsNotFound(err) {
		return fmt.Errorf("remove the temporary container %s: %w", id, err)
	}
	return nil
}
