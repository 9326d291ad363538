// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

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
	_, _ = io.WriteString(c, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, body := read(t, resp); body != "http GET /late 0" {
		t.Errorf("got %q", body)
	}
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

// grpcServer is a real server with a health service, whose watches are streams.
func (w *world) grpcServer(ip string) *health.Server {
	w.t.Helper()
	ln := w.listen(ip)
	server, checks := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(server, checks)
	go func() { _ = server.Serve(ln) }()
	w.t.Cleanup(server.Stop)
	return checks
}

func TestGRPCAcrossASwitch(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	old := w.grpcServer("127.0.0.2")
	young := w.grpcServer("127.0.0.3")
	old.SetServingStatus("who", healthpb.HealthCheckResponse_SERVING)
	young.SetServingStatus("who", healthpb.HealthCheckResponse_NOT_SERVING)
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := healthpb.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	who := &healthpb.HealthCheckRequest{Service: "who"}
	stream, err := c.Watch(ctx, who)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", m, err)
	}
	if _, err := c.Check(ctx, &healthpb.HealthCheckRequest{Service: "nobody"}); err == nil || !strings.Contains(err.Error(), "unknown service") {
		t.Errorf("an error in the trailers: %v", err)
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
	})
	if m, err := c.Check(ctx, who); err != nil || m.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("a new call after the switch: %v, %v", m, err)
	}
	old.SetServingStatus("who", healthpb.HealthCheckResponse_NOT_SERVING)
	if m, err := stream.Recv(); err != nil || m.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("the stream after the switch: %v, %v", m, err)
	}
	if s := w.target("127.0.0.2"); s.LongLived != 1 {
		t.Errorf("got %+v", s)
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.3")(s)
		s.Services[0].LongLivedDeadline = gatewayapi.Duration(time.Second)
	})
	// The deadline began with the draining, under the old setting; going back and forth begins it anew.
	w.put(targets("127.0.0.2", "127.0.0.3"))
	w.put(targets("127.0.0.3"))
	if m, err := stream.Recv(); err == nil {
		t.Errorf("the stream outlives its deadline: %v", m)
	}
	eventually(t, "the old target drains", func() bool { return w.target("127.0.0.2").ID == "" || w.target("127.0.0.2").Drained() })
	if m, err := c.Check(ctx, who); err != nil {
		t.Errorf("the connection of the client ended with the stream: %v, %v", m, err)
	}
}

func TestStateOutlivesTheProcess(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("a"))
	w.serve("127.0.0.3", says("b"))
	w.name("0123456789ab", "127.0.0.2")
	w.put(func(s *gatewayapi.DesiredState) {
		s.Services[0].Targets = []gatewayapi.Target{{ID: "a", Host: "0123456789ab", Addresses: []string{"127.0.0.2"}}}
	})
	if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "a GET / 0" {
		t.Fatalf("got %q", body)
	}
	w.stop()
	// The engine gave the container another address, and its old one to somebody else.
	w.name("0123456789ab", "127.0.0.3")
	w.start()
	if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "b GET / 0" {
		t.Errorf("got %q", body)
	}
	if o := w.g.Observed(); o.AppliedRevision != w.state.Revision {
		t.Errorf("revision %d", o.AppliedRevision)
	}
}

func TestTargetsAreFoundByTheirNames(t *testing.T) {
	w := newWorld(t, nil)
	w.serve("127.0.0.2", says("a"))
	w.serve("127.0.0.3", says("b"))
	w.name("0123456789ab", "")
	w.put(func(s *gatewayapi.DesiredState) {
		s.Services[0].Targets = []gatewayapi.Target{{ID: "a", Host: "0123456789ab", Addresses: []string{"127.0.0.2"}}}
	})
	if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "a GET / 0" {
		t.Errorf("by the address of the state, while DNS does not answer: %q", body)
	}
	w.name("0123456789ab", "127.0.0.3")
	eventually(t, "the name is asked for", func() bool { a := w.target("a").Addresses; return len(a) == 1 && a[0] == "127.0.0.3" })
	if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "b GET / 0" {
		t.Errorf("by the name: %q", body)
	}
	w.name("0123456789ab", "")
	if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "b GET / 0" {
		t.Errorf("while DNS does not answer again: %q", body)
	}
	w.name("0123456789ab")
	eventually(t, "a container that is down is known to be", func() bool { return w.target("a").Health == gatewayapi.TargetUnresolved })
	if status, _ := get(t, client(t), "http://"+w.addr+"/"); status != http.StatusServiceUnavailable {
		t.Errorf("got %d", status)
	}
	w.name("0123456789ab", "127.0.0.2")
	if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "a GET / 0" {
		t.Errorf("when it is back: %q", body)
	}
}

