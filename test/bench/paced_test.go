// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lane is where a process runs: on any core as everybody else, or on one of them with a real-time priority. A thread without one that is woken from another core gets its turn
// late, by up to some milliseconds on Linux 6.18, when any other program computes there just then: that is the kernel's time, and as much of HAProxy's.
type lane int

// Lanes.
const (
	anywhere lane = iota
	firstCore
	secondCore
)

// start runs begin, which starts a process, on a thread of the lane, which the process inherits.
func (l lane) start(begin func() error) error {
	if l == anywhere {
		return begin()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := l.enter()
		if err == nil {
			err = begin()
		}
		done <- err
	}()
	return <-done
}

func (l lane) enter() error {
	var cores unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cores); err != nil {
		return err
	}
	var which []int
	for i := range len(cores) * 64 {
		if cores.IsSet(i) {
			which = append(which, i)
		}
	}
	if len(which) < int(l) {
		return fmt.Errorf("%d cores are needed, %d are there", l, len(which))
	}
	cores.Zero()
	cores.Set(which[l-1])
	if err := unix.SchedSetaffinity(0, &cores); err != nil {
		return err
	}
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0); err != nil {
		return fmt.Errorf("a real-time priority, which needs CAP_SYS_NICE: %w", err)
	}
	return nil
}

// window is what a 99th percentile is taken of: so short that most of them are without what else the machine has to do, as the 50 ms in a second that the kernel
// takes from real-time priorities where others wait.
const window = 100 * time.Millisecond

// paced sends requests at a rate for a second, evenly spaced, each over a connection that is free, and gives how many were answered in a second and for each window
// but the first, in which the connections are new, the 99th percentile of the time from when each was to be sent, whether or not it could be then, to its answer. It is a
// process of its own, in a lane.
func paced(t *testing.T, addr string, rate float64, connections int, l lane) (answered float64, p99s []float64) {
	t.Helper()
	var out []byte
	err := l.start(func() (err error) {
		cmd := peer("paced", addr, fmt.Sprintf("%f,%d", rate, connections))
		out, err = cmd.Output()
		return err
	})
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		t.Fatalf("%s: %s", addr, failed.Stderr)
	}
	var found struct {
		Answered float64
		P99s     []time.Duration
	}
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found.P99s {
		p99s = append(p99s, p.Seconds()*1000)
	}
	return found.Answered, p99s
}

// runPaced is the client of paced: one thread that speaks to the kernel itself, as one that fills a core would measure itself.
func runPaced(addr, how string) (err error) {
	var rate float64
	var connections int
	if _, err := fmt.Sscanf(how, "%f,%d", &rate, &connections); err != nil {
		return err
	}
	const lasts, patience = time.Second, 10 * time.Second
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	// The kernel is not to be 50 µs late so as to save wake-ups.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	var polled []unix.PollFd
	var free []int
	for i := range connections {
		fd, err := connected(netip.MustParseAddrPort(addr))
		if err != nil {
			return err
		}
		polled, free = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}), append(free, i)
	}
	request, end := []byte("GET / HTTP/1.1\r\nHost: bench\r\n\r\n"), []byte("Hello, world!")
	due := make([]time.Duration, connections)
	windows := make([][]time.Duration, lasts/window)
	for i := range windows {
		windows[i] = make([]time.Duration, 0, int(min(rate, 1e5)*window.Seconds())+1)
	}
	buf := make([]byte, 4096)
	begun := time.Now()
	sent, received := 0, 0
	for over := false; !over || received < sent; over = over || time.Since(begun) >= lasts {
		wait := patience
		for !over && len(free) > 0 {
			next := time.Duration(float64(sent) / rate * float64(time.Second))
			if wait = next - time.Since(begun); wait > 0 {
				break
			}
			c := free[0]
			free = free[1:]
			due[c] = next
			if n, errno := raw(unix.SYS_WRITE, polled[c].Fd, request); errno != 0 || n < len(request) {
				return fmt.Errorf("%d bytes of a request were taken: %w", n, errno)
			}
			sent++
			wait = patience
		}
		timeout := unix.NsecToTimespec(int64(wait))
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&polled[0])), uintptr(len(polled)), uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return errno
		case n == 0 && wait == patience:
			return fmt.Errorf("no answer for %s", patience)
		case n == 0:
			continue
		}
		for i := range polled {
			if polled[i].Revents == 0 {
				continue
			}
			n, errno := raw(unix.SYS_READ, polled[i].Fd, buf)
			if errno != 0 || n == 0 {
				return fmt.Errorf("a connection has ended: %w", errno)
			}
			if bytes.HasSuffix(buf[:n], end) {
				free = append(free, i)
				received++
				if w := int(due[i] / window); w < len(windows) {
					windows[w] = append(windows[w], time.Since(begun)-due[i])
				}
			}
		}
	}
	took := time.Since(begun)
	var p99s []time.Duration
	for _, w := range windows[1:] {
		if slices.Sort(w); len(w) > 0 {
			p99s = append(p99s, w[len(w)*99/100])
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"Answered": float64(received) / took.Seconds(), "P99s": p99s})
}

// raw reads or writes without Go's scheduler being told: it would give the thread's place to another one, and take it back, whenever
// that takes longer than 20 µs.
func raw(call uintptr, fd int32, data []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	return int(n), errno
}

// connected is a socket that the runtime knows nothing of.
func connected(addr netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}),
	)
}

// runLoop is a server of small responses that is one thread: the cheapest one there can be, which is always there in time.
func runLoop(listen string) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	addr := netip.MustParseAddrPort(listen)
	ln, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	watch := func(fd int) error {
		return unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	}
	if err := errors.Join(
		unix.Bind(ln, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}),
		unix.Listen(ln, 1024), watch(ln),
	); err != nil {
		return err
	}
	buf, events := make([]byte, 16<<10), make([]unix.EpollEvent, 64)
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
		if errno == unix.EINTR {
			continue
		} else if errno != 0 {
			return errno
		}
		for _, e := range events[:n] {
			if fd := int(e.Fd); fd != ln {
				// A request of these clients comes in one piece.
				n, errno := raw(unix.SYS_READ, e.Fd, buf)
				if errno == 0 && bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
					_, errno = raw(unix.SYS_WRITE, e.Fd, smallAnswer)
				} else {
					errno = unix.EPIPE
				}
				if errno != 0 {
					unix.Close(fd)
				}
				continue
			}
			fd, _, err := unix.Accept4(ln, unix.SOCK_CLOEXEC)
			if err == nil {
				err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), watch(fd))
			}
			if err != nil {
				return err
			}
		}
	}
}
