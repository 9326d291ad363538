// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

const ordinary = `
services:
  db: {image: postgres:15, expose: ["5432"], volumes: [data:/data]}
  web:
    image: a
    container_name: shop-web
    ports: ["127.0.0.1:8080:80", "81", "53:53/udp"]
    networks: {default: {aliases: [www]}, back: {}}
    depends_on: [db]
  worker: {image: a}
  left: {image: a, expose: ["1"], x-fairlead: {gateway: Off}}
  host: {image: a, network_mode: host, expose: ["1"]}
  side: {image: a, network_mode: "service:web"}
  once: {image: a, expose: ["1"]}
  last: {image: a, expose: ["1"], depends_on: {once: {condition: service_completed_successfully}}}
networks: {back: }
volumes: {data: }
`

func wantedOf(p *compose.Project) []wanted {
	var out []wanted
	for _, svc := range p.Services() {
		out = append(out, wanted{Service: svc, image: docker.Image{ID: "sha256:1", Content: "c"}})
	}
	return out
}

func TestWhatIsBehindTheGateway(t *testing.T) {
	p := project(t, ordinary)
	for _, tt := range []struct {
		mode v1alpha1.GatewayMode
		own  []v1alpha1.ServiceRollout
		want []string
	}{
		{"", nil, nil},
		{v1alpha1.GatewayOff, []v1alpha1.ServiceRollout{{Name: "web", Gateway: v1alpha1.GatewayAuto}}, nil},
		{v1alpha1.GatewayAuto, nil, []string{"db", "last", "web"}},
		{v1alpha1.GatewayAuto, []v1alpha1.ServiceRollout{{Name: "db", Gateway: v1alpha1.GatewayOff}}, []string{"last", "web"}},
	} {
		s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
			a.Spec.Gateway.Mode, a.Spec.Rollout.Services = tt.mode, tt.own
		})
		s.Gateways = &boxes.Keeper{}
		want := wantedOf(p)
		if err := s.putBehind(t.Context(), want, nil, nil); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range want {
			if d.gateway {
				got = append(got, d.Name)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("mode %q, %v: behind are %v, want %v", tt.mode, tt.own, got, tt.want)
		}
	}
}

// What the gateway does for a service is a reason for other containers, and no
// reason to stop first.
func TestBehindIsAnotherRevision(t *testing.T) {
	p := project(t, ordinary)
	all := wantedOf(p)
	i := slices.IndexFunc(all, func(d wanted) bool { return d.Name == "web" })
	direct := all[i]
	all[i].gateway = true
	if direct.revision() == all[i].revision() {
		t.Error("a container behind the gateway has the revision of one that is not")
	}
	if why := exclusive(all[i], all); len(why) > 0 {
		t.Errorf("web is exclusive behind the gateway: %v", why)
	}
	if why := exclusive(direct, all); len(why) == 0 {
		t.Error("web is not exclusive with its own port")
	}
	own := []docker.Container{{Service: "web", State: docker.StateRunning, PortBindings: []docker.Port{{HostIP: "127.0.0.1", HostPort: 8080, Protocol: "tcp"}}}}
	if got := handover(all[i], own); got != "127.0.0.1:8080" {
		t.Errorf("taken over are %q", got)
	}
	behind := []docker.Container{{Service: "web", State: docker.StateRunning, Labels: map[string]string{v1alpha1.LabelGateway: v1alpha1.GatewayBehind}}}
	if got := handover(all[i], behind); got != "" {
		t.Errorf("%q change hands between gateway and gateway", got)
	}
	if got := handover(direct, behind); got != "127.0.0.1:8080, 53" {
		t.Errorf("given back are %q", got)
	}
}

func TestPortsAndNames(t *testing.T) {
	p := project(t, ordinary)
	web, _ := p.Service("web")
	ports := declaredPorts(web, docker.Image{Exposed: []string{"80/tcp", "9000-9001/tcp", "5000/sctp"}})
	if got := fmt.Sprint(ports); got != "[{53 true } {80 false } {81 false } {9000 false } {9001 false }]" {
		t.Errorf("ports %s", got)
	}
	if got := fmt.Sprint(names(web)); got != "map[shop_back:[shop-web web] shop_default:[shop-web web www]]" {
		t.Errorf("names %s", got)
	}
	one, err := layoutService(web, ports, nil)
	if err != nil || len(one.Publish) != 3 || one.Publish[0].Address() != "127.0.0.1:8080" || one.Publish[1].From != layout.AnyPort || one.Publish[2].Address() != "53/udp" {
		t.Errorf("published %+v, %v", one.Publish, err)
	}
	made := layout.Plan(layout.Input{Project: "shop", Services: []layout.Service{one}})
	var have []boxes.Box
	for _, b := range made {
		have = append(have, boxes.Box{Box: b, Running: true})
	}
	if why := missingGateway(web, have); why != "" {
		t.Errorf("all run, and %s", why)
	}
	have[1].Running = false
	if why := missingGateway(web, have); why != "the gateway that publishes its port 127.0.0.1:8080 does not run" {
		t.Errorf("the front does not run, and %q", why)
	}
	have[1].Running, have[1].Publish = true, slices.DeleteFunc(slices.Clone(have[1].Publish), func(p layout.Publish) bool { return p.Target == 81 })
	if why := missingGateway(web, have); why != "the gateway that publishes its port 81 does not run" {
		t.Errorf("the front lacks the port 81, and %q", why)
	}
	if why := missingGateway(web, nil); why != "the gateway that answers to its name does not run" {
		t.Errorf("none runs, and %q", why)
	}
}