func TestProbesHaveSeparateThresholds(t *testing.T) {
	w := newWorld(t, nil)
	var sick = make(chan bool, 1)
	sick <- false
	handler := func(name string) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			now := <-sick
			sick <- now
			if name == "a" && now && r.URL.Path == "/health" {
				rw.WriteHeader(http.StatusInternalServerError)
				return
			}
			says(name).ServeHTTP(rw, r)
		})
	}
	w.serve("127.0.0.2", handler("a"))
	w.serve("127.0.0.3", handler("b"))
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Probe = &gatewayapi.Probe{Type: gatewayapi.ProbeHTTP, Port: w.targetPort, Path: "/health", Interval: gatewayapi.Duration(20 * time.Millisecond), Failing: 2, Passing: 3}
	})
	seen := func() map[string]int {
		n := map[string]int{}
		for range 10 {
			_, body := get(t, client(t), "http://"+w.addr+"/")
			n[body[:1]]++
		}
		return n
	}
	eventually(t, "both are healthy", func() bool { return w.target("127.0.0.2").Health == gatewayapi.TargetHealthy })
	if n := seen(); n["a"] == 0 || n["b"] == 0 {
		t.Errorf("balanced: %v", n)
	}
	<-sick
	sick <- true
	eventually(t, "the sick one leaves", func() bool { return w.target("127.0.0.2").Health == gatewayapi.TargetUnhealthy })
	if n := seen(); n["a"] != 0 {
		t.Errorf("with a sick: %v", n)
	}
	if s := w.target("127.0.0.2"); !strings.Contains(s.LastError, "500") {
		t.Errorf("the reason is %q", s.LastError)
	}
	<-sick
	sick <- false
	eventually(t, "it comes back", func() bool { return w.target("127.0.0.2").Health == gatewayapi.TargetHealthy })
	if n := seen(); n["a"] == 0 {
		t.Errorf("back: %v", n)
	}
	// If all are said to be sick, all are tried.
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Probe.Port = freePort(t) })
	eventually(t, "the probe fails everywhere", func() bool {
		return w.target("127.0.0.2").Health == gatewayapi.TargetUnhealthy && w.target("127.0.0.3").Health == gatewayapi.TargetUnhealthy
	})
	if n := seen(); n["a"]+n["b"] != 10 {
		t.Errorf("with a wrong probe: %v", n)
	}
}

func TestSwitchIsQuick(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("a"))
	w.serve("127.0.0.3", says("b"))
	get(t, client(t), "http://"+w.addr+"/")
	if o := w.put(targets("127.0.0.3")); o.SwapMicroseconds > 5000 {
		t.Errorf("the swap took %d µs", o.SwapMicroseconds)
	}
}

func TestRevisions(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	same := *w.state
	if err := w.g.Put(&same); err != nil {
		t.Errorf("the same again: %v", err)
	}
	other := same
	other.Application = "other"
	if err := w.g.Put(&other); !errors.Is(err, gatewayapi.ErrRevision) {
		t.Errorf("another under the same revision: %v", err)
	}
	other.Revision--
	if err := w.g.Put(&other); !errors.Is(err, gatewayapi.ErrRevision) {
		t.Errorf("an older one: %v", err)
	}
	other.Revision, other.Version = 100, "v0"
	if err := w.g.Put(&other); !errors.Is(err, gatewayapi.ErrInvalid) {
		t.Errorf("an invalid one: %v", err)
	}
	if got := w.g.Desired(); got.Application != "shop" {
		t.Errorf("a refused state is in force: %+v", got)
	}
}

