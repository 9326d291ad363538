// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

const (
	// VolumePath is where the helper finds the volume.
	VolumePath = "/fairlead-volume"
	// UnpackCommand is the command of this program that unpacks its input there.
	UnpackCommand = "unpack-volume"

	helperName = "fairlead-helper"
	// helperOutput bounds what is kept of what the helper says, in bytes.
	helperOutput = 4096
	// cleanupTimeout bounds what is done after the caller has cancelled.
	cleanupTimeout = 30 * time.Second
)

// keptInVolumes are names that a file system makes for itself.
var keptInVolumes = []string{"lost+found"}

// UnpackVolume is the helper's work: it unpacks the archive that it is given.
func UnpackVolume(ctx context.Context, archive io.Reader, notes io.Writer) error {
	said, err := Unpack(ctx, VolumePath, archive, keptInVolumes)
	for _, note := range said {
		fmt.Fprintln(notes, note)
	}
	return err
}

// volumes writes and reads named volumes through the engine, so that it works
// wherever the engine keeps them. The engine can write files into a volume, but
// neither remove any nor swap old for new: so this very program, which needs
// nothing of the image, does it in a container of its own, without a network.
type volumes struct {
	engine *docker.Client
	// program is the path of this executable.
	program string
	images  []string
	labels  map[string]string
}

// replace makes the archive the content of the volume.
func (v volumes) replace(ctx context.Context, volume string, archive io.Reader) (notes []string, err error) {
	id, err := v.create(ctx, volume, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.remove(ctx, id)) }()
	if err := v.install(ctx, id); err != nil {
		return nil, fmt.Errorf("install the helper that unpacks the volume %s: %w", volume, err)
	}
	said, code, err := v.run(ctx, id, archive)
	if err != nil {
		return nil, fmt.Errorf("unpack the volume %s: %w", volume, err)
	}
	if code != 0 {
		return nil, fmt.Errorf("unpack the volume %s: the helper ended with code %d: %s", volume, code, strings.Join(said, "; "))
	}
	return said, nil
}

// empty removes all that is in the volume.
func (v volumes) empty(ctx context.Context, volume string) error {
	_, err := v.replace(ctx, volume, emptyArchive())
	return err
}

func emptyArchive() io.Reader {
	var b bytes.Buffer
	_ = tar.NewWriter(&b).Close() // to memory: cannot fail
	return &b
}

// create makes the container from the first image that the engine has.
func (v volumes) create(ctx context.Context, volume string, readOnly bool) (string, error) {
	var errs []error
	for _, image := range v.images {
		resp, err := v.engine.ContainerCreate(ctx, &container.Config{
			Image: image, Entrypoint: []string{"/" + helperName}, Cmd: []string{UnpackCommand}, User: "0:0", WorkingDir: "/",
			Labels: v.labels, NetworkDisabled: true, OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		}, &container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{
			Type: mount.TypeVolume, Source: volume, Target: VolumePath, ReadOnly: readOnly,
			VolumeOptions: &mount.VolumeOptions{NoCopy: true},
		}}}, nil, nil, "")
		if err == nil {
			return resp.ID, nil
		}
		if !docker.IsNotFound(err) {
			return "", fmt.Errorf("mount the volume %s: %w", volume, err)
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no image of the application is on this host to mount the volume %s with: %w", volume, errors.Join(errs...))
}

func (v volumes) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	err := v.engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !docker.IsNotFound(err) {
		return fmt.Errorf("remove the temporary container %s: %w", id, err)
	}
	return nil
}

// install copies this program into the container.
func (v volumes) install(ctx context.Context, id string) error {
	f, err := os.Open(v.program)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		err := tw.WriteHeader(&tar.Header{Name: helperName, Mode: 0o755, Size: info.Size(), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.CopyN(tw, f, info.Size())
		}
		w.CloseWithError(errors.Join(err, tw.Close()))
	}()
	defer func() { _ = r.Close() }()
	return v.engine.CopyToContainer(ctx, id, "/", r, container.CopyToContainerOptions{})
}

// run starts the helper, gives it the archive, and returns what it said.
func (v volumes) run(ctx context.Context, id string, archive io.Reader) (said []string, code int, err error) {
	conn, err := v.engine.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	if err := v.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return nil, 0, err
	}
	sent := make(chan error, 1)
	go func() {
		in := &failing{r: archive}
		_, _ = io.Copy(conn.Conn, in) // a write error means that the helper has ended; its code tells
		if in.err != nil {
			conn.Close() // half an archive must not look like a whole one
		} else {
			_ = conn.CloseWrite()
		}
		sent <- in.err
	}()
	out := &headOf{limit: helperOutput}
	_, copyErr := stdcopy.StdCopy(out, out, conn.Reader)
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	ended, err := v.engine.WaitExit(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if ended.ExitCode == 0 && copyErr != nil {
		return nil, 0, copyErr
	}
	select {
	case err := <-sent:
		if err != nil {
			return nil, 0, err
		}
	default: // the helper ended before it had all
	}
	return strings.FieldsFunc(out.buf.String(), func(r rune) bool { return r == '\n' }), ended.ExitCode, nil
}

// read returns the content of a small file in a volume; "" where there is none.
func (v volumes) read(ctx context.Context, volume, path string) (_ string, err error) {
	id, err := v.create(ctx, volume, true)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, v.remove(ctx, id)) }()
	stream, err := v.engine.CopyFrom(ctx, id, VolumePath+"/"+path)
	if docker.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = stream.Close() }()
	tr := tar.NewReader(stream)
	if _, err := tr.Next(); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(tr, helperOutput))
	return string(data), err
}

// imageIDs lists what a volume can be mounted with.
func imageIDs(m *backup.Manifest, containers []docker.Container) []string {
	var ids []string
	for _, c := range containers {
		ids = append(ids, c.ImageID)
	}
	for _, i := range m.Images {
		if i.ID != "" {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// failing remembers the error of the reader, to tell it from one of the writer.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// headOf keeps the first bytes that are written to it.
type headOf struct {
	limit int
	buf   bytes.Buffer
}

func (h *headOf) Write(p []byte) (int, error) {
	h.buf.Write(p[:min(len(p), h.limit-h.buf.Len())])
	return len(p), nil
}
