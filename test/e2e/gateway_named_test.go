// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// named is hello with a name of its own, and a service for whose only container requests wait.
const named = `x-service: &service
  build: .
  restart: unless-stopped
  labels: &labels {fairlead.dev/test: e2e}
  healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s}
services:
  web: {<<: *service, container_name: NAME, ports: ["127.0.0.1:${HELLO_PORT}:8080"]}
  single: {<<: *service, ports: ["127.0.0.1:SINGLE:8080"], x-fairlead: {order: StopFirst}}
networks:
  default: {labels: *labels}
`

// A container with a name of its own is replaced without a loss, its successor has the name, and an update that fails leaves
// it where it was. What the gateway saw of it all is with the daemon's metrics.
func TestGatewayNamedContainer(t *testing.T) {
	t.Parallel()
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = apps.FreePort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	metrics, single := fmt.Sprintf("127.0.0.1:%d", ports[0]), ports[1]
	s := siteOf(t, harness.Start(t, harness.Options{Args: []string{"--metrics-bind-address", metrics}}), apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	name := s.repo.Project + ".example"
	s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s}\n")
	s.succeeds(s.publish("Named", map[string]string{"docker-compose.yml": strings.NewReplacer("NAME", name, "SINGLE", strconv.Itoa(single)).Replace(named)}))
	s.wantBehind("web", "single")
	wantNamed := func(id string) container.InspectResponse {
		t.Helper()
		c, err := harness.Engine(t).ContainerInspect(t.Context(), name)
		if err != nil || id != "" && c.ID != id || c.Config.Labels["com.docker.compose.service"] != "web" || !c.State.Running {
			t.Fatalf("%s is %+v, %v", name, c.ContainerJSONBase, err)
		}
		// By this name others find the service too.
		if got, err := harness.Get(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/ask?url=http://%s:8080/", single, name)); err != nil || !strings.Contains(got, " on "+c.Config.Hostname) {
			t.Errorf("%s answers %q, %v; its container is %s", name, got, err, c.Config.Hostname)
		}
		return c
	}
	first := wantNamed("")

	before := s.containers()
	l, held := s.load("/version"), loadAt(single)
	r := s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	if got := planOf(r, "web"); got.Order != v1alpha1.OrderStartFirst || got.Interruption != "none" {
		t.Errorf("the plan says %s, %q", got.Order, got.Interruption)
	}
	s.wantReplaced(before, "web", "single")
	second := wantNamed("")
	if second.ID == first.ID {
		t.Errorf("%s is still %s", name, first.ID)
	}
	seen := scrape(t, metrics, s.repo.Project)
	for _, service := range []string{"web", "single"} {
		if n := seen("open_connections", service); n < 8 {
			t.Errorf("%s: %v clients are connected", service, n)
		}
		if n := seen("held", service); n != 0 {
			t.Errorf("%s: %v requests wait", service, n)
		}
	}
	s.ends(s.publish("Bad", map[string]string{"version.txt": "3\n", "behaviour.json": apps.Behaviour{Crash: true}.JSON()}), v1alpha1.PhaseRolledBack)
	wantNamed(second.ID)
	got := map[string]harness.LoadResult{"web": wantLossless(t, l, "1", "2"), "single": wantLossless(t, held, "1", "2")}

	seen = scrape(t, metrics, s.repo.Project)
	for service, load := range got {
		if n := seen("requests_total", service); n < float64(load.Sent) {
			t.Errorf("%s: %v requests, of %d that were sent", service, n, load.Sent)
		}
		if n := seen("request_duration_seconds", service); n < float64(load.Sent) {
			t.Errorf("%s: %v requests took their time, of %d that were sent", service, n, load.Sent)
		}
		for _, what := range []string{"errors_total", "held", "hold_refused_total"} {
			if n := seen(what, service); n != 0 {
				t.Errorf("%s: %s is %v", service, what, n)
			}
		}
	}
	if n := seen("held_total", "single"); n == 0 {
		t.Error("nothing waited for the service that is stopped first")
	}
	if n := seen("held_total", "web"); n != 0 {
		t.Errorf("%v requests waited for a service that is started first", n)
	}
}

// scrape is what the daemon's metrics say of the gateway that has the ports of a project: the value of fairlead_gateway_NAME for a service,
// of a histogram how much is in it.
func scrape(t *testing.T, metrics, project string) func(name, service string) float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(get(t, "http://"+metrics+"/metrics")))
	if err != nil {
		t.Fatal(err)
	}
	return func(name, service string) float64 {
		t.Helper()
		for _, m := range families["fairlead_gateway_"+name].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["gateway"] == project+".gateway-front-1" && labels["service"] == service {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		t.Errorf("no metric tells %s of %s", name, service)
		return 0
	}
}