func TestListenersThatCannotBeBound(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("a"))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	next := *w.state
	next.Revision++
	next.Listeners = append(next.Listeners[:1:1], gatewayapi.Listener{Name: "more", Address: "127.0.0.1", Port: taken.Addr().(*net.TCPAddr).Port, Service: "web", TargetPort: w.targetPort})
	if err := w.g.Put(&next); err != nil {
		t.Fatal(err)
	}
	if l := w.g.Observed().Listeners; !l[0].Bound || l[1].Bound || !strings.Contains(l[1].Reason, "address already in use") {
		t.Errorf("got %+v", l)
	}
	taken.Close()
	eventually(t, "it is tried again", func() bool { return w.g.Observed().Listeners[1].Bound })
	if _, body := get(t, client(t), "http://"+taken.Addr().String()+"/"); body != "a GET / 0" {
		t.Errorf("got %q", body)
	}
}

func TestPrefixesAndOneSocket(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].Address = "127.0.1.0/24"
		inner := s.Listeners[0]
		inner.Name, inner.Address, inner.Service = "inner", "127.0.1.7", "other"
		s.Listeners = append(s.Listeners, inner)
		s.Services = append(s.Services, gatewayapi.Service{Name: "other", Targets: []gatewayapi.Target{{ID: "b", Addresses: []string{"127.0.0.3"}}}})
	})
	w.serve("127.0.0.2", says("web"))
	w.serve("127.0.0.3", says("other"))
	_, port, _ := net.SplitHostPort(w.addr)
	for addr, want := range map[string]string{"127.0.1.1": "web GET / 0", "127.0.1.7": "other GET / 0"} {
		if _, body := get(t, client(t), "http://"+addr+":"+port+"/"); body != want {
			t.Errorf("%s: got %q", addr, body)
		}
	}
	if _, err := client(t).Get("http://127.0.2.1:" + port + "/"); err == nil {
		t.Error("an address that no listener has is served")
	}
}

func TestControlSocket(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("a"))
	control, err := Listen(w.g)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- control.Serve() }()
	c := gatewayapi.NewClient(w.dir)
	next := *w.state
	next.Revision++
	if o, err := c.Put(t.Context(), &next); err != nil || o.AppliedRevision != next.Revision || !o.Listeners[0].Bound {
		t.Errorf("put: %+v, %v", o, err)
	}
	get(t, client(t), "http://"+w.addr+"/")
	// Its time is counted after the answer was passed on.
	eventually(t, "the request is counted", func() bool { return w.service().Latency.Count == 1 })
	if d, err := c.Desired(t.Context()); err != nil || d.Revision != next.Revision {
		t.Errorf("desired: %+v, %v", d, err)
	}
	if o, err := c.Observed(t.Context()); err != nil || o.Services[0].Requests != 1 || o.Services[0].Latency.Count != 1 || o.Services[0].Latency.P99Seconds <= 0 {
		t.Errorf("observed: %+v, %v", o, err)
	}
	next.Revision = 1
	if _, err := c.Put(t.Context(), &next); !errors.Is(err, gatewayapi.ErrRevision) {
		t.Errorf("an old revision: %v", err)
	}
	next.Version = ""
	if _, err := c.Put(t.Context(), &next); !errors.Is(err, gatewayapi.ErrInvalid) {
		t.Errorf("an invalid state: %v", err)
	}
	metrics, err := c.Metrics(t.Context())
	for _, want := range []string{
		`fairlead_gateway_requests_total{application="shop",service="web"} 1`,
		`fairlead_gateway_request_duration_seconds_count{application="shop",service="web"} 1`,
		`fairlead_gateway_held{application="shop",service="web"} 0`,
	} {
		if err != nil || !strings.Contains(string(metrics), want) {
			t.Errorf("%v, %s is missing in\n%s", err, want, metrics)
		}
	}
	if err := control.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := c.Observed(t.Context()); err == nil {
		t.Error("somebody answers")
	}
}

