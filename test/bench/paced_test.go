// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"bytes"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// paced sends requests at a rate, evenly spaced, each over a connection that is free, and gives how many were answered in a second and
// the 99th percentile of the time from when each was to be sent, whether or not it could be then, to its answer. It is one thread
// that speaks to the kernel itself: a client that fills a core would measure itself.
func paced(t *testing.T, addr string, rate float64, connections int) (float64, time.Duration) {
	t.Helper()
	const lasts, patience = 4 * time.Second, 10 * time.Second
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The kernel is not to be 50 µs late so as to save wake-ups.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	var polled []unix.PollFd
	var free []int
	for i := range connections {
		fd := connected(t, netip.MustParseAddrPort(addr))
		defer unix.Close(fd)
		polled, free = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}), append(free, i)
	}
	request, end := []byte("GET / HTTP/1.1\r\nHost: bench\r\n\r\n"), []byte("Hello, world!")
	due := make([]time.Duration, connections)
	total := int(rate * lasts.Seconds())
	all := make([]time.Duration, 0, total)
	buf := make([]byte, 4096)
	begun := time.Now()
	for sent := 0; len(all) < total; {
		wait := patience
		for sent < total && len(free) > 0 {
			next := time.Duration(float64(sent) / rate * float64(time.Second))
			if wait = next - time.Since(begun); wait > 0 {
				break
			}
			c := free[0]
			free = free[1:]
			due[c] = next
			if n, err := unix.Write(int(polled[c].Fd), request); err != nil || n < len(request) {
				t.Fatalf("%s: %d bytes of a request were taken, %v", addr, n, err)
			}
			sent++
			wait = patience
		}
		timeout := unix.NsecToTimespec(int64(wait))
		n, err := unix.Ppoll(polled, &timeout, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			t.Fatal(err)
		case n == 0 && wait == patience:
			t.Fatalf("%s: no answer for %s", addr, patience)
		case n == 0:
			continue
		}
		for i := range polled {
			if polled[i].Revents == 0 {
				continue
			}
			n, err := unix.Read(int(polled[i].Fd), buf)
			if err != nil || n == 0 {
				t.Fatalf("%s: a connection has ended: %v", addr, err)
			}
			if bytes.HasSuffix(buf[:n], end) {
				all, free = append(all, time.Since(begun)-due[i]), append(free, i)
			}
		}
	}
	took := time.Since(begun)
	slices.Sort(all)
	return float64(len(all)) / took.Seconds(), all[len(all)*99/100]
}

// connected is a socket that the runtime knows nothing of.
func connected(t *testing.T, addr netip.AddrPort) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}),
	); err != nil {
		t.Fatal(err)
	}
	return fd
}
