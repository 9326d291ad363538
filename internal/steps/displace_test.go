// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"

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