func TestShutdownLetsRequestsEnd(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	begun, goOn := make(chan struct{}), make(chan struct{})
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-goOn
		_, _ = io.WriteString(rw, "whole")
	}))
	answered := make(chan string, 1)
	go func() {
		resp, err := client(t).Get("http://" + w.addr + "/")
		if err != nil {
			answered <- err.Error()
			return
		}
		_, body := read(t, resp)
		answered <- fmt.Sprint(body, " ", resp.Close)
	}()
	<-begun
	over := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		over <- w.g.Shutdown(ctx, false)
	}()
	eventually(t, "nothing is listened on", func() bool {
		c, err := net.Dial("tcp", w.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(goOn)
	if got := <-answered; got != "whole true" {
		t.Errorf("got %q", got)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func TestSlowClients(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].Protocol = gatewayapi.ProtocolHTTP
		s.Listeners[0].HTTP = gatewayapi.HTTPLimits{
			HeaderTimeout: gatewayapi.Duration(100 * time.Millisecond), IdleTimeout: gatewayapi.Duration(200 * time.Millisecond),
			BodyTimeout: gatewayapi.Duration(100 * time.Millisecond), MaxHeaderBytes: 4096,
		}
	})
	w.serve("127.0.0.2", says("a"))
	for name, c := range map[string]struct{ said, want string }{
		"stops within its head": {"GET / HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 408 "},
		"stops within a body":   {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhal", "HTTP/1.1 408 "},
		"says nothing":          {"", ""},
		"has a huge head":       {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 5000) + "\r\n\r\n", "HTTP/1.1 431 "},
	} {
		if got := w.raw(c.said); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("a client that %s: got %q", name, got)
		}
	}
	if n := w.target("127.0.0.2").Requests; n != 0 {
		t.Errorf("%d requests came to the target", n)
	}
}

// Malformed requests end here, whatever is behind them on the connection: the target must not see a
// request that nobody sent.
func TestSmuggledRequestsReachNobody(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.Contains(r.URL.Path, "admin") {
			t.Errorf("the target got %s %s", r.Method, r.URL)
		}
	}))
	const hidden = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, head := range []string{
		"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: xchunked\r\n\r\n",
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
		"Content-Length: 0, 40\r\n\r\n",
		"Content-Length: +40\r\n\r\n",
		"X: y\nContent-Length: 40\r\n\r\n",
		"X: y\rContent-Length: 40\r\n\r\n",
		"X: y\r\n Content-Length: 40\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n0\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n2;x\nxx\r\nab\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
	} {
		got := w.raw("POST /x HTTP/1.1\r\nHost: a\r\n" + head + hidden)
		if !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 501") || strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%q: got %q", head, got)
		}
	}
	// In the middle of a body that is passed on while it comes, too.
	long := strings.Repeat("x", 20_000)
	got := w.raw(fmt.Sprintf("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n3\nabc\r\n0\r\n\r\n%s", len(long), long, hidden))
	if !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
		t.Errorf("in the middle of a body: got %q", got)
	}
}

// answers is a target that does something with each connection, until it is closed.
func (w *world) answers(ip string, f func(c net.Conn)) {
	ln := w.listen(ip)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
}

// What a target says late, when nothing is asked any more, is no answer to the next request.
func TestLateAnswersThatNobodyAskedFor(t *testing.T) {
	for _, unasked := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", // as servers end idle connections
	} {
		w := newWorld(t, targets("127.0.0.2"))
		said := make(chan struct{}, 10)
		w.answers("127.0.0.2", func(c net.Conn) {
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%s", req.URL.Path)
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // late is what is tested
			_, _ = io.WriteString(c, unasked)
			if strings.Contains(unasked, "close") {
				c.Close()
			}
			said <- struct{}{}
			_, _ = io.Copy(io.Discard, c)
		})
		c := client(t)
		for _, path := range []string{"/a", "/b", "/c"} {
			if status, body := get(t, c, "http://"+w.addr+path); status != http.StatusOK || body != path {
				t.Errorf("%s: got %d %q", path, status, body)
			}
			<-said
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // for it to arrive, which nobody can see here
		}
		if s := w.service(); s.Errors != 0 {
			t.Errorf("%d errors", s.Errors)
		}
	}
}

// A target that answers more than it was asked must not have its answer given to the next client.
func TestAnswersThatNobodyAskedFor(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	ln := w.listen("127.0.0.2")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%sHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nevil %s", req.URL.Path[:2], req.URL.Path[:2])
				}
			}()
		}
	}()
	c := client(t)
	for _, path := range []string{"/a", "/b", "/c"} {
		if _, body := get(t, c, "http://"+w.addr+path); body != path {
			t.Errorf("%s: got %q", path, body)
		}
	}
}
