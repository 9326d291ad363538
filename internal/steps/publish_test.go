// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

const leftOpen = `
services:
  web:
    image: a
    ports: ["8000-8010:80", "127.0.0.1::81", "9000:90", "53/udp"]
    deploy: {replicas: 2}
`

// running is a container of web that has a port of the host for its port 80, and one for 81.
func running(hostPort int) docker.Container {
	return docker.Container{Service: "web", State: docker.StateRunning, Ports: []docker.Port{
		{ContainerPort: 80, Protocol: "tcp", HostIP: "0.0.0.0", HostPort: hostPort}, {ContainerPort: 80, Protocol: "tcp", HostIP: "::", HostPort: hostPort},
		{ContainerPort: 81, Protocol: "tcp", HostIP: "127.0.0.1", HostPort: 49153},
	}}
}

func TestPublished(t *testing.T) {
	web, _ := project(t, leftOpen).Service("web")
	for _, tt := range []struct {
		name       string
		containers []docker.Container
		want       string
	}{
		{"the first time", nil, "0-80-8000-8010 0-80-8000-8010 127.0.0.1:0-81-30000-32767 127.0.0.1:0-81-30000-32767 9000-90- 0/udp-53-30000-32767 0/udp-53-30000-32767"},
		{"a range keeps what the containers have", []docker.Container{running(8004)},
			"8004-80-8000-8010 0-80-8000-8010 127.0.0.1:0-81-30000-32767 127.0.0.1:0-81-30000-32767 9000-90- 0/udp-53-30000-32767 0/udp-53-30000-32767"},
	} {
		got, err := published(web, tt.containers)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, p := range got {
			text += fmt.Sprintf(" %s-%d-%s", p.Address(), p.Target, p.From)
		}
		if text != " "+tt.want {
			t.Errorf("%s:%s, want %s", tt.name, text, tt.want)
		}
	}
}

// A port of a range changes hands as one that is asked for by its number does; one of no range is nobody's.
func TestHandoverOfARange(t *testing.T) {
	web, _ := project(t, leftOpen).Service("web")
	old := running(8004)
	old.PortBindings = []docker.Port{{ContainerPort: 90, Protocol: "tcp", HostPort: 9000}}
	d := wanted{Service: web, gateway: true}
	if got := handover(d, []docker.Container{old}); got != "8004, 9000" {
		t.Errorf("taken over are %q", got)
	}
	d.gateway = false
	if got := handover(d, []docker.Container{old}); got != "" {
		t.Errorf("%q change hands though nothing does", got)
	}
	old = docker.Container{Service: "web", State: docker.StateRunning, Labels: map[string]string{v1alpha1.LabelGateway: v1alpha1.GatewayBehind}}
	if got := handover(d, []docker.Container{old}); got != "8000-8010, 9000" {
		t.Errorf("given back are %q", got)
	}
	if got := hostPort(compose.Port{HostIP: "::1", Published: "9000"}); got != "[::1]:9000" {
		t.Errorf("an address of IPv6 is %q", got)
	}
	for p, want := range map[layout.Publish]bool{
		{Service: "web", HostPort: 8000, From: "8000-8010", Target: 80}:    true,
		{Service: "web", HostPort: 30000, From: layout.AnyPort, Target: 1}: false,
		{Service: "api", HostPort: 8000, From: "8000-8010", Target: 80}:    false,
		{Service: "api", HostPort: 9000, Target: 80}:                       true,
	} {
		if keeps(p, web) != want {
			t.Errorf("that the gateway has %s for %s keeps web from it: %t", p.Address(), p.Service, !want)
		}
	}
}

// A port that was chosen and is taken by what is no container is exchanged, unless clients may know it by now.
func TestAnotherChoice(t *testing.T) {
	in := layout.Input{Project: "p", Services: []layout.Service{{
		Name: "web", Networks: map[string][]string{"p_default": {"web"}}, Publish: []layout.Publish{
			{HostPort: 9000, Service: "web", Target: 90}, {From: "8000-8001", Service: "web", Target: 80},
		},
	}}}
	front := func(g *gatewayRun) layout.Box { return g.wanted[len(g.wanted)-1] }
	refused := func(port int) error {
		return fmt.Errorf("driver failed programming external connectivity: Error starting userland proxy: listen tcp4 0.0.0.0:%d: bind: address already in use", port)
	}
	g := &gatewayRun{input: in, wanted: layout.Plan(in)}
	if _, ok := g.chooseAgain(front(g), refused(9000)); ok {
		t.Error("a port that was asked for by its number was exchanged")
	}
	if _, ok := g.chooseAgain(front(g), errors.New("listen tcp4 0.0.0.0:8000: bind: permission denied")); ok {
		t.Error("a port was exchanged that is not taken")
	}
	next, ok := g.chooseAgain(front(g), refused(8000))
	if !ok || next.Publish[1].HostPort != 8001 {
		t.Errorf("chosen is %+v, %t", next.Publish, ok)
	}
	next, ok = g.chooseAgain(next, errors.New("Bind for 0.0.0.0:8001 failed: port is already allocated"))
	if _, lacks := next.Unchosen(); !ok || !lacks {
		t.Errorf("chosen is %+v, though all are taken", next.Publish)
	}
	in.Existing = layout.Plan(in)
	g = &gatewayRun{input: in, wanted: layout.Plan(in)}
	if _, ok := g.chooseAgain(front(g), refused(8000)); ok {
		t.Error("a port that clients may know was exchanged")
	}
}

func TestWhatIsKnownToListen(t *testing.T) {
	g := &gatewayRun{ports: map[string][]layout.Port{"web": {{Number: 53, UDP: true}, {Number: 80}}, "dns": {{Number: 53, UDP: true}}}}
	for service, want := range map[string]bool{"web": true, "dns": false, "worker": false} {
		if got := g.listens(service); got != want {
			t.Errorf("%s: %v", service, got)
		}
	}
	g = nil
	if g.listens("web") {
		t.Error("without gateways nobody knows")
	}
}
