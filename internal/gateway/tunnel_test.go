// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// TestHeldClientsThatSendNoMore has clients say all that they will say while their service is held.
func TestHeldClientsThatSendNoMore(t *testing.T) {
	for _, protocol := range []gatewayapi.Protocol{gatewayapi.ProtocolTCP, gatewayapi.ProtocolAuto} {
		w := newWorld(t, func(s *gatewayapi.DesiredState) {
			targets("127.0.0.2")(s)
			s.Listeners[0].Protocol = protocol
			s.Services[0].Hold.Enabled = true
		})
		w.echoTCP("127.0.0.2", "")
		c := dial(t, w.addr)
		_, _ = io.WriteString(c, "\x01x")
		_ = c.CloseWrite()
		broken := dial(t, w.addr)
		_, _ = io.WriteString(broken, "\x01x")
		_ = broken.CloseWrite()
		eventually(t, "both wait", func() bool { return w.service().Held == 2 })
		_ = broken.SetLinger(0)
		broken.Close()
		if protocol == gatewayapi.ProtocolAuto { // what was read already is not in the way of seeing more
			eventually(t, "one has gone", func() bool { return w.service().Held == 1 })
		}
		w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = false })
		if got, err := io.ReadAll(c); err != nil || string(got) != "\x01xbye" {
			t.Errorf("%s: got %q, %v", protocol, got, err)
		}
	}
}

// TestSilentClientsEnd has clients that say nothing end: with their target, and where HTTP is spoken after the
// time that a connection may be idle.
func TestSilentClientsEnd(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].HTTP.IdleTimeout = gatewayapi.Duration(200 * time.Millisecond)
	})
	leave := make(chan struct{})
	w.answers("127.0.0.2", func(c net.Conn) {
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"+req.Header.Get("X"))
			return
		}
	})
	w.answers("127.0.0.3", func(net.Conn) { <-leave })
	w.put(targets("127.0.0.3"))
	c := dial(t, w.addr)
	eventually(t, "the target is connected to", func() bool { return w.target("127.0.0.3").OpenConnections == 1 })
	_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a protocol that nobody knows is cut off: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	close(leave)
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Errorf("after its target: got %q, %v", got, err)
	}
	eventually(t, "it ends here too", func() bool { return w.service().OpenConnections == 0 })
	w.put(targets("127.0.0.2"))
	if status, _ := get(t, client(t), "http://"+w.addr+"/"); status != http.StatusOK {
		t.Fatalf("got %d", status)
	}
	if got, err := io.ReadAll(dial(t, w.addr)); err != nil || len(got) > 0 {
		t.Errorf("where HTTP is spoken: got %q, %v", got, err)
	}
}

// TestSwitchBeforeTheGreeting switches while a client waits for the greeting of its target.
func TestSwitchBeforeTheGreeting(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.answers("127.0.0.2", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) // too slow to greet
	w.echoTCP("127.0.0.3", "220 hello\r\n")
	c := dial(t, w.addr)
	eventually(t, "the target is connected to", func() bool { return w.target("127.0.0.2").OpenConnections == 1 })
	w.put(targets("127.0.0.3"))
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "220 hello\r\n" {
		t.Errorf("got %q, %v", line, err)
	}
}
