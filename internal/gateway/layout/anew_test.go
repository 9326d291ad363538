// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"slices"
	"testing"
)

func TestAnew(t *testing.T) {
	shop := []Service{svc("front", 80).on(8080, 80), svc("web", 8080).on(8081, 8080), svc("db", 5432)}
	made := Plan(Input{Project: "p", Services: slices.Clone(shop)})
	again := func(services ...Service) []Box {
		return Plan(Input{Project: "p", Services: slices.Clone(services), Existing: made})
	}
	for _, tt := range []struct {
		name     string
		existing []Box
		wanted   []Box
		want     string
	}{
		{"the same", made, again(shop...), "map[]"},
		{"the first time", nil, made, "map[]"},
		{"one port less", made, again(shop[0], svc("web", 8080), shop[2]), "map[front:[127.0.0.1:8080]]"},
		{"one port more", made, again(shop[0].on(9000, 80), shop[1], shop[2]), "map[]"},
		{"a service less", made, again(shop[0], shop[1]), "map[]"},
		{"another protocol", made, again(svc("front", 80).on(8080, 80).with(func(s *Service) { s.Publish[0].App = "grpc" }), shop[1], shop[2]), "map[]"},
		{"a port that two have by now", made, again(shop[0], svc("web", 5432).on(8081, 5432), shop[2]), "map[db:[] front:[ 127.0.0.1:8080] web:[127.0.0.1:8081]]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprint(Anew(tt.existing, tt.wanted)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestReplaces(t *testing.T) {
	front := func(name string, ports ...Publish) Box { return Box{Name: name, Front: true, Publish: ports} }
	existing := []Box{
		front("p.gateway-front-1", Publish{HostIP: "127.0.0.1", HostPort: 80}, Publish{HostPort: 53, UDP: true}),
		front("p.gateway-front-2", Publish{HostIP: "10.0.0.1", HostPort: 443}),
		{Name: "p.gateway-1"},
	}
	for _, tt := range []struct {
		name string
		box  Box
		want []string
	}{
		{"the same port", front("p.gateway-front-3", Publish{HostIP: "127.0.0.1", HostPort: 80}), []string{"p.gateway-front-1"}},
		{"on all addresses", front("p.gateway-front-3", Publish{HostPort: 80}, Publish{HostIP: "0.0.0.0", HostPort: 443}), []string{"p.gateway-front-1", "p.gateway-front-2"}},
		{"on another address", front("p.gateway-front-3", Publish{HostIP: "127.0.0.1", HostPort: 443}), nil},
		{"another protocol", front("p.gateway-front-3", Publish{HostPort: 53}), nil},
		{"itself", existing[0], nil},
		{"one that publishes nothing", Box{Name: "p.gateway-2"}, nil},
		{"one that has its name", Box{Name: "p.gateway-2", Networks: map[string][]string{"p_default": {"p.gateway-1", "web"}},
			Owners: map[string]map[string]string{"p_default": {"web": "web"}}}, []string{"p.gateway-1"}},
	} {
		if got := tt.box.Replaces(existing); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
