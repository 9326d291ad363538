// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// echoTCP is a target that greets, if it does, and gives back what it gets until the client
// stops, then says goodbye.
func (w *world) echoTCP(ip, greeting string) {
	w.answers(ip, func(c net.Conn) {
		_, _ = io.WriteString(c, greeting)
		_, _ = io.Copy(c, c)
		_, _ = io.WriteString(c, "bye")
	})
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.TCPConn)
}

func TestTCPWithHalfCloseAndLargeData(t *testing.T) {
	for _, protocol := range []gatewayapi.Protocol{gatewayapi.ProtocolTCP, gatewayapi.ProtocolAuto} {
		w := newWorld(t, func(s *gatewayapi.DesiredState) {
			targets("127.0.0.2")(s)
			s.Listeners[0].Protocol = protocol
		})
		w.echoTCP("127.0.0.2", "")
		data := make([]byte, 3<<20)
		rand.Read(data)
		c := dial(t, w.addr)
		go func() {
			_, _ = c.Write(data)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || string(got) != string(data)+"bye" {
			t.Errorf("%s: %v, got %d bytes", protocol, err, len(got))
		}
		eventually(t, "the connection ends", func() bool { return w.target("127.0.0.2").Drained() })
	}
}

func TestServerThatGreetsFirst(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.echoTCP("127.0.0.2", "220 hello\r\n")
	c := dial(t, w.addr)
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != "220 hello\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	_, _ = io.WriteString(c, "EHLO me\r\n")
	if line, err := r.ReadString('\n'); line != "EHLO me\r\n" {
		t.Errorf("got %q, %v", line, err)
	}
	if s := w.target("127.0.0.2"); s.LongLived != 1 || s.Endless != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestClientThatSpeaksLate(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("http"))
	c := dial(t, w.addr)
	eventually(t, "the target is connected to", func() bool { return w.target("127.0.0.2").OpenConnections == 1 })
	wantLateAnswer(t, c, "http")
}

// wantLateAnswer asks over a connection that has been silent so far, and checks whose answer it gets.
func wantLateAnswer(t *testing.T, c net.Conn, whose string) {
	t.Helper()
	_, _ = io.WriteString(c, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, body := read(t, resp); body != whose+" GET /late 0" {
		t.Errorf("got %q, want that of %s", body, whose)
	}
}

// TestTargetThatEndsBeforeTheClientSpoke has a client of HTTP that is slow with its first request not be closed because a target, which
// was connected to in case it greets, died meanwhile.
func TestTargetThatEndsBeforeTheClientSpoke(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	s := w.serve("127.0.0.2", says("old"))
	w.serve("127.0.0.3", says("new"))
	get(t, client(t), "http://"+w.addr+"/") // HTTP is spoken there
	early := dial(t, w.addr)
	eventually(t, "the target is connected to", func() bool { return w.target("127.0.0.2").OpenConnections == 2 })
	s.CloseClientConnections()
	s.Close()
	eventually(t, "it is noticed", func() bool { return w.target("127.0.0.2").OpenConnections == 1 })
	late := dial(t, w.addr) // which finds nobody
	eventually(t, "that is noticed", func() bool { return w.target("127.0.0.2").Errors > 0 })
	w.put(targets("127.0.0.3"))
	wantLateAnswer(t, early, "new")
	wantLateAnswer(t, late, "new")
}

func TestProtocolsThatLookLikeHTTP(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.echoTCP("127.0.0.2", "")
	for _, said := range []string{"GET key\r\n", "PING\r\n", "get key\r\n", "\x16\x03\x01\x02\x00", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "*1\r\n$4\r\nPING\r\n", "SSH-2.0-x\r\n"} {
		c := dial(t, w.addr)
		_, _ = io.WriteString(c, said)
		buf := make([]byte, len(said))
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != said {
			t.Errorf("%q: got %q, %v", said, buf, err)
		}
		c.Close()
	}
	// What a lenient server might take for HTTP must not go past the gateway.
	for _, said := range []string{"GET / HTTP/1.1 \r\n\r\n", "GET /  http/1.1\r\n\r\n", "\r\n\r\nFOO / HTTP/1.1\nX-Forwarded-For: x\n\n", "GET\t/ HTTP/1.1\r\n\r\n",
		"GET\x0b/ HTTP/1.1\r\n\r\n", " GET / HTTP/1.1\r\n\r\n", strings.Repeat("A", 33) + " / HTTP/1.1\r\n\r\n"} {
		if got := w.raw(said); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%q: got %q", said, got)
		}
	}
	// Methods that nobody has heard of are methods, and go on with the headers of the gateway.
	for _, method := range []string{"GET1", "X_Y", "1GET", "55", "a!b"} {
		got := w.raw(method + " / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
		if strings.Contains(got, "6.6.6.6") {
			t.Errorf("%s goes past the gateway: %q", method, got)
		}
	}
}

// TestBytesAreLeftToTheTarget has connections of bytes go on with a target that drains, whose end alone ends them well.
func TestBytesAreLeftToTheTarget(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		s.Services[0].Targets = []gatewayapi.Target{{ID: "old", Host: "old"}}
		s.Services[0].DrainTimeout = gatewayapi.Duration(10 * time.Millisecond)
		s.Services[0].LongLivedDeadline = gatewayapi.Duration(500 * time.Millisecond)
	})
	w.name("old", "127.0.0.2")
	w.echoTCP("127.0.0.2", "")
	w.echoTCP("127.0.0.3", "")
	says := func(c net.Conn, what string) {
		t.Helper()
		got := make([]byte, len(what))
		if _, err := io.WriteString(c, what); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != what {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	ends, stays := dial(t, w.addr), dial(t, w.addr)
	says(ends, "\x16\x03\x01\x02\x00") // as TLS begins
	says(stays, "\x16\x03\x01\x02\x00")
	drain := func(s *gatewayapi.DesiredState) {
		s.Services[0].Targets = []gatewayapi.Target{
			{ID: "old", Host: "old", State: gatewayapi.TargetDraining}, {ID: "new", Addresses: []string{"127.0.0.3"}},
		}
	}
	w.put(drain)
	if s := w.target("old"); s.Drained() {
		t.Fatalf("nobody waits: %+v", s)
	}
	left := func() bool {
		s := w.target("old")
		return s.Drained() && s.Left == 2 && s.LongLived == 0 && s.Endless == 0
	}
	eventually(t, "their time is over", left)
	says(ends, "goes on")
	// The traffic goes back: they are what they were.
	w.put(func(s *gatewayapi.DesiredState) {
		s.Services[0].Targets = []gatewayapi.Target{{ID: "old", Host: "old"}}
	})
	if s := w.target("old"); s.Left != 0 || s.InFlight != 2 || s.LongLived != 2 || s.Endless != 2 || s.OpenConnections != 2 {
		t.Errorf("got %+v", s)
	}
	w.put(drain)
	eventually(t, "their time is over again", left)
	_ = ends.CloseWrite()
	if got, err := io.ReadAll(ends); string(got) != "bye" || err != nil {
		t.Errorf("the end was %q, %v", got, err)
	}
	eventually(t, "one has ended", func() bool { return w.target("old").Left == 1 })
	// What comes to its end arrives, also where the container is gone by then.
	w.name("old")
	eventually(t, "its container is gone", func() bool { return w.target("old").Health == gatewayapi.TargetUnresolved })
	says(stays, "goes on")
	_ = stays.CloseWrite()
	if got, err := io.ReadAll(stays); string(got) != "bye" || err != nil {
		t.Errorf("the end was %q, %v", got, err)
	}
	eventually(t, "nothing is left", func() bool { return w.target("old").Left == 0 })
}

func TestTCPIsHeldAndRefused(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].Protocol = gatewayapi.ProtocolTCP
		s.Services[0].Hold = gatewayapi.Hold{Enabled: true, MaxRequests: 1}
	})
	w.echoTCP("127.0.0.2", "")
	first := dial(t, w.addr)
	_, _ = io.WriteString(first, "hello")
	eventually(t, "the connection waits", func() bool { return w.service().Held == 1 })
	if got, err := io.ReadAll(dial(t, w.addr)); len(got) > 0 || err != nil {
		t.Errorf("one too many: %q, %v", got, err)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = false })
	buf := make([]byte, 5)
	if _, err := io.ReadFull(first, buf); err != nil || string(buf) != "hello" {
		t.Errorf("after the hold: %q, %v", buf, err)
	}
}

func TestProxyProtocol(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].TrustedProxies = []string{"127.0.0.1"}
		s.Listeners[0].ProxyProtocolIn = true
		s.Listeners[0].ProxyProtocolOut = "v2"
	})
	ln := &proxyproto.Listener{Listener: w.listen("127.0.0.2")}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%s %s", r.RemoteAddr, r.Header.Get("X-Forwarded-For"))
	})}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	for _, version := range []byte{1, 2} {
		var message bytes.Buffer
		header := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80})
		_, _ = header.WriteTo(&message)
		message.WriteString("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if got := w.raw(message.String()); !strings.HasSuffix(got, "203.0.113.7:4711 203.0.113.7") {
			t.Errorf("version %d: got %q", version, got)
		}
	}
	// The proxy is trusted, who is behind it is not.
	if got := w.raw("PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, "203.0.113.7:4711 203.0.113.7") {
		t.Errorf("a client that makes an address up: got %q", got)
	}
	if got := w.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); got != "" {
		t.Errorf("without a header: %q", got)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Listeners[0].TrustedProxies = []string{"203.0.113.1"} })
	if got := w.raw("PROXY TCP4 1.2.3.4 127.0.0.1 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"); got != "" {
		t.Errorf("from anybody: %q", got)
	}
}
