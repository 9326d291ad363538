// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

func TestKeepAliveConnectionsGoToTheNewTarget(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("old"))
	w.serve("127.0.0.3", says("new"))
	c := client(t)
	if _, body := get(t, c, "http://"+w.addr+"/a"); body != "old GET /a 0" {
		t.Fatalf("got %q", body)
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
	})
	eventually(t, "the old target drains", func() bool { return w.target("127.0.0.2").Drained() })
	reused := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/b", nil)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, body := read(t, resp); body != "new GET /b 0" || !reused {
		t.Errorf("got %q, connection reused: %v", body, reused)
	}
}

// Clients that keep their connections share a target that comes later.
func TestKeepAliveConnectionsAreShared(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	for _, ip := range []string{"127.0.0.2", "127.0.0.3"} {
		w.serve(ip, says(ip))
	}
	const clients = 12
	var all []*http.Client
	count := func() map[string]int {
		n := map[string]int{}
		for _, c := range all {
			status, body := get(t, c, "http://"+w.addr+"/")
			who, _, _ := strings.Cut(body, " ")
			if n[who]++; status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
		}
		return n
	}
	for range clients {
		all = append(all, client(t))
	}
	if n := count(); n["127.0.0.2"] != clients {
		t.Fatalf("%v", n)
	}
	w.put(targets("127.0.0.2", "127.0.0.3"))
	eventually(t, "both are used", func() bool { n := count(); return n["127.0.0.2"] < clients && n["127.0.0.3"] >= clients/3 })
	if n := w.target("127.0.0.2").OpenConnections + w.target("127.0.0.3").OpenConnections; n != clients {
		t.Errorf("%d connections for %d clients", n, clients)
	}
}

func TestForwardedHeaders(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) {
		forwardedHeaders(t, client(t), func(w *world, h http.Handler) { w.serve("127.0.0.2", h) })
	})
	t.Run("HTTP/2", func(t *testing.T) {
		forwardedHeaders(t, client2(t), func(w *world, h http.Handler) { w.serve2(w.listen("127.0.0.2"), h) })
	})
}

func forwardedHeaders(t *testing.T, c *http.Client, serve func(*world, http.Handler)) {
	seen := make(chan http.Header, 1)
	w := newWorld(t, targets("127.0.0.2"))
	serve(w, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	ask := func() http.Header {
		req, _ := http.NewRequest(http.MethodGet, "http://"+w.addr+"/", nil)
		req.Host = "shop.example"
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X_Forwarded_For"} {
			req.Header[name] = []string{"spoofed"}
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return <-seen
	}
	h := ask()
	if h.Get("X-Forwarded-For") != "127.0.0.1" || h.Get("X-Forwarded-Proto") != "http" || h.Get("X-Forwarded-Host") != "shop.example" {
		t.Errorf("from outside: %v", h)
	}
	if strings.Contains(fmt.Sprint(h), "spoofed") {
		t.Errorf("what a client says is believed: %v", h)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Listeners[0].TrustedProxies = []string{"127.0.0.0/8"} })
	if h = ask(); h.Get("X-Forwarded-For") != "spoofed, 127.0.0.1" || h.Get("X-Forwarded-Proto") != "spoofed" || h.Get("Forwarded") != "spoofed" {
		t.Errorf("from a trusted proxy: %v", h)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Listeners[0].TrustedProxies, s.Listeners[0].Internal = nil, true })
	if h = ask(); h.Get("X-Forwarded-For") != "spoofed" || h.Get("X-Forwarded-Host") != "spoofed" || !strings.Contains(strings.ToLower(fmt.Sprint(h)), "x_forwarded_for") {
		t.Errorf("between containers: %v", h)
	}
}

func TestHosts(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Services = append(s.Services, gatewayapi.Service{Name: "api", Targets: []gatewayapi.Target{{ID: "api", Addresses: []string{"127.0.0.3"}}}})
		api := s.Listeners[0]
		api.Name, api.Service, api.Hosts = "api", "api", []string{"api.example", "API"}
		s.Listeners = append(s.Listeners, api)
	})
	w.serve("127.0.0.2", says("web"))
	w.serve("127.0.0.3", says("api"))
	c := client(t)
	for host, want := range map[string]string{"api.example": "api", "api": "api", "Api:8080": "api", "www.example": "web"} {
		req, _ := http.NewRequest(http.MethodGet, "http://"+w.addr+"/", nil)
		req.Host = host
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, body := read(t, resp); !strings.HasPrefix(body, want) {
			t.Errorf("%s: got %q, want %s", host, body, want)
		}
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Listeners[0].Hosts = []string{"www"} })
	if status, _ := get(t, c, "http://"+w.addr+"/"); status != http.StatusMisdirectedRequest {
		t.Errorf("a host that nobody has: %d", status)
	}
}

