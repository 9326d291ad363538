// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// twoChecked is two containers that each answer with their own name, and are unhealthy while they have a file.
var twoChecked = map[string]string{
	"docker-compose.yml": `services:
  web:
    image: fairlead-test/nginx:1.22
    restart: unless-stopped
    labels: &labels {fairlead.dev/test: hello}
    ports: ["127.0.0.1:${HELLO_PORT}:80"]
    volumes: ["./site:/etc/nginx/conf.d:ro"]
    deploy: {replicas: 2}
    healthcheck: {test: ["CMD-SHELL", "! test -e /tmp/sick"], interval: 1s, retries: 2}
networks:
  default: {labels: *labels}
`,
	"site/default.conf": `server { listen 80; location / { return 200 "$hostname\n"; } }`,
}

// A container whose healthcheck fails gets nothing, though it answers, and comes back with its health. If all fail, all
// are asked: a healthcheck that is wrong takes nothing down.
func TestGatewayHeedsHealthchecks(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s}\n")
	s.succeeds(s.publish("Two", twoChecked))
	cs := s.containers()["web"]
	if len(cs) != 2 {
		t.Fatalf("there are %d containers", len(cs))
	}
	name := func(c harness.Container) string { return c.ID[:12] + "\n" }
	// answers waits until only those answer, and checks that no request failed meanwhile.
	answers := func(what string, want ...harness.Container) {
		t.Helper()
		for begun := time.Now(); ; {
			l := s.load("/")
			s.waitLoad(l, func(r harness.LoadResult) bool { return r.Sent >= 20 })
			r := l.End()
			if r.Failed > 0 {
				t.Errorf("%s: %d requests failed: %v", what, r.Failed, r.Errors)
			}
			n := 0
			for _, c := range want {
				n += r.Bodies[name(c)]
			}
			if n == r.Sent && len(r.Bodies) == len(want) {
				return
			}
			if time.Since(begun) > harness.Patience {
				t.Fatalf("%s the answers were %v\n%s", what, r.Bodies, s.seenByGateways())
			}
		}
	}
	answers("in the beginning", cs...)
	s.exec(cs[0].ID, "touch", "/tmp/sick")
	answers("with one that is unhealthy", cs[1])
	s.exec(cs[1].ID, "touch", "/tmp/sick")
	answers("with two that are unhealthy", cs...)
	s.exec(cs[0].ID, "rm", "/tmp/sick")
	answers("with one that recovered", cs[0])
	s.exec(cs[1].ID, "rm", "/tmp/sick")
	answers("when both recovered", cs...)
}
