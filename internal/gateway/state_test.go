// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

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

// TestMarkedTargetsAreLeftOut has targets of which the engine says that they are unhealthy get nothing, as long as there are others.
func TestMarkedTargetsAreLeftOut(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2", "127.0.0.3"))
	w.serve("127.0.0.2", says("a"))
	w.serve("127.0.0.3", says("b"))
	control, err := Listen(w.g)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = control.Serve() }()
	t.Cleanup(func() { _ = control.Close() })
	socket := gatewayapi.NewClient(w.dir)
	mark := func(lasting time.Duration, ids ...string) {
		t.Helper()
		if err := socket.Mark(t.Context(), gatewayapi.Unhealthy{Targets: ids, For: gatewayapi.Duration(lasting)}); err != nil {
			t.Fatal(err)
		}
	}
	kept := client(t) // its connection has to move
	seen := func() map[string]bool {
		t.Helper()
		n := map[string]bool{}
		for range 6 {
			for _, c := range []*http.Client{kept, client(t)} {
				status, body := get(t, c, "http://"+w.addr+"/")
				if status != http.StatusOK {
					t.Errorf("got %d %q", status, body)
				}
				n[body[:1]] = true
			}
		}
		return n
	}
	want := func(what string, names ...string) {
		t.Helper()
		n := seen()
		if len(n) != len(names) || slices.ContainsFunc(names, func(name string) bool { return !n[name] }) {
			t.Errorf("%s: %v answered, want %v", what, n, names)
		}
	}
	want("in the beginning", "a", "b")
	mark(time.Minute, "127.0.0.2", "unknown")
	want("with a marked", "b")
	if s := w.target("127.0.0.2"); s.Health != gatewayapi.TargetUnhealthy || !strings.Contains(s.LastError, "healthcheck") {
		t.Errorf("got %+v", s)
	}
	mark(time.Minute, "127.0.0.3")
	want("with b marked", "a")
	mark(time.Minute, "127.0.0.2", "127.0.0.3")
	want("with both marked", "a", "b")
	mark(time.Nanosecond, "127.0.0.2")
	want("when its time is over", "a", "b")
	mark(time.Minute, "127.0.0.2")
	mark(0)
	want("with none marked", "a", "b")
	// One that does not answer is worth less than one that is said to be unhealthy.
	w.put(targets("127.0.0.2", "127.0.0.9"))
	mark(time.Minute)
	eventually(t, "nobody listens there", func() bool {
		get(t, client(t), "http://"+w.addr+"/")
		return w.target("127.0.0.9").Health == gatewayapi.TargetUnhealthy
	})
	mark(time.Minute, "127.0.0.2")
	before := w.target("127.0.0.9").Errors
	want("with one marked and one away", "a")
	if n := w.target("127.0.0.9").Errors - before; n > 0 {
		t.Errorf("%d requests tried the one that is away first", n)
	}
	for _, bad := range []gatewayapi.Unhealthy{{Targets: []string{"127.0.0.2"}}, {Targets: []string{"127.0.0.2"}, For: gatewayapi.Duration(2 * time.Hour)}} {
		if err := socket.Mark(t.Context(), bad); !errors.Is(err, gatewayapi.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestTargetThatSwallowsPackets has requests that wait for a connection to the address of a container that died go to
// where the traffic goes meanwhile, and not wait until the attempt is over.
func TestTargetThatSwallowsPackets(t *testing.T) {
	w := newWorld(t, nil)
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Services[0].ConnectTimeout = gatewayapi.Duration(time.Minute)
	})
	w.swallow("127.0.0.2")
	w.serve2(w.listen("127.0.0.3"), says("alive"))
	w.serve("127.0.0.4", says("alive"))
	for next, c := range map[string]*http.Client{"127.0.0.3": client2(t), "127.0.0.4": client(t)} {
		answer := make(chan string, 1)
		before := w.target("127.0.0.2").Errors
		go func() {
			resp, err := c.Get("http://" + w.addr + "/")
			if err != nil {
				answer <- err.Error()
				return
			}
			_, body := read(t, resp)
			answer <- body
		}()
		eventually(t, "it tries to connect", func() bool { return w.connecting("127.0.0.2") })
		w.put(func(s *gatewayapi.DesiredState) {
			targets("127.0.0.2", next)(s)
			s.Services[0].Targets[0].State = gatewayapi.TargetDraining
		})
		if got := <-answer; got != "alive GET / 0" {
			t.Errorf("got %q", got)
		}
		if n := w.target("127.0.0.2").Errors - before; n != 0 {
			t.Errorf("%d attempts ran into their timeout", n)
		}
		w.put(targets("127.0.0.2"))
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
	if fi, err := os.Stat(filepath.Join(w.dir, gatewayapi.SocketName)); err != nil {
		t.Error(err)
	} else if fi.Mode().Perm() != 0o600 {
		t.Errorf("others may use the control socket: %v", fi.Mode())
	}
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
		`fairlead_gateway_errors_total{application="shop",service="web"} 0`,
		`fairlead_gateway_open_connections{application="shop",service="web"} 1`,
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
