// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
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

func TestUDP(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].Address = "" // every address, with answers from the right one
		s.Listeners[0].Protocol = gatewayapi.ProtocolUDP
		s.Listeners[0].UDPIdleTimeout = gatewayapi.Duration(200 * time.Millisecond)
	})
	for ip, name := range map[string]string{"127.0.0.2": "old", "127.0.0.3": "new"} {
		w.echoUDP(ip, name)
	}
	ask := func(c net.Conn, text string) string {
		t.Helper()
		_, _ = c.Write([]byte(text))
		return heard(t, c)
	}
	_, port, _ := net.SplitHostPort(w.addr)
	var clients []net.Conn
	for _, addr := range []string{"127.0.0.1", "127.0.0.9", "[::1]"} {
		c, err := net.Dial("udp", addr+":"+port) // connected: an answer from another address is not seen
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := ask(c, addr); got != "old "+addr {
			t.Errorf("%s: got %q", addr, got)
		}
		clients = append(clients, c)
	}
	large := strings.Repeat("x", 8000)
	if got := ask(clients[0], large); got != "old "+large {
		t.Errorf("got %d bytes", len(got))
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
	})
	if got := ask(clients[0], "a"); got != "old a" {
		t.Errorf("a session across the switch: %q", got)
	}
	eventually(t, "idle sessions end", func() bool { return w.target("127.0.0.2").Drained() })
	if got := ask(clients[0], "b"); got != "new b" {
		t.Errorf("after that: %q", got)
	}
	// Held datagrams come when the hold ends.
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = true })
	c, err := net.Dial("udp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte("held"))
	eventually(t, "the session waits", func() bool { return w.service().Held == 1 })
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = false })
	if got := ask(c, "c"); got != "new held" {
		t.Errorf("after the hold: %q", got)
	}
}

// A client that never pauses is moved at the deadline of what drains: what comes from then on goes to
// another target, and what the old one has yet to answer still arrives.
func TestUDPLosesNothingAtTheDeadline(t *testing.T) {
	const slow = 30 * time.Millisecond // the targets' answers
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].Protocol = gatewayapi.ProtocolUDP
		s.Services[0].LongLivedDeadline = gatewayapi.Duration(100 * time.Millisecond)
	})
	for ip, name := range map[string]string{"127.0.0.2": "old", "127.0.0.3": "new"} {
		conn, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", ip, w.targetPort))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 1<<10)
			for {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				answer := name + " " + string(buf[:n])
				time.AfterFunc(slow, func() { _, _ = conn.WriteTo([]byte(answer), from) })
			}
		}()
	}
	c, err := net.Dial("udp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var sent atomic.Int64
	stop := make(chan struct{})
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				_, _ = fmt.Fprint(c, sent.Add(1))
			}
		}
	}()
	answered := map[string]string{}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	read := func() {
		t.Helper()
		buf := make([]byte, 1<<10)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%d of %d datagrams were answered: %v", len(answered), sent.Load(), err)
		}
		who, what, _ := strings.Cut(string(buf[:n]), " ")
		answered[what] = who
	}
	for len(answered) < 50 {
		read()
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
	})
	for moved := 0; moved < 100; {
		if read(); answered[strconv.Itoa(len(answered))] == "new" {
			moved++
		}
	}
	close(stop)
	for int64(len(answered)) < sent.Load() {
		read()
	}
}
