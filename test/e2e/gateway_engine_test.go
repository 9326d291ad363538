// SPDX-License-Identifier: Apache-2.0

//go:build e2e && soak

package e2e

import (
	"context"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// crowded is hello among others, so that an engine that starts all of them at once gives
// out the addresses in another order. An engine that was killed stops what runs
// when it starts, and takes "unless-stopped" for stopped then.
const crowded = `x-service: &service
  build: .
  restart: always
  labels: &labels {fairlead.dev/test: e2e}
  healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 8s}
services:
  web:
    <<: *service
    ports: ["127.0.0.1:${HELLO_PORT}:8080"]
  one: *service
  two: *service
  three: *service
networks:
  default: {labels: *labels}
`

// address of the only container of a service in the application's network.
func (s *site) address(service string) string {
	s.t.Helper()
	full, err := harness.Engine(s.t).ContainerInspect(context.Background(), s.containers()[service][0].ID)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, n := range full.NetworkSettings.Networks {
		return n.IPAddress
	}
	return ""
}

// The engine is restarted, in order and by force, and gives containers other addresses.
// The gateways find them again with no daemon to tell them, and the next update loses
// nothing; one in the middle of which the engine is restarted goes on.
func TestSoakEngineRestart(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	e := newEngine(t)
	s := siteOf(t, harness.Start(t, harness.Options{}), apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn)
	s.succeeds(s.publish("Among others", map[string]string{"docker-compose.yml": crowded}))
	s.wantVersion("1")
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		ps, _, _ := harness.Run(context.Background(), nil, "", "docker", "ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.Status}} {{.Ports}}")
		t.Logf("containers:\n%s\nthe gateways:\n%s\ndockerd says last:\n%s", ps, s.seenByGateways(), e.log())
		for _, c := range s.gateways() {
			out, errOut, _ := harness.Run(context.Background(), nil, "", "docker", "logs", "--tail", "20", c.ID)
			t.Logf("%v:\n%s%s", c.Names, out, errOut)
		}
	})
	s.Stop()
	at, moved := s.address("web"), false
	restarts := []func(){e.stop, e.kill}
	for i := 0; i < len(restarts) || !moved && i < 8; i++ {
		restarts[i%len(restarts)]()
		e.start()
		s.waitAnswer()
		l := s.load("/version")
		s.waitLoad(l, func(r harness.LoadResult) bool { return r.Sent >= 50 })
		wantLossless(t, l, "1")
		now := s.address("web")
		t.Logf("web was at %s and is at %s", at, now)
		moved = moved || now != at
		at = now
	}
	if !moved {
		t.Error("the address of web never changed: nothing was found again")
	}
	s.Restart()
	l := s.load("/version")
	s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	wantLossless(t, l, "1", "2")
	s.wantBehind("web", "one")

	r := s.Update(s.name, s.publish("Three", slowly("3", "2s")))
	s.WaitRequest(r.Name, "a new container that starts", func(r *v1alpha1.UpdateRequest) bool {
		for _, u := range r.Status.Services {
			if u.Health == "starting" {
				return true
			}
		}
		return false
	})
	e.kill()
	e.start()
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	s.wantVersion("3")
	s.wantOneOfEach()
	s.wantBehind("web", "one")
}
