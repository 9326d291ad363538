// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// An application that publishes its port itself comes behind a gateway, with one gap, gets another port there, with
// none, and leaves it again.
func TestGatewayTakeover(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "")
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn)
	r := s.succeeds("")
	s.wantVersion("1")
	s.wantBehind("web")
	s.wantProbed(r)
	if got := r.Status.Plan.Services[0].Interruption; !strings.Contains(got, "once, as the gateway takes over 127.0.0.1:") {
		t.Errorf("the plan says of the interruption: %q", got)
	}
	// Nobody has the port while a gateway is made.
	if ready, stopped, ok := strings.Cut(s.Log(r), "gives its ports of the host to the gateway"); !ok || !strings.Contains(ready, "gateway-front-1: runs, and waits for the ports of ") {
		t.Errorf("the gateway was not ready before its ports were free:\n%s%s", ready, stopped)
	}
	port, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ipv6 := fmt.Sprintf("[::1]:%d", port)
	two := s.publishing(`"` + ipv6 + `:8080"`)
	two["version.txt"] = "2\n"
	two["docker-compose.yml"] = strings.Replace(two["docker-compose.yml"], "services:\n", mate, 1)
	l := s.load("/version")
	r = s.succeeds(s.publish("Two", two))
	wantLossless(t, l, "1", "2")
	s.wantProbed(r)
	mates := s.containers()["mate"]
	s.finds(mates[0], "web")
	s.answers("2", ipv6)
	s.apply("  gateway: {mode: \"Off\"}\n")
	r = s.succeeds("")
	s.wantVersion("2")
	s.answers("2", ipv6)
	s.wantProbed(r)
	if got := planOf(r, "web").Interruption; !strings.Contains(got, "gives back") || !strings.Contains(got, ipv6) {
		t.Errorf("the plan says of the interruption: %q", got)
	}
	if left := s.gateways(); len(left) > 0 {
		t.Errorf("%d gateways are left", len(left))
	}
	if cs := s.containers()["web"]; len(cs) != 1 {
		t.Errorf("web has %v", identities(cs))
	}
	if now := s.containers()["mate"]; len(now) != 1 || now[0].ID == mates[0].ID {
		t.Errorf("what found the service at the gateway is %v, and was %v", identities(now), identities(mates))
	} else {
		s.finds(now[0], "web")
	}
}

// mate is a service, at the beginning of a Compose file, that listens nowhere and finds others at the gateway.
const mate = "services:\n  mate:\n    image: fairlead-test/redis:7\n    labels: *labels\n    entrypoint: [sleep, infinity]\n    init: true\n    x-fairlead: {gateway: \"Off\"}\n"

// wantProbed checks that the published ports were asked from outside.
func (s *site) wantProbed(r *v1alpha1.UpdateRequest) {
	s.t.Helper()
	if d := r.Status.Downtime; d == nil || d.Probes == 0 {
		s.t.Errorf("nothing was seen from outside: %+v", d)
	} else {
		s.t.Logf("seen from outside: %+v", *d)
	}
}

// answers checks what an address of the host answers.
func (s *site) answers(want, address string) {
	s.t.Helper()
	if got, err := harness.Get(s.t.Context(), "http://"+address+"/version"); err != nil || got != want {
		s.t.Errorf("%s answers %q, %v", address, got, err)
	}
}

// publishing is the Compose file of apps.Hello with further ports.
func (s *site) publishing(ports ...string) map[string]string {
	s.t.Helper()
	const mark = "    ports:\n"
	data, err := os.ReadFile(filepath.Join(s.repo.Dir, "docker-compose.yml"))
	if err != nil {
		s.t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), mark)
	if !ok {
		s.t.Fatalf("the Compose file publishes nothing:\n%s", data)
	}
	for _, port := range ports {
		rest = "      - " + port + "\n" + rest
	}
	return map[string]string{"docker-compose.yml": head + mark + rest}
}

// takenAndFree are two ports in a row: something listens on the first one, but no container.
func takenAndFree(t *testing.T) (low int, release func()) {
	t.Helper()
	for range 50 {
		var lc net.ListenConfig
		taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		low = taken.Addr().(*net.TCPAddr).Port
		if next, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(low+1)); err == nil && next.Close() == nil {
			return low, func() { _ = taken.Close() }
		}
		_ = taken.Close()
	}
	t.Fatal("no two ports in a row")
	return 0, nil
}

