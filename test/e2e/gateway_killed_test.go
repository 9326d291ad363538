// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/crash/engineproxy"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// helloBehindProxy is hello with a daemon of its own, which reaches the engine through the proxy.
func helloBehindProxy(t *testing.T) (*site, *engineproxy.Proxy) {
	t.Helper()
	sockets, err := os.MkdirTemp("", "fairlead-e2e-") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	proxy, err := engineproxy.Start("/var/run/docker.sock", filepath.Join(sockets, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	s := siteOf(t, harness.Start(t, harness.Options{Env: []string{"DOCKER_HOST=" + proxy.Host}}), apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	return s, proxy
}

// A daemon that is killed while a front is ready, and waits in no network for its ports, leaves them to those who have
// them. The next daemon goes on with that front, or clears it away when it is not to be.
func TestGatewayKilledWhileFrontWaits(t *testing.T) {
	t.Parallel()
	s, proxy := helloBehindProxy(t)
	more, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	further := fmt.Sprintf("127.0.0.1:%d", more)
	own := strings.TrimPrefix(s.repo.URL(""), "http://")
	const timing = "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s}\n"
	bad := "  verify: {attempts: 1, checks: [{name: nobody, tcp: {address: \"127.0.0.1:1\"}}]}\n"
	one := s.publishing()
	two := s.publishing(fmt.Sprintf("%s:8080", further))
	s.apply(timing)
	s.succeeds(s.publish("Two ports", two))

	for _, tt := range []struct {
		name, settings string
		files          map[string]string
		phase          v1alpha1.Phase
		gateways       int
		ports          []string
	}{
		{"takeover that is undone", gatewayOn + timing + bad, map[string]string{"version.txt": "2\n"}, v1alpha1.PhaseRolledBack, 0, []string{own, further}},
		{"takeover", gatewayOn + timing, map[string]string{"version.txt": "3\n"}, v1alpha1.PhaseSucceeded, 2, []string{own, further}},
		{"successor", gatewayOn + timing, one, v1alpha1.PhaseSucceeded, 2, []string{own}},
	} {
		ok := t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			s.apply(tt.settings)
			commit := s.publish(tt.name, tt.files)
			before, _ := harness.Get(t.Context(), s.repo.URL("/version"))
			waits := s.killWhereFrontWaits(proxy)
			r := s.Update(s.name, commit)
			select {
			case name := <-waits:
				t.Logf("killed while %s waits", name)
			case <-time.After(harness.Patience):
				t.Fatalf("no front waits:\n%s", s.Log(s.Request(r.Name)))
			}
			for _, address := range []string{own, further} {
				s.answers(before, address) // by those who had the ports
			}
			s.Kill9() // it is dead; its process is waited for
			s.Restart()
			r = s.WantEnd(r.Name, tt.phase)
			for _, address := range tt.ports {
				want, _ := harness.Get(t.Context(), s.repo.URL("/version"))
				s.answers(want, address)
			}
			left := s.gateways()
			if len(left) != tt.gateways {
				t.Errorf("%d gateways are left: %+v", len(left), left)
			}
			for _, g := range left {
				if g.State != "running" || len(g.NetworkSettings.Networks) == 0 {
					t.Errorf("%v is %s, in the networks %v", g.Names, g.State, g.NetworkSettings.Networks)
				}
			}
			s.wantOneOfEach()
			wantContains(t, "the summary", s.Log(r), "Fairlead was stopped meanwhile")
		})
		if !ok {
			t.FailNow() // what comes after it says nothing
		}
	}
}

// killWhereFrontWaits kills the daemon as soon as the engine has started a front in no network, before it is told so.
func (s *site) killWhereFrontWaits(proxy *engineproxy.Proxy) <-chan string {
	killed := make(chan string, 1)
	var once sync.Once
	proxy.OnAnswer(func(r *http.Request) {
		if r.Method != http.MethodPost || path.Base(r.URL.Path) != "start" {
			return
		}
		c, err := harness.Engine(s.t).ContainerInspect(s.t.Context(), path.Base(path.Dir(r.URL.Path)))
		if err != nil || !strings.Contains(c.Name, "gateway-front-") || len(c.NetworkSettings.Networks) > 0 {
			return
		}
		once.Do(func() {
			if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
				s.t.Errorf("kill the daemon: %v", err)
			}
			killed <- c.Name
		})
	})
	s.t.Cleanup(func() { proxy.OnAnswer(nil) })
	return killed
}

// A daemon that is killed when one gateway knows of a switch and another one does not loses no request. The next daemon finds that
// they do not agree, and brings the switch to its end.
func TestGatewayKilledBetweenGateways(t *testing.T) {
	t.Parallel()
	s := behindGateway(t, harness.Start(t, harness.Options{}), apps.Hello, "")
	inner, front := s.gatewayDir(false), s.gatewayDir(true)
	l := s.load("/version")
	r := s.Update(s.name, s.publish("Two", slowly("2", "1s")))
	s.waitLog(r.Name, "web: starting ")
	socket := filepath.Join(front, gatewayapi.SocketName)
	if err := os.Rename(socket, socket+".away"); err != nil { // it serves on, and cannot be told anything
		t.Fatal(err)
	}
	s.waitLog(r.Name, ": tell the gateway ")
	s.Kill9()
	if err := os.Rename(socket+".away", socket); err != nil {
		t.Fatal(err)
	}
	if a, b := s.served(inner), s.served(front); a == b {
		t.Errorf("both gateways send what is new to %s", a)
	}
	s.wantVersion("1")
	s.Restart()
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	wantLossless(t, l, "1", "2")
	if a, b := s.served(inner), s.served(front); a != b {
		t.Errorf("one gateway sends what is new to %s, the other one to %s", a, b)
	}
	s.wantOneOfEach()
	s.wantVersion("2")
}

// gatewayDir is the directory that the daemon shares with the gateway that has the names, or with the one that has the ports.
func (s *site) gatewayDir(front bool) string {
	s.t.Helper()
	for _, c := range s.gateways() {
		if strings.Contains(c.Names[0], "gateway-front-") != front {
			continue
		}
		for _, m := range c.Mounts {
			if m.Destination == "/run/fairlead-gateway" {
				return m.Source
			}
		}
	}
	s.t.Fatalf("there is no such gateway: %+v", s.gateways())
	return ""
}

// served are the containers that a gateway sends what is new to.
func (s *site) served(dir string) string {
	s.t.Helper()
	state, err := gatewayapi.NewClient(dir).Desired(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []string
	for _, svc := range state.Services {
		for _, target := range svc.Targets {
			if target.State == "" || target.State == gatewayapi.TargetActive {
				ids = append(ids, target.ID)
			}
		}
	}
	return strings.Join(ids, " ")
}
