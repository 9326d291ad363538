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
		{"a port that two have by now", made, again(shop[0], svc("web", 5432).on(8081, 5432), shop[2]), "map[db:[] front:[ 127.0.0.1:8080]]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprint(Anew(tt.existing, tt.wanted)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
