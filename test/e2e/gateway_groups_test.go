// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// replicated is hello with n containers, which are replaced as an update_config says, with more of the service.
func replicated(n int, config, more string) map[string]string {
	return map[string]string{"docker-compose.yml": fmt.Sprintf(`x-labels: &labels {fairlead.dev/test: e2e}
services:
  web:
    build: .
    restart: unless-stopped
    labels: *labels
    ports: ["127.0.0.1:${HELLO_PORT}:8080"]
    healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s}
    deploy: {replicas: %d, update_config: {%s}}
%s
networks:
  default: {labels: *labels}
`, n, config, more)}
}

// Containers are replaced in groups, as update_config says, and an update that fails is left as it is, without
// a request being lost; another one goes on from there.
func TestGatewayGroups(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn)
	s.succeeds(s.publish("Three of them", replicated(3, "parallelism: 1, monitor: 1s, order: start-first, failure_action: pause",
		"    x-fairlead: {balance: RoundRobin, probe: {path: /version, interval: 500ms}}")))
	l := s.load("/version")
	r := s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	if got := r.Status.Plan.Services[0].Replacement; got != "1 of 3 containers at once, each group watched for 1s; if it fails, everything is left as it is" {
		t.Errorf("the plan says %q", got)
	}
	log := s.Log(r)
	for _, want := range []string{"1 of 3 are replaced", "2 of 3 are replaced"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	r = s.ends(s.publish("Bad", map[string]string{"version.txt": "3\n", "behaviour.json": apps.Behaviour{Unhealthy: true}.JSON()}), v1alpha1.PhaseFailed)
	if f := r.Status.Failure; f == nil || !f.Paused || r.Status.Rollback != nil {
		t.Errorf("it ended with %+v, %+v", f, r.Status.Rollback)
	}
	if !strings.Contains(r.Status.Message, "everything is left as it is") {
		t.Errorf("the message is %q", r.Status.Message)
	}
	s.wantVersion("2")
	s.succeeds(s.publish("Good again", map[string]string{"version.txt": "4\n", "behaviour.json": "{}"}))
	wantLossless(t, l, "1", "2", "4")
	if cs := s.containers()["web"]; len(cs) != 3 {
		t.Errorf("web has %v", identities(cs))
	}
	s.wantVersion("4")
}
