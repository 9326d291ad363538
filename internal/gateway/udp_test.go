// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// echoUDP is a target that gives back each datagram with its name in front.
func (w *world) echoUDP(ip, name string) {
	w.t.Helper()
	conn, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", ip, w.targetPort))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(append([]byte(name+" "), buf[:n]...), from)
		}
	}()
}

// heard is the next datagram.
func heard(t *testing.T, c net.Conn) string {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func dialUDP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestUDPSessionsFollowTheirContainer has a container come back under another address, and another one get the
// one that it had.
func TestUDPSessionsFollowTheirContainer(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) { s.Listeners[0].Protocol = gatewayapi.ProtocolUDP })
	w.echoUDP("127.0.0.2", "other")
	w.echoUDP("127.0.0.3", "own")
	w.name("0123456789ab", "127.0.0.2")
	w.put(func(s *gatewayapi.DesiredState) {
		s.Services[0].Targets = []gatewayapi.Target{{ID: "a", Host: "0123456789ab"}}
	})
	c := dialUDP(t, w.addr)
	fmt.Fprint(c, "x") // at once: nobody has looked the name up yet
	if got := heard(t, c); got != "other x" {
		t.Fatalf("got %q", got)
	}
	w.name("0123456789ab", "127.0.0.3")
	eventually(t, "the session with the former address ends", func() bool { return w.target("a").LongLived == 0 })
	fmt.Fprint(c, "y")
	if got := heard(t, c); got != "own y" {
		t.Errorf("got %q", got)
	}
	w.name("0123456789ab")
	eventually(t, "the session ends with the container", func() bool { return w.target("a").LongLived == 0 })
}

// TestUDPInAHoldIsBounded sends more than may be kept while the service is held.
func TestUDPInAHoldIsBounded(t *testing.T) {
	for maxBytes, want := range map[int64]int{0: 8, 30_000: 3} {
		w := newWorld(t, func(s *gatewayapi.DesiredState) {
			targets("127.0.0.2")(s)
			s.Listeners[0].Protocol = gatewayapi.ProtocolUDP
			s.Services[0].Hold = gatewayapi.Hold{Enabled: true, MaxBytes: maxBytes}
		})
		w.echoUDP("127.0.0.2", "a")
		c, later := dialUDP(t, w.addr), dialUDP(t, w.addr)
		for range 20 {
			fmt.Fprint(c, strings.Repeat("x", 8000))
		}
		fmt.Fprint(later, "y") // which is taken after them
		eventually(t, "both wait", func() bool { return w.service().Held == 2 })
		w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = false })
		if got := heard(t, later); got != "a y" {
			t.Errorf("what there is room for: got %q", got)
		}
		n := 0
		for got := heard(t, c); got != "a end"; got = heard(t, c) {
			if n++; n == 1 {
				fmt.Fprint(c, "end") // behind what was kept
			}
		}
		if n != want {
			t.Errorf("at most %d bytes: %d datagrams were kept, want %d", maxBytes, n, want)
		}
	}
}
