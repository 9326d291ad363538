// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

// A container that did not change finds others by links to gateways, which lead nowhere, or to another service, when
// these are behind them no more.
func TestNamesThatContainersLose(t *testing.T) {
	const file = `
services:
  web: {image: a, expose: ["80"]}
  api: {image: a, expose: ["81"]}
  worker: {image: a, links: ["api:store"]}
`
	const clash = `
services:
  web: {image: a, expose: ["80"]}
  api: {image: a, expose: ["80"]}
  worker: {image: a, links: ["api:store"]}
`
	behind := func(text string, services ...string) []wanted {
		want := wantedOf(project(t, "name: shop\n"+text))
		for i := range want {
			for _, s := range services {
				want[i].gateway = want[i].gateway || want[i].Name == s
			}
		}
		return want
	}
	_, planned, err := plannedBoxes(behind(file, "web", "api"), nil, "shop", nil)
	if err != nil {
		t.Fatal(err)
	}
	var have []boxes.Box
	for _, b := range planned {
		have = append(have, boxes.Box{Box: b})
	}
	worker := func(links ...string) docker.Container {
		return docker.Container{Service: "worker", State: docker.StateRunning, Networks: map[string]docker.Endpoint{"shop_default": {Links: links}}}
	}
	all := worker("shop.gateway-1:web", "shop.gateway-1:api", "shop.gateway-1:store", "shop.gateway-1:gone", "shop-other-1:web")
	for _, tt := range []struct {
		name string
		want []wanted
		have []boxes.Box
		c    docker.Container
		lost string
	}{
		{"as they are", behind(file, "web", "api"), have, all, "map[]"},
		{"one leaves", behind(file, "web"), have, all, "map[worker:its container looks for api and store at a gateway that is to answer for that no more]"},
		{"all leave", behind(file), have, all, "map[worker:its container looks for api, store and web at a gateway that is to answer for that no more]"},
		{"all have left, and nobody found out", behind(file), nil, all, "map[worker:its container looks for api, store and web at a gateway that is to answer for that no more]"},
		{"a port that two have by now", behind(clash, "web", "api"), have, worker("shop.gateway-1:web", "shop.gateway-1:api"),
			"map[worker:its container looks for web at a gateway that is to answer for that no more]"},
		{"a gateway that was made anew finds them", behind(file, "web", "api"), []boxes.Box{{Box: layout.Box{
			Name: "shop.gateway-2", Networks: map[string][]string{"shop_default": {"api", "shop.gateway-1", "web"}},
			Owners: map[string]map[string]string{"shop_default": {"api": "api", "web": "web"}},
		}}}, all, "map[]"},
		{"links of its own", behind(file), nil, worker("shop-api-1:api"), "map[]"},
		{"it does not run", behind(file), nil, docker.Container{Service: "worker", State: docker.StateExited, Networks: all.Networks}, "map[]"},
	} {
		got, err := lostNames(tt.want, []docker.Container{tt.c}, "shop", tt.have)
		if err != nil || fmt.Sprint(got) != tt.lost {
			t.Errorf("%s: got %v, %v; want %s", tt.name, got, err, tt.lost)
		}
	}
	if linked(worker("shop-api-1:api"), "shop", nil) || !linked(all, "shop", nil) {
		t.Error("links to gateways are not told from others")
	}
}
