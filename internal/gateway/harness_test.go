// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// world is a gateway with one service and one port in front of it. The targets
// have addresses of their own in 127.0.0.0/8 and all the same port.
type world struct {
	t          *testing.T
	dir        string
	env        *pool.Environment
	g          *Gateway
	state      *gatewayapi.DesiredState
	addr       string // of the gateway
	targetPort int

	mu    sync.Mutex
	names map[string][]netip.Addr // what the fake DNS server says
}

// freePort is a port that nobody listens on, on any address of this host.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func newWorld(t *testing.T, change func(*gatewayapi.DesiredState)) *world {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, leaks, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	})
	w := &world{t: t, dir: t.TempDir(), targetPort: freePort(t), names: map[string][]netip.Addr{}}
	w.env = &pool.Environment{Resolve: w.resolve, ResolveEvery: 50 * time.Millisecond, Log: testr.NewWithOptions(t, testr.Options{})}
	port := freePort(t)
	w.addr = fmt.Sprintf("127.0.0.1:%d", port)
	w.state = &gatewayapi.DesiredState{
		Version: gatewayapi.Version, Revision: 1, Application: "shop",
		Listeners: []gatewayapi.Listener{{Name: "web", Address: "127.0.0.1", Port: port, Service: "web", TargetPort: w.targetPort}},
		Services:  []gatewayapi.Service{{Name: "web", ConnectTimeout: gatewayapi.Duration(time.Second)}},
	}
	if change != nil {
		change(w.state)
	}
	w.start()
	w.put(nil)
	return w
}

func (w *world) start() {
	g := New(w.dir, "test", w.env, w.env.Log)
	w.g = g
	if err := g.Load(); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	over := make(chan struct{})
	go func() { defer close(over); g.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		<-over
		w.stop()
	})
}

// stop ends the gateway and cuts off what is connected.
func (w *world) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.g.Shutdown(ctx, false)
}

func (w *world) resolve(_ context.Context, host string) ([]netip.Addr, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	addrs, ok := w.names[host]
	if !ok {
		return nil, true, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if addrs == nil {
		return nil, false, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	return addrs, false, nil
}

func (w *world) name(host string, addrs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.names, host)
	for _, a := range addrs {
		if a == "" { // the DNS server does not answer
			w.names[host] = nil
			return
		}
		w.names[host] = append(w.names[host], netip.MustParseAddr(a))
	}
}

// put changes the state and puts it with the next revision.
func (w *world) put(change func(*gatewayapi.DesiredState)) *gatewayapi.ObservedState {
	w.t.Helper()
	// As over the socket: the gateway keeps nothing that the test changes later.
	data, err := json.Marshal(w.state)
	if err != nil {
		w.t.Fatal(err)
	}
	var next gatewayapi.DesiredState
	if err := json.Unmarshal(data, &next); err != nil {
		w.t.Fatal(err)
	}
	next.Revision++
	if change != nil {
		change(&next)
	}
	w.state = &next
	if err := w.g.Put(&next); err != nil {
		w.t.Fatal(err)
	}
	o := w.g.Observed()
	for _, l := range o.Listeners {
		if !l.Bound {
			w.t.Fatalf("listener %s: %s", l.Name, l.Reason)
		}
	}
	return o
}

// targets makes the service's targets those, all active, each with its address.
func targets(ips ...string) func(*gatewayapi.DesiredState) {
	return func(s *gatewayapi.DesiredState) {
		s.Services[0].Targets = nil
		for _, ip := range ips {
			s.Services[0].Targets = append(s.Services[0].Targets, gatewayapi.Target{ID: ip, Addresses: []string{ip}})
		}
	}
}

func (w *world) service() gatewayapi.ServiceStatus { return w.g.Observed().Services[0] }

func (w *world) target(id string) gatewayapi.TargetStatus {
	for _, t := range w.service().Targets {
		if t.ID == id {
			return t
		}
	}
	return gatewayapi.TargetStatus{}
}

// listen listens where a target is.
func (w *world) listen(ip string) net.Listener {
	w.t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, w.targetPort))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ln.Close() })
	return ln
}

// swallow has connections to a target never come about, and never be refused: its queue is full.
func (w *world) swallow(ip string) {
	w.t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Close(fd) })
	addr := netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(w.targetPort))
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: w.targetPort}), unix.Listen(fd, 0)); err != nil {
		w.t.Fatal(err)
	}
	for range 10 {
		c, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond)
		if err != nil {
			return
		}
		w.t.Cleanup(func() { c.Close() })
	}
	w.t.Fatal("its queue does not fill")
}

// connecting says whether somebody tries to connect to a target.
func (w *world) connecting(ip string) bool {
	w.t.Helper()
	const synSent = " 02 "
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		w.t.Fatal(err)
	}
	a := netip.MustParseAddr(ip).As4()
	return strings.Contains(string(table), fmt.Sprintf(" %02X%02X%02X%02X:%04X", a[3], a[2], a[1], a[0], w.targetPort)+synSent)
}

// serve runs an HTTP server as a target.
func (w *world) serve(ip string, h http.Handler) *httptest.Server {
	w.t.Helper()
	s := &httptest.Server{Listener: w.listen(ip), Config: &http.Server{Handler: h}}
	s.Start()
	w.t.Cleanup(s.Close)
	return s
}

// says is a handler that answers with a text and how the request looked.
func says(text string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(rw, "%s %s %s %d", text, r.Method, r.URL.Path, n)
	})
}

// client is an HTTP client with connections of its own.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// get gives status and body.
func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

func read(t *testing.T, resp *http.Response) (int, string) {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline.C:
			t.Fatalf("waited 10 s in vain: %s", what)
		case <-tick.C:
		}
	}
}

// raw sends bytes over a connection of its own and gives all that comes back until the gateway closes
// it, or nothing more comes for long.
func (w *world) raw(data string) string {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.Copy(c, strings.NewReader(data)) }()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer, _ := io.ReadAll(c)
	return string(answer)
}
