// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// networked is apps.Trio, whose alpha is in two networks and beta and gamma look from one of them each; a service with an
// address of its own, and one in the network of the host.
const networked = `x-service: &service
  restart: unless-stopped
  labels: &labels {fairlead.dev/test: e2e}
  healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s}
services:
  alpha:
    <<: *service
    build: {context: ., args: {SERVICE: alpha}}
    ports: ["127.0.0.1:ALPHA:8080"]
    networks: {front: {aliases: [www, shop.example.com]}, back: {aliases: [api]}}
  fixed:
    <<: *service
    build: {context: ., args: {SERVICE: fixed}}
    ports: ["127.0.0.1:FIXED:8080"]
    networks: {back: {ipv4_address: SUBNET.100}}
  onhost:
    <<: *service
    build: {context: ., args: {SERVICE: onhost}}
    network_mode: host
    environment: {PORT: "ONHOST"}
  beta:
    <<: *service
    build: {context: ., args: {SERVICE: beta}}
    ports: ["127.0.0.1:BETA:8080"]
    networks: [front]
    x-fairlead: {gateway: "Off"}
  gamma:
    <<: *service
    build: {context: ., args: {SERVICE: gamma}}
    ports: ["127.0.0.1:GAMMA:8080"]
    networks: [back]
    x-fairlead: {gateway: "Off"}
networks:
  front: {labels: *labels}
  back:
    labels: *labels
    ipam: {config: [{subnet: SUBNET.0/24}]}
`

// A service in two networks is found in both under its names and aliases, and under no other network's, before an update and
// after one, and from both no request is lost. Beside it, one with a static address keeps that, and one in the network of
// the host is left alone; both are stopped first, as the plan says.
func TestGatewayNetworks(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Trio)
	t.Cleanup(func() { s.removeGateways() })
	// Of the addresses for benchmarks, which are nobody's.
	subnet := fmt.Sprintf("198.%d.%d", 18+rand.IntN(2), rand.IntN(256))
	ports := map[string]int{}
	words := []string{"SUBNET", subnet}
	for _, name := range []string{"ALPHA", "BETA", "GAMMA", "FIXED", "ONHOST"} {
		port, err := apps.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ports[name] = port
		words = append(words, name, fmt.Sprint(port))
	}
	files := version("1", "fixed", "onhost")
	behave(behave(files, "fixed", apps.Behaviour{}), "onhost", apps.Behaviour{})
	files["docker-compose.yml"] = strings.NewReplacer(words...).Replace(networked)
	s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s}\n")
	s.succeeds(s.publish("Networks", files))
	s.wantBehind("alpha", "fixed")

	at := func(name string) string { return fmt.Sprintf("http://127.0.0.1:%d/version", ports[name]) }
	from := func(client, host string) string {
		return fmt.Sprintf("http://127.0.0.1:%d/ask?url=%s", ports[client], url.QueryEscape("http://"+host+":8080/version"))
	}
	found := map[string]string{}
	for client, hosts := range map[string][]string{"BETA": {"alpha", "www", "shop.example.com"}, "GAMMA": {"alpha", "api", "fixed"}} {
		for _, host := range hosts {
			found[strings.ToLower(client)+" asks "+host] = from(client, host)
		}
	}
	found["port of alpha"], found["port of fixed"] = at("ALPHA"), at("FIXED")
	address := "http://" + subnet + ".100:8080/version"
	wantAll := func(v string) {
		t.Helper()
		for what, target := range found {
			if got, err := harness.Get(t.Context(), target); err != nil || got != v {
				t.Errorf("%s: %q, %v", what, got, err)
			}
		}
		for _, target := range []string{address, at("ONHOST")} {
			if got, err := harness.Get(t.Context(), target); err != nil || got != v {
				t.Errorf("%s: %q, %v", target, got, err)
			}
		}
		for _, c := range [][2]string{{"BETA", "api"}, {"BETA", "fixed"}, {"GAMMA", "www"}, {"GAMMA", "shop.example.com"}} {
			if got, err := harness.Get(t.Context(), from(c[0], c[1])); err == nil || !strings.Contains(err.Error(), "502") {
				t.Errorf("%s finds %s in a network that it is not in: %q, %v", c[0], c[1], got, err)
			}
		}
	}
	wantAll("1")
	before := s.containers()
	loads := map[string]*harness.Load{}
	for what, target := range found {
		loads[what] = harness.StartLoad(target, 2, 100*time.Millisecond)
	}
	byAddress := harness.StartLoad(address, 2, 100*time.Millisecond)
	r := s.succeeds(s.publish("Two", version("2", "alpha", "fixed", "onhost")))
	for what, l := range loads {
		t.Log(what)
		wantLossless(t, l, "1", "2")
	}
	// Who goes by the address has nobody for a moment, as the plan says, and goes on then.
	s.waitLoad(byAddress, func(r harness.LoadResult) bool { return r.Bodies["2\n"] > 0 })
	if got := byAddress.End(); got.Failed == 0 {
		t.Errorf("by the address all of %d requests were answered: nothing was stopped first, or it is behind the gateway too", got.Sent)
	}
	wantAll("2")
	s.wantReplaced(before, "alpha", "fixed", "onhost")
	s.wantUntouched(before, "beta", "gamma")
	s.wantBehind("alpha", "fixed")
	for _, c := range []struct {
		service      string
		order        v1alpha1.RolloutOrder
		why, gateway string
	}{
		{"alpha", v1alpha1.OrderStartFirst, "two copies can run side by side", ""},
		{"fixed", v1alpha1.OrderStopFirst, "has a static address in the network back", "the address " + subnet + ".100 in back stays with the container"},
		{"onhost", v1alpha1.OrderStopFirst, "uses the host's network", "not behind the gateway: uses the host's network, and is left as it is"},
	} {
		p := planOf(r, c.service)
		if p.Order != c.order || !strings.Contains(p.OrderReason, c.why) || !strings.Contains(p.Gateway, c.gateway) || c.gateway == "" && p.Gateway != "" {
			t.Errorf("the plan says of %s: %s (%s), %q, %q", c.service, p.Order, p.OrderReason, p.Gateway, p.Interruption)
		}
	}
	full, err := harness.Engine(t).ContainerInspect(t.Context(), s.containers()["fixed"][0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if n := full.NetworkSettings.Networks[s.repo.Project+"_back"]; n == nil || n.IPAddress != subnet+".100" {
		t.Errorf("fixed is in %+v", full.NetworkSettings.Networks)
	}
}
