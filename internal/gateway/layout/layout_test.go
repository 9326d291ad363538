// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

func svc(name string, ports ...int) Service {
	s := Service{Name: name, Networks: map[string][]string{"p_default": {name}}}
	for _, p := range ports {
		s.Ports = append(s.Ports, Port{Number: p})
	}
	return s
}

func (s Service) with(change func(*Service)) Service {
	change(&s)
	return s
}

func (s Service) on(hostPort, target int) Service {
	s.Publish = append(slices.Clone(s.Publish), Publish{HostIP: "127.0.0.1", HostPort: hostPort, Service: s.Name, Target: target})
	return s
}

// any asks for n ports of the host out of a range.
func (s Service) any(n int, from string, target int) Service {
	s.Publish = slices.Clone(s.Publish)
	for range n {
		s.Publish = append(s.Publish, Publish{From: from, Service: s.Name, Target: target})
	}
	return s
}

func describe(boxes []Box) string {
	var b strings.Builder
	for _, box := range boxes {
		fmt.Fprintf(&b, "%s:", box.Name)
		for _, n := range slices.Sorted(maps.Keys(box.Networks)) {
			fmt.Fprintf(&b, " %s%v", n, box.Networks[n])
		}
		for _, p := range box.Publish {
			fmt.Fprintf(&b, " %s->%d->%s:%d", p.Address(), p.Inside, p.Service, p.Target)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func renamed(boxes []Box, from, to string) []Box {
	out := slices.Clone(boxes)
	for i := range out {
		out[i].Name = strings.Replace(out[i].Name, from, to, 1)
	}
	return out
}

// TestNamesThatComposeGivesToNobody has a service that is called as a gateway might be.
func TestNamesThatComposeGivesToNobody(t *testing.T) {
	services := []Service{svc("gateway", 80).on(80, 80), svc("gateway-front", 80).on(81, 80)}
	for _, b := range Plan(Input{Project: "p", Services: services}) {
		for _, s := range services {
			if prefix := "p-" + s.Name + "-"; strings.HasPrefix(b.Name, prefix) {
				t.Errorf("%s is what a container of %s is called", b.Name, s.Name)
			}
		}
	}
}

func TestPlan(t *testing.T) {
	shop := []Service{svc("db", 5432), svc("front", 80).on(8080, 80), svc("web", 8080)}
	made := Plan(Input{Project: "p", Services: shop})
	clashing := []Service{svc("alpha", 8080), svc("beta", 8080), svc("gamma", 9090)}
	two := Plan(Input{Project: "p", Services: clashing})
	tests := []struct {
		name string
		in   Input
		want string
	}{
		{"one inner and one front", Input{Services: shop},
			"p.gateway-1: p_default[db front web]\np.gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n"},
		{"the same again", Input{Services: shop, Existing: made},
			"p.gateway-1: p_default[db front web]\np.gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n"},
		{"the same container port", Input{Services: clashing},
			"p.gateway-1: p_default[alpha gamma]\np.gateway-2: p_default[beta]\n"},
		{"the same container port in networks that do not meet", Input{Services: []Service{
			svc("alpha", 8080).with(func(s *Service) { s.Networks = map[string][]string{"p_a": {"alpha"}} }),
			svc("beta", 8080).with(func(s *Service) { s.Networks = map[string][]string{"p_b": {"beta"}} }),
		}}, "p.gateway-1: p_a[alpha] p_b[beta]\n"},
		{"a new service goes to a new container", Input{Services: append(slices.Clone(shop), svc("cache", 6379)), Existing: made},
			"p.gateway-1: p_default[db front web]\np.gateway-2: p_default[cache]\np.gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n"},
		{"a service that goes away keeps its name, others are not cut", Input{Services: shop[1:], Existing: made},
			"p.gateway-1: p_default[db front web]\np.gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n"},
		{"a name that another service has now", Input{Services: []Service{shop[1], svc("store", 5432).with(func(s *Service) {
			s.Networks = map[string][]string{"p_default": {"db", "store"}}
		})}, Existing: made},
			"p.gateway-2: p_default[db front p.gateway-1 store web]\np.gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n"},
		{"a name that is left to a container", Input{Services: shop[1:], Direct: map[string][]string{"p_default": {"db"}}, Existing: made},
			"p.gateway-2: p_default[front p.gateway-1 web]\np.gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n"},
		{"one more port", Input{Services: []Service{shop[0], shop[1].on(8443, 443), shop[2]}, Existing: made},
			"p.gateway-1: p_default[db front web]\np.gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n" +
				"p.gateway-front-2: p_default[] 127.0.0.1:8443->20002->front:443\n"},
		{"another port", Input{Services: []Service{shop[0], svc("front", 80).on(9000, 80), shop[2]}, Existing: made},
			"p.gateway-1: p_default[db front web]\np.gateway-front-2: p_default[] 127.0.0.1:9000->20001->front:80\n"},
		{"one port less, one more: a successor takes both", Input{Services: []Service{shop[0], svc("front", 80).on(8080, 80).on(9001, 80), shop[2]},
			Existing: Plan(Input{Project: "p", Services: []Service{shop[0], svc("front", 80).on(8080, 80).on(9000, 80), shop[2]}})},
			"p.gateway-1: p_default[db front web]\np.gateway-front-2: p_default[] 127.0.0.1:8080->20001->front:80 127.0.0.1:9001->20002->front:80\n"},
		{"a successor may be named as what is long gone", Input{Services: []Service{shop[0], shop[1], shop[2]},
			Existing: renamed(Plan(Input{Project: "p", Services: []Service{shop[0], svc("front", 80).on(8080, 80).on(9000, 80), shop[2]}}), "front-1", "front-2")},
			"p.gateway-1: p_default[db front web]\np.gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n"},
		{"nothing", Input{Existing: two}, ""},
		{"those of an earlier name stay", Input{Services: shop, Existing: renamed(made, "p.", "p-")},
			"p-gateway-1: p_default[db front web]\np-gateway-front-1: p_default[] 127.0.0.1:8080->20001->front:80\n"},
		{"a port that another service of the container has too by now", Input{Services: []Service{svc("alpha", 8080), svc("beta", 8080)},
			Existing: Plan(Input{Project: "p", Services: []Service{svc("alpha", 8080), svc("beta", 3000)}})},
			"p.gateway-2: p_default[alpha p.gateway-1]\np.gateway-3: p_default[beta]\n"},
		{"a successor gets one, and answers to the names of all before it", Input{Services: []Service{svc("alpha", 8080)},
			Direct: map[string][]string{"p_default": {"beta"}}, Existing: []Box{{
				Name: "p.gateway-2", Networks: map[string][]string{"p_default": {"alpha", "beta", "p.gateway-1"}},
				Owners: map[string]map[string]string{"p_default": {"alpha": "alpha", "beta": "beta"}},
			}}},
			"p.gateway-3: p_default[alpha p.gateway-1 p.gateway-2]\n"},
		{"the name of one that has a successor is not given again", Input{Services: []Service{svc("alpha", 8080), svc("gamma", 8080)},
			Existing: []Box{{
				Name: "p.gateway-2", Networks: map[string][]string{"p_default": {"alpha", "p.gateway-1"}},
				Owners: map[string]map[string]string{"p_default": {"alpha": "alpha"}},
			}}},
			"p.gateway-2: p_default[alpha p.gateway-1]\np.gateway-3: p_default[gamma]\n"},
		{"one that has a successor is on its way out", Input{Services: []Service{svc("alpha", 8080)}, Existing: []Box{
			{Name: "p.gateway-1", Networks: map[string][]string{"p_default": {"alpha", "beta"}}, Owners: map[string]map[string]string{"p_default": {"alpha": "alpha", "beta": "beta"}}},
			{Name: "p.gateway-2", Networks: map[string][]string{"p_default": {"alpha", "p.gateway-0", "p.gateway-1"}}, Owners: map[string]map[string]string{"p_default": {"alpha": "alpha"}}},
			{Name: "p.gateway-0.ending", Networks: map[string][]string{"p_default": {"alpha"}}, Owners: map[string]map[string]string{"p_default": {"alpha": "alpha"}}},
		}},
			"p.gateway-2: p_default[alpha p.gateway-0 p.gateway-1]\n"},
		{"a service that comes back to where it is looked for", Input{Services: []Service{svc("alpha", 8080), svc("beta", 9090)},
			Looked: map[string]map[string][]string{"p_default": {"beta": {"p.gateway-1"}, "gamma": {"p.gateway-1"}}}, Existing: []Box{{
				Name: "p.gateway-2", Networks: map[string][]string{"p_default": {"alpha", "p.gateway-1"}},
				Owners: map[string]map[string]string{"p_default": {"alpha": "alpha"}},
			}}},
			"p.gateway-3: p_default[alpha beta p.gateway-1 p.gateway-2]\n"},
		{"a service that is looked for where another one has its port", Input{Services: []Service{svc("alpha", 8080), svc("beta", 8080)},
			Looked: map[string]map[string][]string{"p_default": {"beta": {"p.gateway-1"}}}, Existing: []Box{{
				Name: "p.gateway-1", Networks: map[string][]string{"p_default": {"alpha"}},
				Owners: map[string]map[string]string{"p_default": {"alpha": "alpha"}},
			}}},
			"p.gateway-1: p_default[alpha]\np.gateway-2: p_default[beta]\n"},
		{"one of which nobody knows what it was made for gives way in its place", Input{Services: []Service{svc("alpha", 8080)}, Existing: []Box{{Name: "p.gateway-1"}}},
			"p.gateway-1: p_default[alpha]\n"},
		{"a port that a service which has gone had", Input{Services: []Service{svc("beta", 8080)},
			Existing: Plan(Input{Project: "p", Services: []Service{svc("alpha", 8080), svc("beta", 3000)}})},
			"p.gateway-1: p_default[alpha beta]\n"},
		{"published where there is a way out", Input{Services: []Service{svc("web", 80).on(80, 80).with(func(s *Service) {
			s.Networks = map[string][]string{"p_back": {"web"}, "p_front": {"web"}}
		})}, Internal: map[string]bool{"p_back": true}},
			"p.gateway-1: p_back[web] p_front[web]\np.gateway-front-1: p_front[] 127.0.0.1:80->20001->web:80\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Project = "p"
			got := Plan(tt.in)
			if describe(got) != tt.want {
				t.Errorf("got\n%swant\n%s", describe(got), tt.want)
			}
			tt.in.Existing = got
			if again := Plan(tt.in); describe(again) != describe(got) {
				t.Errorf("planned again, it is\n%s", describe(again))
			}
			for i, b := range got {
				back, err := Decode(b.Encode())
				if err != nil || back.Encode() != got[i].Encode() {
					t.Errorf("%s does not survive its encoding: %v", b.Name, err)
				}
			}
		})
	}
}

// What a port speaks is no part of what a container is made of: it can change with what is told.
func TestProtocolsAreTold(t *testing.T) {
	boxes := Plan(Input{Project: "p", Services: []Service{svc("web", 80).on(8080, 80)}})
	front, err := Decode(boxes[1].Encode())
	if err != nil || !front.Front {
		t.Fatalf("%+v, %v", front, err)
	}
	for _, tt := range []struct {
		app  string
		set  gatewayapi.Protocol
		want gatewayapi.Protocol
	}{
		{"", "", gatewayapi.ProtocolAuto},
		{"grpc", "", gatewayapi.ProtocolGRPC},
		{"", gatewayapi.ProtocolTCP, gatewayapi.ProtocolTCP},
		{"redis", gatewayapi.ProtocolTCP, gatewayapi.ProtocolTCP},
		{"http", gatewayapi.ProtocolTCP, gatewayapi.ProtocolHTTP},
		{"tcp", gatewayapi.ProtocolHTTP, gatewayapi.ProtocolTCP},
	} {
		r := Route{Ports: []Port{{Number: 80, App: tt.app}, {Number: 81, UDP: true}}, Traffic: Traffic{Protocol: tt.set}}
		set := Settings{Subnets: map[string][]string{"p_default": {"172.20.0.0/16"}}}
		for _, b := range []Box{front, boxes[0]} { // also where nothing is published, which Compose has no word for
			listeners := State(b, map[string]Route{"web": r}, set).Listeners
			if got := listeners[0].Protocol; got != tt.want {
				t.Errorf("%s: %q with %q set is %s, want %s", b.Name, tt.app, tt.set, got, tt.want)
			}
			if last := listeners[len(listeners)-1]; !b.Front && last.Protocol != gatewayapi.ProtocolUDP {
				t.Errorf("with %q set, UDP is %s", tt.set, last.Protocol)
			}
		}
	}
}

// TestStateOfOnePortThatTwoListenOn has two services of a container listen on a port that no plan knew of.
func TestStateOfOnePortThatTwoListenOn(t *testing.T) {
	boxes := Plan(Input{Project: "p", Services: []Service{svc("alpha", 8080), svc("beta", 3000)}})
	routes := map[string]Route{
		"alpha": {Ports: []Port{{Number: 8080}, {Number: 9229}}},
		"beta":  {Ports: []Port{{Number: 3000}, {Number: 9229}, {Number: 8080, UDP: true}}},
	}
	s := State(boxes[0], routes, Settings{Subnets: map[string][]string{"p_default": {"172.20.0.0/16"}}})
	var got []string
	for _, l := range s.Listeners {
		got = append(got, fmt.Sprintf("%d %s -> %s", l.Port, l.Protocol, l.Service))
	}
	if want := []string{"8080 auto -> alpha", "3000 auto -> beta", "8080 udp -> beta"}; !slices.Equal(got, want) {
		t.Errorf("listens on %q, want %q", got, want)
	}
}

func TestState(t *testing.T) {
	boxes := Plan(Input{Project: "p", Services: []Service{
		svc("db", 5432).with(func(s *Service) { s.Networks = map[string][]string{"p_back": {"db"}} }),
		svc("web", 8080).with(func(s *Service) { s.Networks = map[string][]string{"p_back": {"web"}, "p_front": {"web"}} }).on(80, 8080),
	}})
	routes := map[string]Route{
		"db": {Ports: []Port{{Number: 5432}}, Held: true, Targets: []Target{{ID: "0123456789abcdef", Addresses: map[string]string{"p_back": "172.20.0.9"}}}},
		"web": {Ports: []Port{{Number: 8080}, {Number: 53, UDP: true}}, Targets: []Target{
			{ID: "aaaaaaaaaaaaaaaa", Addresses: map[string]string{"p_back": "172.20.0.3", "p_front": "172.21.0.3"}},
			{ID: "bbbbbbbbbbbbbbbb", Draining: true},
		}},
	}
	set := Settings{Application: "default.shop", Subnets: map[string][]string{"p_back": {"172.20.0.0/16"}, "p_front": {"172.21.0.0/16"}}}
	for _, b := range boxes {
		s := State(b, routes, set)
		s.Revision = 1
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
		var got []string
		for _, l := range s.Listeners {
			got = append(got, fmt.Sprintf("%s:%d %s -> %s:%d", l.Address, l.Port, l.Protocol, l.Service, l.TargetPort))
		}
		want := map[string][]string{
			"p.gateway-1": {
				"172.20.0.0/16:5432 auto -> db:5432", "172.20.0.0/16:8080 auto -> web:8080", "172.20.0.0/16:53 udp -> web:53",
				"172.21.0.0/16:8080 auto -> web:8080", "172.21.0.0/16:53 udp -> web:53",
			},
			"p.gateway-front-1": {":20001 auto -> web:8080"},
		}[b.Name]
		if !slices.Equal(got, want) {
			t.Errorf("%s listens on %q, want %q", b.Name, got, want)
		}
		active, held := Serving(s, time.Now)
		if !slices.Equal(active["web"], []string{"aaaaaaaaaaaaaaaa"}) || held["web"] {
			t.Errorf("%s: %v serve web, held %v", b.Name, active["web"], held["web"])
		}
		if !b.Front && (!held["db"] || s.Services[0].Targets[0].Addresses[0] != "172.20.0.9") {
			t.Errorf("db: %+v", s.Services[0])
		}
		if s.Services[len(s.Services)-1].Targets[1].State != gatewayapi.TargetDraining {
			t.Errorf("the old target of web is not draining: %+v", s.Services)
		}
	}
}

// How a service's requests are passed on is told to each gateway that has it, and what concerns clients from outside
// to the front alone.
func TestStateOfTraffic(t *testing.T) {
	boxes := Plan(Input{Project: "p", Services: []Service{svc("web", 8080).on(80, 8080)}})
	traffic := Traffic{
		Balance: gatewayapi.BalanceRandomTwo, Hold: gatewayapi.Hold{MaxRequests: 7}, Drain: 1, Transfer: 2, LongLived: 3,
		Probe: &gatewayapi.Probe{Path: "/health"}, AcceptProxy: true, SendProxy: "v2",
	}
	routes := map[string]Route{"web": {Held: true, Traffic: traffic, Ports: []Port{{Number: 53, UDP: true}, {Number: 8080}}}}
	set := Settings{TrustedProxies: []string{"10.0.0.1"}, Subnets: map[string][]string{"p_default": {"172.20.0.0/16"}}}
	for _, b := range boxes {
		got := State(b, routes, set)
		s := got.Services[0]
		if s.Balance != traffic.Balance || s.Hold != (gatewayapi.Hold{Enabled: true, MaxRequests: 7}) || s.DrainTimeout != 1 || s.TransferTimeout != 2 || s.LongLivedDeadline != 3 {
			t.Errorf("%s: %+v", b.Name, s)
		}
		if s.Probe == nil || s.Probe.Port != 8080 || s.Probe.Path != "/health" {
			t.Errorf("%s probes %+v", b.Name, s.Probe)
		}
		for _, l := range got.Listeners {
			if l.ProxyProtocolIn != b.Front || (l.ProxyProtocolOut == "v2") != b.Front {
				t.Errorf("%s: %+v", b.Name, l)
			}
		}
	}
	if routes["web"].Traffic.Probe.Port != 0 {
		t.Error("the settings were changed")
	}
	noPort := Route{Traffic: traffic, Ports: []Port{{Number: 53, UDP: true}}}
	if p := probe(noPort); p != nil {
		t.Errorf("a probe of a service without a port of TCP: %+v", p)
	}
}
