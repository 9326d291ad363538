// SPDX-License-Identifier: Apache-2.0

// Package pidfd tells when the processes of a container have ended, without asking its engine, which says so
// only when it has put away what belonged to them.
package pidfd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Init is the first process of a container that has process IDs of its own: when it has ended, so have all others
// of that container (see pid_namespaces(7)).
type Init struct{ fd int }

// OpenInit returns the first process of a container, which is named by its full ID. It fails where pid is not that
// process, as when the daemon does not see the processes of the host, and where the container shares the process IDs
// of others; without pidfd_open(2), that is before Linux 5.3, it always does. Close it.
func OpenInit(pid int, container string) (*Init, error) {
	if pid <= 0 || container == "" {
		return nil, errors.New("the container has no process")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open: %w", err)
	}
	p := &Init{fd: fd}
	err = isInitOf(pid, container)
	if err == nil && p.Ended() {
		err = os.ErrProcessDone // what was read may be of another one
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func isInitOf(pid int, container string) error {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return err
	}
	if !bytes.Contains(groups, []byte(container)) {
		return fmt.Errorf("the process %d is not of the container %s", pid, container)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	if !firstOfNamespace(status) {
		return fmt.Errorf("the container %s has no process IDs of its own", container)
	}
	return nil
}

// firstOfNamespace reports whether a process is number 1 in its innermost PID namespace, given its /proc/PID/status. The
// reader's own does not count.
func firstOfNamespace(status []byte) bool {
	for line := range bytes.Lines(status) {
		if ids, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			fields := bytes.Fields(ids)
			return len(fields) > 1 && string(fields[len(fields)-1]) == "1"
		}
	}
	return false
}

// Ended reports whether the process has ended.
func (p *Init) Ended() bool {
	fds := []unix.PollFd{p.poll()}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLIN != 0
}

// Close forgets the process.
func (p *Init) Close() { _ = unix.Close(p.fd) }

func (p *Init) poll() unix.PollFd {
	return unix.PollFd{Fd: int32(p.fd), Events: unix.POLLIN} //nolint:gosec // a descriptor fits
}

// Await calls ended with the key of each process that ends, until all have or ctx does. None may be closed meanwhile.
func Await[K comparable](ctx context.Context, all map[K]*Init, ended func(K)) error {
	// The end of ctx is one more thing that is polled for.
	stopped, stop, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = stopped.Close() }()
	closed := context.AfterFunc(ctx, func() { _ = stop.Close() })
	defer func() {
		if closed() {
			_ = stop.Close()
		}
	}()
	keys := make([]K, 0, len(all))
	fds := make([]unix.PollFd, 0, len(all)+1)
	for k, p := range all {
		keys, fds = append(keys, k), append(fds, p.poll())
	}
	fds = append(fds, unix.PollFd{Fd: int32(stopped.Fd()), Events: unix.POLLIN}) //nolint:gosec // a descriptor fits
	for left := len(keys); left > 0; {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i, k := range keys {
			switch {
			case fds[i].Fd < 0 || fds[i].Revents == 0:
			case fds[i].Revents&unix.POLLIN == 0:
				return fmt.Errorf("poll: the kernel does not tell of a process any more (%#x)", fds[i].Revents)
			default:
				fds[i].Fd = -1 // which poll(2) leaves out
				left--
				ended(k)
			}
		}
	}
	return nil
}
