// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// readHead reads the head of a message, and nothing behind it.
func readHead(c net.Conn) error {
	var head strings.Builder
	var one [1]byte
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		if _, err := c.Read(one[:]); err != nil {
			return err
		}
		head.Write(one[:])
	}
	return nil
}

// TestClientThatResetsWhileItsBodyStandsStill has an answer come for a client that is gone, while what
// passes its body on still waits for the target.
func TestClientThatResetsWhileItsBodyStandsStill(t *testing.T) {
	for _, head := range []string{"Content-Length: 52428800\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3200000\r\n"} {
		w := newWorld(t, targets("127.0.0.2"))
		ln := w.listen("127.0.0.2")
		gone, over := make(chan struct{}), make(chan error, 1)
		go func() {
			c, err := ln.Accept()
			if err != nil {
				over <- err
				return
			}
			defer c.Close()
			if err := readHead(c); err != nil {
				over <- err
				return
			}
			<-gone
			_, err = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, c) // the gateway gives up
			over <- err
		}()
		c := dial(t, w.addr)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+head)
		_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		part := make([]byte, 1<<20)
		sent := 0
		for {
			n, err := c.Write(part)
			if sent += n; err != nil {
				break // nobody takes any more
			}
		}
		if sent > 50<<20 {
			t.Fatalf("the target takes the whole body, which it is not to: %d bytes", sent)
		}
		_ = c.SetLinger(0)
		c.Close()
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // for the reset to arrive, which nobody can see here
		close(gone)
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		eventually(t, "the exchange ends", func() bool { return w.target("127.0.0.2").Drained() })
		ln.Close()
		w.serve("127.0.0.2", says("alive"))
		if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "alive GET / 0" {
			t.Errorf("%q: got %q", head, body)
		}
	}
}

// TestSlowClientsGetNoHoles reads a download with pauses that are longer than an answer may stand still: what
// comes is the beginning of it, however long, and never something from behind a part that is missing.
func TestSlowClientsGetNoHoles(t *testing.T) {
	const size = 64 << 20
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].HTTP.BodyTimeout = gatewayapi.Duration(100 * time.Millisecond)
	})
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", fmt.Sprint(size))
		data := make([]byte, 1<<20)
		for at := 0; at < size; at += len(data) {
			for i := 0; i < len(data); i += 8 {
				binary.BigEndian.PutUint64(data[i:], uint64(at+i))
			}
			if _, err := rw.Write(data); err != nil {
				return
			}
		}
	}))
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 64<<10)
		}), err)
	}}
	c, err := dialer.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := readHead(c); err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 64<<10)
	for at := 0; at < size; at += len(part) {
		if at%(8<<20) == 1<<20 {
			time.Sleep(180 * time.Millisecond) //nolint:forbidigo // stands still, which is what is tested
		}
		n, err := io.ReadFull(c, part)
		for i := 0; i+8 <= n; i += 8 {
			if got := binary.BigEndian.Uint64(part[i:]); got != uint64(at+i) {
				t.Fatalf("at %d comes what belongs to %d", at+i, got)
			}
		}
		if err != nil {
			return // cut off, which it may be
		}
	}
}