func TestIdempotentRequestsAreSentAgain(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2", "127.0.0.3"))
	// One target takes requests and dies before it answers.
	dying := w.listen("127.0.0.2")
	go func() {
		for {
			c, err := dying.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			c.Close()
		}
	}()
	w.serve("127.0.0.3", says("alive"))
	for range 6 {
		c := client(t) // a connection of its own
		req, _ := http.NewRequest(http.MethodPut, "http://"+w.addr+"/", strings.NewReader("small"))
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := read(t, resp); body != "alive PUT / 5" {
			t.Errorf("got %d %q", status, body)
		}
	}
	if s := w.service(); s.Retried == 0 || s.Errors != 0 {
		t.Errorf("%d retried, %d errors", s.Retried, s.Errors)
	}
	// A POST may have been carried out: it is not sent twice.
	w.put(targets("127.0.0.2"))
	resp, err := client(t).Post("http://"+w.addr+"/", "text/plain", strings.NewReader("small"))
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := read(t, resp); status != http.StatusBadGateway {
		t.Errorf("POST to a dying target: %d", status)
	}
}

func TestTargetsThatCloseIdleConnections(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	s := w.serve("127.0.0.2", says("x"))
	c := client(t)
	for _, method := range []string{"GET", "POST", "GET", "POST"} {
		req, _ := http.NewRequest(method, "http://"+w.addr+"/", nil)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := read(t, resp); status != 200 {
			t.Errorf("%s: %d %q", method, status, body)
		}
		s.CloseClientConnections()
	}
}

func TestSlowStart(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	answered := make(chan string, 1)
	go func() {
		resp, err := client(t).Get("http://" + w.addr + "/")
		if err != nil {
			answered <- err.Error()
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		answered <- string(body)
	}()
	eventually(t, "the target is tried in vain", func() bool { return w.target("127.0.0.2").Errors > 0 })
	w.serve("127.0.0.2", says("late"))
	if got := <-answered; got != "late GET / 0" {
		t.Errorf("got %q", got)
	}
}

func TestNoTarget(t *testing.T) {
	w := newWorld(t, targets())
	resp, err := client(t).Get("http://" + w.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	read(t, resp)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %s, %v", resp.Status, resp.Header)
	}
}

func TestHold(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Services[0].Hold = gatewayapi.Hold{Enabled: true, MaxRequests: 5}
	})
	w.serve("127.0.0.2", says("x"))
	type result struct {
		status int
		err    error
	}
	results := make(chan result, 10)
	for range 5 {
		go func() {
			resp, err := client(t).Post("http://"+w.addr+"/", "text/plain", strings.NewReader(strings.Repeat("x", 50_000)))
			if err != nil {
				results <- result{0, err}
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			results <- result{resp.StatusCode, nil}
		}()
	}
	eventually(t, "five requests wait", func() bool { return w.service().Held == 5 })
	turnedAway := func(why string) {
		t.Helper()
		for name, c := range map[string]*http.Client{"HTTP/1.1": client(t), "HTTP/2": client2(t)} {
			resp, err := c.Get("http://" + w.addr + "/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s, %s: %s %v", why, name, resp.Status, resp.Header)
			}
		}
	}
	turnedAway("one too many")
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = false })
	for range 5 {
		if r := <-results; r.err != nil || r.status != 200 {
			t.Errorf("got %d, %v", r.status, r.err)
		}
	}
	if s := w.service(); s.HeldTotal != 5 || s.HoldRefused != 2 || s.Held != 0 {
		t.Errorf("got %+v", s)
	}
	// One that lasts too long, and a client that does not wait.
	w.put(func(s *gatewayapi.DesiredState) {
		s.Services[0].Hold = gatewayapi.Hold{Enabled: true, MaxWait: gatewayapi.Duration(50 * time.Millisecond)}
	})
	turnedAway("held for too long")
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.MaxWait = 0 })
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/", nil)
	gone := make(chan struct{})
	go func() { _, _ = client(t).Do(req); close(gone) }()
	eventually(t, "it waits", func() bool { return w.service().Held == 1 })
	cancel()
	<-gone
	eventually(t, "nobody waits for who has gone", func() bool { return w.service().Held == 0 })
}

func TestFiftySwitchesUnderLoad(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("a"))
	w.serve("127.0.0.3", says("b"))
	ctx, cancel := context.WithCancel(t.Context())
	const clients = 20
	failures := make(chan error, clients)
	counts := make(chan int, clients)
	for i := range clients {
		go func() {
			c := client(t)
			n := 0
			for ctx.Err() == nil {
				req, _ := http.NewRequest(http.MethodGet, "http://"+w.addr+"/", nil)
				if i%3 == 0 {
					req, _ = http.NewRequest(http.MethodPost, "http://"+w.addr+"/", strings.NewReader(strings.Repeat("x", i*3000)))
				}
				resp, err := c.Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 {
						err = errors.New(resp.Status)
					}
				}
				if err != nil {
					failures <- err
					break
				}
				n++
			}
			counts <- n
		}()
	}
	addr := []string{"127.0.0.2", "127.0.0.3"}
	for i := range 50 {
		from := w.service().Requests
		eventually(t, "requests between switches", func() bool { return w.service().Requests > from+50 })
		w.put(func(s *gatewayapi.DesiredState) {
			targets(addr...)(s)
			s.Services[0].Targets[i%2].State = gatewayapi.TargetDraining
		})
	}
	cancel()
	total := 0
	for range clients {
		total += <-counts
	}
	select {
	case err := <-failures:
		t.Errorf("a request failed: %v", err)
	default:
	}
	if s := w.service(); s.Errors != 0 || total < 2500 || w.target("127.0.0.2").Requests == 0 || w.target("127.0.0.3").Requests == 0 {
		t.Errorf("%d requests, %+v", total, s)
	}
}
