// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// pair is both ends of a connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if far, err = net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	if near, err = ln.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// TestTunnelsOfWhichOneSideHasGone has one side say that it sends no more, and the other go on, and then
// be silent and not close.
func TestTunnelsOfWhichOneSideHasGone(t *testing.T) {
	for _, clientEnds := range []bool{true, false} {
		s := NewServer(logr.Discard())
		s.silence = silence{ofClient: 100 * time.Millisecond, ofTarget: 100 * time.Millisecond}
		near, clientSide := pair(t)
		up, targetSide := pair(t)
		c := &client{server: s, conn: near, up: &pool.Conn{TCPConn: up}}
		c.reads.set, c.writes.set = near.SetReadDeadline, near.SetWriteDeadline
		c.upReads.set, c.upWrites.set = up.SetReadDeadline, up.SetWriteDeadline
		over := make(chan struct{})
		go func() { defer close(over); c.tunnel() }()
		ends, goesOn := targetSide, clientSide
		if clientEnds {
			ends, goesOn = clientSide, targetSide
		}
		_ = ends.CloseWrite()
		if got, err := io.ReadAll(goesOn); err != nil || len(got) > 0 {
			t.Fatalf("the end is not passed on: %q, %v", got, err)
		}
		buf := make([]byte, 1)
		for range 5 { // slower than the silence in all, not at once
			time.Sleep(40 * time.Millisecond) //nolint:forbidigo // slow is what is tested
			_, _ = goesOn.Write([]byte("x"))
			if _, err := io.ReadFull(ends, buf); err != nil {
				t.Fatalf("the client ends: %v: one that goes on is cut off: %v", clientEnds, err)
			}
		}
		select {
		case <-over:
		case <-time.After(10 * time.Second):
			t.Errorf("the client ends: %v: a silent rest stays for ever", clientEnds)
		}
	}
}