// A port that goes away takes the gateway with it that has others, too.
func TestGatewaysMadeAnew(t *testing.T) {
	const both = `
services:
  web: {image: a, ports: ["127.0.0.1:8080:80"]}
  api: {image: a, ports: ["127.0.0.1:8081:81", "127.0.0.1:8082:82"]}
`
	behind := func(text string) []wanted {
		want := wantedOf(project(t, text))
		for i := range want {
			want[i].gateway = true
		}
		return want
	}
	var in layout.Input
	in.Project = "shop"
	for _, d := range behind(both) {
		one, err := layoutService(d.Service, declaredPorts(d.Service, d.image), nil)
		if err != nil {
			t.Fatal(err)
		}
		in.Services = append(in.Services, one)
	}
	var have []boxes.Box
	for _, b := range layout.Plan(in) {
		have = append(have, boxes.Box{Box: b})
	}
	ports := func(ports string) string {
		return "a new gateway takes over " + ports + ": until what is open there has ended, for at most 1s, and the new one, which is ready before, listens"
	}
	for text, want := range map[string]string{
		both: "map[]",
		strings.Replace(both, `, "127.0.0.1:8082:82"`, "", 1): "map[api:" + ports("127.0.0.1:8081") + " web:" + ports("127.0.0.1:8080") + "]",
		strings.Replace(both, `8080:80"`, `8083:80"`, 1):      "map[api:" + ports("127.0.0.1:8081 and 127.0.0.1:8082") + "]",
		strings.Replace(both, `81:81"`, `81:82"`, 1): "map[api:" + ports("127.0.0.1:8081 and 127.0.0.1:8082") +
			" web:" + ports("127.0.0.1:8080") + "]",
	} {
		got, err := anew(behind(text), nil, "shop", have)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("got %v, %v; want %s", got, err, want)
		}
	}
}

// Addresses are found out by the gateway: that they changed is no reason to tell it
// anything.
func TestSameState(t *testing.T) {
	state := func(revision int64, id, address string) *gatewayapi.DesiredState {
		return &gatewayapi.DesiredState{Revision: revision, Services: []gatewayapi.Service{{
			Name: "web", Targets: []gatewayapi.Target{{ID: id, Addresses: []string{address}}},
		}}}
	}
	if !sameState(state(1, "a", "10.0.0.1"), state(2, "a", "10.0.0.2")) {
		t.Error("another address is another state")
	}
	if sameState(state(1, "a", "10.0.0.1"), state(1, "b", "10.0.0.1")) {
		t.Error("another container is the same state")
	}
}

func TestGatewayNote(t *testing.T) {
	auto, off := v1alpha1.GatewayAuto, v1alpha1.GatewayOff
	network := []compose.ServiceNetwork{{Key: "default", Name: "p_default"}}
	web := compose.Service{Replicas: 1, Networks: network, Ports: []compose.Port{{Published: "80", Target: 80, Protocol: "tcp"}}}
	have := []boxes.Box{{Box: layout.Box{Front: true, Publish: []layout.Publish{
		{HostIP: "127.0.0.1", HostPort: 30001, From: layout.AnyPort, Service: "web", Target: 82},
	}}}}
	with := func(change func(*compose.Service)) compose.Service {
		svc := web
		change(&svc)
		return svc
	}
	for name, c := range map[string]struct {
		svc    compose.Service
		behind bool
		mode   v1alpha1.GatewayMode
		want   string
	}{
		"behind":        {web, true, auto, ""},
		"one-shot":      {with(func(s *compose.Service) { s.OneShot = true }), false, auto, "runs to its end once"},
		"no replicas":   {with(func(s *compose.Service) { s.Replicas = 0 }), false, auto, "has no replicas"},
		"host":          {with(func(s *compose.Service) { s.NetworkMode, s.Networks = "host", nil }), false, auto, "uses the host's network"},
		"shared":        {with(func(s *compose.Service) { s.NetworkMode, s.Networks = "service:vpn", nil }), false, auto, "lives in the network of vpn"},
		"none":          {with(func(s *compose.Service) { s.NetworkMode, s.Networks = "none", nil }), false, auto, "has no network"},
		"SCTP":          {with(func(s *compose.Service) { s.Ports = []compose.Port{{Published: "80", Protocol: "sctp"}} }), false, auto, "neither of TCP nor of UDP"},
		"left out":      {web, false, off, "left out by a setting"},
		"listens where": {with(func(s *compose.Service) { s.Ports = nil }), false, auto, "nothing is known to listen"},
		"a range": {with(func(s *compose.Service) {
			s.Ports = []compose.Port{{Published: "8000-8010", Target: 80, Protocol: "tcp"}}
		}), true, auto, "the gateway publishes the port 80 as a port of the host out of 8000-8010, and keeps to that"},
		"any port": {with(func(s *compose.Service) { s.Ports = []compose.Port{{Target: 81, Protocol: "tcp"}} }), true, auto, "the port 81 as a port of the host out of 30000-32767"},
		"a chosen port": {with(func(s *compose.Service) { s.Ports = []compose.Port{{Target: 82, HostIP: "127.0.0.1", Protocol: "tcp"}} }), true, auto,
			"the gateway publishes the port 82 as 127.0.0.1:30001 of the host, and keeps to that"},
		"an address": {with(func(s *compose.Service) {
			s.Networks = []compose.ServiceNetwork{{Key: "back", Name: "p_back", IPv4Address: "172.28.0.9"}}
		}), true, auto, "the address 172.28.0.9 in back stays with the container, which may listen on it"},
	} {
		c.svc.Name = "web"
		if got := gatewayNote(c.svc, c.behind, c.mode, have); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
