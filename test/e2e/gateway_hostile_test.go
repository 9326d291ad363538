// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
	"github.com/fairlead-dev/fairlead/test/hostile"
)

// besieged is hello, of which the gateway knows that it speaks HTTP, and a second service of which it has to find out.
const besieged = `x-service: &service
  build: .
  restart: unless-stopped
  labels: &labels {fairlead.dev/test: e2e}
  healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s}
services:
  web: {<<: *service, ports: ["127.0.0.1:${HELLO_PORT}:8080"], x-fairlead: {protocol: HTTP}}
  auto: {<<: *service, ports: ["127.0.0.1:AUTO:8080"]}
networks:
  default: {labels: *labels}
`

// slowClients begin a request and go on with a byte at a time.
const slowClients = 100

// What must not be passed on ends at the gateway, before an update, during it and after it, and what is hidden in it reaches no
// container of any service. Meanwhile those who behave lose nothing, though many others keep connections open and say next to nothing.
func TestGatewayHostileRequests(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	auto, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s}\n")
	s.succeeds(s.publish("Two services", map[string]string{"docker-compose.yml": strings.Replace(besieged, "AUTO", fmt.Sprint(auto), 1)}))
	s.wantBehind("web", "auto")
	addresses := []string{strings.TrimPrefix(s.repo.URL(""), "http://"), fmt.Sprintf("127.0.0.1:%d", auto)}

	siege := func() {
		t.Helper()
		var all sync.WaitGroup
		for _, address := range addresses {
			all.Go(func() {
				for name, data := range hostile.Requests() {
					if got, err := hostile.Send(t.Context(), address, data, 10*time.Second); err != nil || !hostile.Refused(got) {
						t.Errorf("%s: %.300q, %v", name, got, err)
					}
				}
			})
		}
		all.Wait()
	}
	reached := func(want string) {
		t.Helper()
		for _, address := range addresses {
			got, err := harness.Get(t.Context(), "http://"+address+"/missed?path="+url.QueryEscape(hostile.Path))
			if err != nil || got != want {
				t.Errorf("behind %s %s requests were seen that were hidden, want %s: %v", address, got, want, err)
			}
		}
	}
	l, other := s.load("/version"), loadAt(auto)
	slow := besiege(t, addresses[0])
	siege()
	reached("0")
	r := s.Update(s.name, s.publish("Two", map[string]string{"version.txt": "2\n"}))
	s.WaitStep(r.Name, v1alpha1.StepRollout)
	for ended := false; !ended; ended = requestwatch.Concluded(s.Request(r.Name)) {
		siege()
		reached("0")
	}
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	siege()
	reached("0")
	// What is not hidden is seen.
	for _, address := range addresses {
		if got, err := hostile.Send(t.Context(), address, hostile.Pipelined, 10*time.Second); err != nil || strings.Count(got, "HTTP/1.1 404 ") != 2 {
			t.Errorf("two good requests: %q, %v", got, err)
		}
	}
	reached("1")
	slow()
	wantLossless(t, l, "1", "2")
	wantLossless(t, other, "1", "2")
}

// besiege opens connections on each of which the head of a request comes byte by byte and without an end. The function that it returns waits
// until the gateway has ended all of them.
func besiege(t *testing.T, address string) (wait func()) {
	t.Helper()
	var all sync.WaitGroup
	begun := time.Now()
	for range slowClients {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		all.Go(func() {
			ended, patience := make(chan string, 1), time.After(time.Minute)
			go func() {
				buf := make([]byte, 200)
				n, _ := c.Read(buf)
				ended <- string(buf[:n])
			}()
			ticker := time.NewTicker(200 * time.Millisecond)
			defer ticker.Stop()
			said := "GET /version HTTP/1.1\r\nHost: a\r\nX: "
			for {
				select {
				case got := <-ended:
					// Nobody waits for a head for longer than half a minute.
					if took := time.Since(begun); got != "" && !strings.HasPrefix(got, "HTTP/1.1 408 ") || took > 40*time.Second {
						t.Errorf("a client that says next to nothing got %q after %s", got, took)
					}
					return
				case <-patience:
					t.Error("a client that says next to nothing is listened to for ever")
					return
				case <-ticker.C:
					_, _ = fmt.Fprint(c, said[:1]) // what is read last tells of the end
					if said = said[1:]; said == "" {
						said = "x"
					}
				}
			}
		})
	}
	return all.Wait
}
