// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

func TestCollide(t *testing.T) {
	port := func(ip, published string) compose.Service {
		return compose.Service{Ports: []compose.Port{{HostIP: ip, Published: published, Target: 80, Protocol: "tcp"}}}
	}
	mount := func(m compose.Mount) compose.Service { return compose.Service{Mounts: []compose.Mount{m}} }
	data := docker.Container{Mounts: []docker.Mount{{Type: "volume", Name: "shop_data", RW: true}}}
	bound := docker.Container{PortBindings: []docker.Port{{ContainerPort: 8080, Protocol: "tcp", HostIP: "127.0.0.1", HostPort: 80}}}
	tests := []struct {
		name string
		svc  compose.Service
		c    docker.Container
		want bool
	}{
		{"nothing in common", port("", "81"), bound, false},
		{"the same port", port("127.0.0.1", "80"), bound, true},
		{"all addresses", port("", "80"), bound, true},
		{"another address", port("127.0.0.2", "80"), bound, false},
		{"a range", port("", "80-90"), bound, false},
		{"the same volume", mount(compose.Mount{Type: "volume", Key: "data", Source: "shop_data"}), data, true},
		{"read only", mount(compose.Mount{Type: "volume", Key: "data", Source: "shop_data", ReadOnly: true}), data, false},
		{"another volume", mount(compose.Mount{Type: "volume", Key: "data", Source: "shop_other"}), data, false},
		{"the engine's socket", mount(compose.Mount{Type: "bind", Source: "/var/run/docker.sock"}),
			docker.Container{Mounts: []docker.Mount{{Type: "bind", Source: "/var/run/docker.sock", RW: true}}}, false},
		{"the same directory", mount(compose.Mount{Type: "bind", Source: "/srv/shop"}),
			docker.Container{Mounts: []docker.Mount{{Type: "bind", Source: "/srv/shop", RW: true}}}, true},
		{"the host's network", compose.Service{NetworkMode: "host"}, docker.Container{NetworkMode: "host"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := collide(tt.svc, tt.c); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestImpossibleOrders(t *testing.T) {
	web := wanted{Service: compose.Service{Name: "web", Ports: []compose.Port{{HostIP: "127.0.0.1", Published: "80", Target: 8080, Protocol: "tcp"}}}}
	old := docker.Container{Service: "web", State: docker.StateRunning, PortBindings: []docker.Port{{ContainerPort: 8080, Protocol: "tcp", HostIP: "127.0.0.1", HostPort: 80}}}
	change := func(f func(*docker.Container)) docker.Container {
		c := old
		f(&c)
		return c
	}
	replace := v1alpha1.ServicePlan{Name: "web", Action: v1alpha1.ActionReplace, Order: v1alpha1.OrderStartFirst, OrderReason: "set by rollout.services of the Application"}
	stopFirst, keep := replace, replace
	stopFirst.Order = v1alpha1.OrderStopFirst
	keep.Action = v1alpha1.ActionKeep
	tests := []struct {
		name string
		plan v1alpha1.ServicePlan
		c    docker.Container
		bad  bool
	}{
		{"its own port", replace, old, true},
		{"its own port, restarting", replace, change(func(c *docker.Container) { c.State = docker.StateRestarting }), true},
		{"stop first", stopFirst, old, false},
		{"not replaced", keep, old, false},
		{"the commit changes the port", replace, change(func(c *docker.Container) { c.PortBindings = []docker.Port{{Protocol: "tcp", HostPort: 81}} }), false},
		{"the old one does not run", replace, change(func(c *docker.Container) { c.State = docker.StateExited }), false},
		{"of another service", replace, change(func(c *docker.Container) { c.Service = "db" }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := impossibleOrders([]v1alpha1.ServicePlan{tt.plan}, []wanted{web}, []docker.Container{tt.c})
			if (err != nil) != tt.bad {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				return
			}
			for _, part := range []string{"web", "127.0.0.1:80", "rollout.services of the Application", "Auto or StopFirst"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("it does not name %q: %v", part, err)
				}
			}
		})
	}
}
