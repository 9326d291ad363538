// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/compose"
)

func TestExclusive(t *testing.T) {
	type mounts = []compose.Mount
	other := func(name string, change func(*compose.Service)) compose.Service {
		s := compose.Service{Name: name}
		change(&s)
		return s
	}
	env := func(value string) []compose.Service {
		return []compose.Service{other("front", func(s *compose.Service) { s.Environment = map[string]string{"API": value} })}
	}
	named := compose.Service{Name: "api", ContainerName: "shop-api"}
	const addressed = "front addresses it by its container_name shop-api"
	tests := []struct {
		name   string
		svc    compose.Service
		others []compose.Service
		want   []string
	}{
		{"a plain service", compose.Service{Name: "web", ImageName: "shop/web"}, nil, nil},
		{"a host port", compose.Service{Ports: []compose.Port{{Published: "8080", Target: 80}}}, nil, []string{"publishes the host port 8080"}},
		{"a host port on one address", compose.Service{Ports: []compose.Port{{HostIP: "127.0.0.1", Published: "5432", Target: 5432}}}, nil, []string{"publishes the host port 127.0.0.1:5432"}},
		{"a port that the engine chooses", compose.Service{Ports: []compose.Port{{Target: 80}, {Published: "0", Target: 81}}}, nil, nil},
		{"a range of ports", compose.Service{Ports: []compose.Port{{Published: "8000-8010", Target: 80}}}, nil, nil},
		{"a database", compose.Service{ImageName: "postgres:16-alpine"}, nil, []string{"runs a database image"}},
		{"a database of a registry", compose.Service{ImageName: "registry.example.com:5000/library/postgres@sha256:" + digest64}, nil, []string{"runs a database image"}},
		{"something for a database", compose.Service{ImageName: "prometheuscommunity/postgres-exporter"}, nil, nil},
		{"a writable volume", compose.Service{Mounts: mounts{{Type: compose.MountVolume, Key: "data", Source: "shop_data"}}}, nil, []string{"writes to the volume data"}},
		{"a volume that is only read", compose.Service{Mounts: mounts{{Type: compose.MountVolume, Key: "data", ReadOnly: true}}}, nil, nil},
		{"an anonymous volume", compose.Service{Mounts: mounts{{Type: compose.MountVolume, Anonymous: true}}}, nil, nil},
		{"a writable directory", compose.Service{Mounts: mounts{{Type: compose.MountBind, Source: "/srv/uploads"}}}, nil, []string{"writes to /srv/uploads of the host"}},
		{"a directory that is only read", compose.Service{Mounts: mounts{{Type: compose.MountBind, Source: "/srv/conf", ReadOnly: true}}}, nil, nil},
		{"places for many", compose.Service{Mounts: mounts{
			{Type: compose.MountBind, Source: "/var/run/docker.sock"}, {Type: compose.MountBind, Source: "/dev/dri"}, {Type: compose.MountBind, Source: "/etc/localtime"},
			{Type: compose.MountBind, Source: "/sys/fs/cgroup"}, {Type: compose.MountTmpfs},
		}}, nil, nil},
		{"not quite such a place", compose.Service{Mounts: mounts{{Type: compose.MountBind, Source: "/devices"}}}, nil, []string{"writes to /devices of the host"}},
		{"the host's network", compose.Service{NetworkMode: "host"}, nil, []string{"uses the host's network"}},
		{"a static address", compose.Service{Networks: []compose.ServiceNetwork{{Key: "back", IPv4Address: "10.0.0.5"}}}, nil, []string{"has a static address in the network back"}},
		{"an address of the engine's choice", compose.Service{Networks: []compose.ServiceNetwork{{Key: "back"}}}, nil, nil},
		{"all reasons are told", compose.Service{ImageName: "redis", Ports: []compose.Port{{Published: "6379"}}}, nil, []string{"publishes the host port 6379", "runs a database image"}},
		{"addressed by its name in a URL", named, env("http://shop-api:8080/v1"), []string{addressed}},
		{"addressed by its name alone", named, env("shop-api"), []string{addressed}},
		{"addressed in a list", named, env("a:1,shop-api:2"), []string{addressed}},
		{"a longer word is another name", named, env("http://my-shop-api-2/"), nil},
		{"addressed by its service name", named, env("http://api:8080"), nil},
		{"its own environment does not count", other("api", func(s *compose.Service) {
			s.ContainerName, s.Environment = "shop-api", map[string]string{"ME": "shop-api"}
		}), nil, nil},
		{"a name that is the service's", compose.Service{Name: "api", ContainerName: "api"}, env("http://api"), nil},
		{"its network is used", named, []compose.Service{other("front", func(s *compose.Service) { s.NetworkMode = "container:shop-api" })}, []string{addressed}},
		{"linked from outside", named, []compose.Service{other("front", func(s *compose.Service) { s.ExternalLinks = []string{"shop-api:api"} })}, []string{addressed}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := []wanted{{Service: tt.svc}}
			for _, o := range tt.others {
				all = append(all, wanted{Service: o})
			}
			if got := exclusive(all[0], all); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

const digest64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
