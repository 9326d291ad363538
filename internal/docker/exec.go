// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// ExecOptions says how a command runs inside a container. The zero value runs
// it as the container's own user, with its environment and working directory,
// without input, and drops its output.
type ExecOptions struct {
	// Env adds to the container's environment, each "NAME=value". Secrets
	// belong here and not into the command.
	Env []string
	// User is a name, UID or user:group; empty: the container's.
	User string
	// WorkingDir is absolute; empty: the container's.
	WorkingDir string
	// Privileged gives the command all capabilities.
	Privileged bool
	// Stdin is copied to the command and then closed there. It must return
	// from Read when the caller cancels, or its goroutine stays behind. If
	// reading fails the command sees an ordinary end of input, and Exec
	// returns the read error whatever the command's exit code.
	Stdin io.Reader
	// Stdout and Stderr receive the output; nil drops it.
	Stdout, Stderr io.Writer
}

// Exec runs cmd in the running container and returns its exit code. A code
// other than 0 is not an error; an error means that the result is not known or
// that input or output was not complete. The command line is visible to every
// user of the engine and must not hold secrets.
//
// When ctx ends, the connection is closed at once and ctx's error is returned;
// the engine offers no way to end the command itself, which sees its input and
// output closed.
//
// A command that cannot be started (not in the image, no permission) is
// reported by the engine as exit code 126 or 127 with the reason on Stdout.
func (c *Client) Exec(ctx context.Context, containerID string, cmd []string, o ExecOptions) (int, error) {
	created, err := c.ContainerExecCreate(ctx, containerID, container.ExecOptions{
		Privileged: o.Privileged, Cmd: cmd, Env: o.Env, User: o.User, WorkingDir: o.WorkingDir,
		AttachStdin: o.Stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return -1, fmt.Errorf("run a command in container %s: %w", shortID(containerID), err)
	}
	conn, err := c.attachExec(ctx, created.ID)
	if err != nil {
		return -1, fmt.Errorf("run a command in container %s: %w", shortID(containerID), err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()

	input := make(chan error, 1)
	if o.Stdin != nil {
		go func() {
			in := &readRecorder{r: o.Stdin}
			_, _ = io.Copy(conn.Conn, in) // a write error means that the command ended early; its exit code tells
			input <- in.err               // before the end of input can be seen by the command
			_ = conn.CloseWrite()
		}()
	}
	_, err = stdcopy.StdCopy(orDiscard(o.Stdout), orDiscard(o.Stderr), conn.Reader)
	if ctx.Err() != nil {
		return -1, context.Cause(ctx)
	}
	if err != nil {
		return -1, fmt.Errorf("output of a command in container %s: %w", shortID(containerID), err)
	}
	code, err := c.execResult(ctx, containerID, created.ID)
	if err != nil {
		return -1, err
	}
	select {
	case err := <-input:
		if err != nil {
			return code, fmt.Errorf("input of a command in container %s: %w", shortID(containerID), err)
		}
	default:
	}
	return code, nil
}

// attachExec starts the exec and returns its stream. The engine's client does
// not watch ctx here, so the wait happens beside it.
func (c *Client) attachExec(ctx context.Context, execID string) (types.HijackedResponse, error) {
	type result struct {
		conn types.HijackedResponse
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := c.ContainerExecAttach(ctx, execID, container.ExecAttachOptions{})
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		return r.conn, classifyUpgrade(r.err)
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.conn.Close()
			}
		}()
		return types.HijackedResponse{}, context.Cause(ctx)
	}
}

// classifyUpgrade gives a refused upgrade the class that its status stands
// for; the engine's client reports the status in words only.
func classifyUpgrade(err error) error {
	if err == nil {
		return nil
	}
	for status, class := range map[string]error{
		"received 404": cerrdefs.ErrNotFound,
		"received 409": cerrdefs.ErrConflict,
		"received 500": cerrdefs.ErrInternal,
		"received 503": cerrdefs.ErrUnavailable,
	} {
		if strings.HasSuffix(err.Error(), status) {
			return fmt.Errorf("%w: %w", class, err)
		}
	}
	return err
}

// execResult waits until the command has ended; its output can end before it.
func (c *Client) execResult(ctx context.Context, containerID, execID string) (int, error) {
	for delay := 2 * time.Millisecond; ; delay = min(2*delay, 250*time.Millisecond) {
		r, err := c.ContainerExecInspect(ctx, execID)
		switch {
		case ctx.Err() != nil:
			return -1, context.Cause(ctx)
		case IsNotFound(err):
			return -1, c.lostExec(ctx, containerID)
		case err != nil:
			return -1, fmt.Errorf("result of a command in container %s: %w", shortID(containerID), err)
		case !r.Running && r.Pid == 0 && r.ExitCode == 0:
			// A command that has not begun also reads as "not running, 0".
			return -1, &unavailableError{fmt.Errorf("a command in container %s was not started: the connection to the engine was lost", shortID(containerID))}
		case !r.Running:
			return r.ExitCode, nil
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return -1, context.Cause(ctx)
		}
	}
}

// lostExec explains why the engine does not know the exec any more.
func (c *Client) lostExec(ctx context.Context, containerID string) error {
	if _, err := c.ContainerInspect(ctx, containerID); err != nil {
		return fmt.Errorf("result of a command in container %s is lost: %w", shortID(containerID), err)
	}
	return &unavailableError{fmt.Errorf("result of a command in container %s is lost: the engine was restarted meanwhile", shortID(containerID))}
}

// Output is what a command printed, each stream up to the caller's limit.
type Output struct {
	ExitCode       int
	Stdout, Stderr []byte
	// Truncated says that at least one stream was longer than the limit.
	Truncated bool
}

// ExecOutput is Exec with the first limit bytes of each stream kept; the rest
// is read and dropped, so that the command never blocks. The writers in o are
// not used.
func (c *Client) ExecOutput(ctx context.Context, containerID string, cmd []string, o ExecOptions, limit int) (Output, error) {
	stdout, stderr := &headWriter{left: limit}, &headWriter{left: limit}
	o.Stdout, o.Stderr = stdout, stderr
	code, err := c.Exec(ctx, containerID, cmd, o)
	return Output{
		ExitCode: code, Stdout: stdout.buf.Bytes(), Stderr: stderr.buf.Bytes(),
		Truncated: stdout.cut || stderr.cut,
	}, err
}

// headWriter keeps the first bytes and swallows the others.
type headWriter struct {
	buf  bytes.Buffer
	left int
	cut  bool
}

func (w *headWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.buf.Write(p[:n])
	w.left -= n
	w.cut = w.cut || n < len(p)
	return len(p), nil
}

// readRecorder remembers the error of the reader, to tell it from an error of
// the writer that io.Copy joins it with.
type readRecorder struct {
	r   io.Reader
	err error
}

func (r *readRecorder) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// shortID is the form of an ID that people see in `docker ps`; names stay.
func shortID(id string) string {
	if len(id) == 64 {
		return id[:12]
	}
	return id
}
