// SPDX-License-Identifier: Apache-2.0

//go:build engine

package compose

import (
	"slices"
	"testing"

	"github.com/docker/go-connections/nat"
)

// A container that something stands in front of has no names and no ports
// of its own, finds others by links, and is the container that `docker compose` would
// have made all the same.
func TestCreateBehind(t *testing.T) {
	e := newEngine(t)
	p := e.load(t, "services:\n  db: {image: $IMAGE, "+labelled+"}\n"+
		"  web: {image: $IMAGE, container_name: $PROJECT-www, links: [\"db:store\"], ports: [\"127.0.0.1:18999:80\", \"81\"], networks: {default: {}, second: {aliases: [w]}}, "+
		labelled+"}\nnetworks: {second: }\n")
	made, err := e.creator.Create(t.Context(), CreateRequest{
		Project: p, Service: "web", Image: e.v1, Count: 1, Behind: true, Unlinked: []string{"db"},
		Links: map[string][]string{e.project + "_default": {"gate:store"}, e.project + "_second": {"gate:web"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	i := e.inspect(t, made[0].ID)
	if hash, _ := p.Hash("web"); i.Config.Labels[LabelConfigHash] != hash {
		t.Error("docker compose would replace it")
	}
	if len(i.HostConfig.PortBindings) != 0 {
		t.Errorf("it publishes %v", i.HostConfig.PortBindings)
	}
	for _, port := range []nat.Port{"80/tcp", "81/tcp"} {
		if _, ok := i.Config.ExposedPorts[port]; !ok {
			t.Errorf("it exposes %v", i.Config.ExposedPorts)
		}
	}
	want := map[string][]string{e.project + "_default": {"gate:store"}, e.project + "_second": {"gate:web"}}
	for name, n := range i.NetworkSettings.Networks {
		aliases := slices.DeleteFunc(slices.Clone(n.Aliases), func(a string) bool { return a == made[0].ID[:12] })
		if len(aliases) > 0 || !slices.Equal(n.Links, want[name]) {
			t.Errorf("in %s it has the names %v and the links %v, want no name and %v", name, aliases, n.Links, want[name])
		}
	}
}