// otherPorts of the host that a gateway publishes, but for one.
func (s *site) otherPorts(but int) (ports []int) {
	for _, c := range s.gateways() {
		for _, p := range c.Ports {
			if int(p.PublicPort) != but && p.PublicPort != 0 {
				ports = append(ports, int(p.PublicPort))
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// planOf is what the plan of a request says of a service.
func planOf(r *v1alpha1.UpdateRequest, service string) v1alpha1.ServicePlan {
	i := slices.IndexFunc(r.Status.Plan.Services, func(p v1alpha1.ServicePlan) bool { return p.Name == service })
	if i < 0 {
		return v1alpha1.ServicePlan{}
	}
	return r.Status.Plan.Services[i]
}

// A port that is not published any more is free; the front of the others gives way to one that is ready before. Ports
// that were left open stay as they were chosen.
func TestGatewayPortRemoved(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	more, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	low, release := takenAndFree(t)
	defer release()
	open := []string{fmt.Sprintf("127.0.0.1:%d-%d:8080", low, low+1), `"127.0.0.1::8080"`}
	one, two := s.publishing(open...), s.publishing(append(open, fmt.Sprintf("127.0.0.1:%d:8080", more))...)
	// A service that leaves the gateway takes its name along, and the inner gateway has to be another one.
	// What finds it there, and listens nowhere itself, has to look elsewhere from then on.
	side := mate + "  side:\n    image: fairlead-test/redis:7\n    labels: *labels\n"
	two["docker-compose.yml"] = strings.Replace(two["docker-compose.yml"], "services:\n", side, 1)
	one["docker-compose.yml"] = strings.Replace(one["docker-compose.yml"], "services:\n", side+"    x-fairlead: {gateway: \"Off\"}\n", 1)
	s.apply(gatewayOn)
	s.succeeds(s.publish("Two ports", two))
	s.wantBehind("web", "side")
	mates := s.containers()["mate"]
	s.finds(mates[0], "web", "side")
	further := "http://127.0.0.1:" + strconv.Itoa(more) + "/version"
	if _, err := harness.Get(t.Context(), further); err != nil {
		t.Errorf("the further port: %v", err)
	}
	own, _ := strconv.Atoi(strings.TrimPrefix(s.repo.URL(""), "http://127.0.0.1:"))
	chosen := slices.DeleteFunc(s.otherPorts(own), func(port int) bool { return port == more })
	if len(chosen) != 2 || !slices.Contains(chosen, low+1) {
		t.Fatalf("chosen are %v, with %d taken", chosen, low)
	}
	for _, c := range s.containers()["web"] {
		full, err := harness.Engine(t).ContainerInspect(t.Context(), c.ID)
		if err != nil || len(full.HostConfig.PortBindings) > 0 {
			t.Errorf("web publishes ports itself: %+v, %v", full.HostConfig, err)
		}
	}
	before := map[string]bool{}
	for _, c := range s.gateways() {
		before[c.ID] = true
	}
	l := s.load("/version")
	r := s.succeeds(s.publish("One port", one))
	got := l.End()
	t.Logf("%d of %d requests failed, longest gap %s; %+v", got.Failed, got.Sent, got.Longest, r.Status.Downtime)
	s.wantVersion("1")
	if now := s.containers()["mate"]; len(now) != 1 || now[0].ID == mates[0].ID {
		t.Errorf("what found the service at the gateway is %v, and was %v", identities(now), identities(mates))
	} else {
		s.finds(now[0], "web", "side")
	}
	if reason := planOf(r, "mate").Reason; !strings.Contains(reason, "looks for side at a gateway") {
		t.Errorf("it is replaced as it %q", reason)
	}
	if plan := planOf(r, "web").Interruption; !strings.Contains(plan, "a new gateway takes over ") || !strings.Contains(plan, strings.TrimPrefix(s.repo.URL(""), "http://")) {
		t.Errorf("the plan says of the interruption: %q", plan)
	}
	if !strings.Contains(s.Log(r), "has taken over the ports of") {
		t.Errorf("nothing was taken over:\n%s", s.Log(r))
	}
	free, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(more))
	if err != nil {
		t.Errorf("the port that is published no more: %v", err)
	} else if err := free.Close(); err != nil {
		t.Error(err)
	}
	gateways, anew := s.gateways(), 0
	for _, c := range gateways {
		if !before[c.ID] {
			anew++
		}
	}
	if !strings.Contains(s.Log(r), "gateway-2: answers to the names of") {
		t.Errorf("no inner gateway gave way:\n%s", s.Log(r))
	}
	if len(gateways) != 2 || anew != 2 {
		t.Errorf("there are %d gateways, of which %d are new", len(gateways), anew)
	}
	release()
	l = s.load("/version")
	r = s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	wantLossless(t, l, "1", "2")
	if now := s.otherPorts(own); !slices.Equal(now, chosen) {
		t.Errorf("chosen were %v, and are %v after a successor and an update", chosen, now)
	}
	for _, port := range chosen {
		address := "127.0.0.1:" + strconv.Itoa(port)
		s.answers("2", address)
		if note := planOf(r, "web").Gateway; !strings.Contains(note, address) {
			t.Errorf("%s is not in the plan: %q", address, note)
		}
	}
}
