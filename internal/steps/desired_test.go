// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"

	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// A service without a build whose image another one builds gets that image, and
// not the one that has the name on the host.
func TestSharedImages(t *testing.T) {
	build := &compose.Build{}
	services := []compose.Service{
		{Name: "cache", ImageName: "redis:7"},
		{Name: "web", ImageName: "shop/app", Build: build},
		{Name: "worker", ImageName: "docker.io/shop/app:latest"},
		{Name: "zeta", ImageName: "shop/app", Build: build},
		{Name: "odd", ImageName: "Not A Reference"},
	}
	builders := imageBuilders(services)
	for image, want := range map[string]string{
		"shop/app": "web", "docker.io/shop/app:latest": "web", "shop/app:1": "", "redis:7": "", "Not A Reference": "",
	} {
		if got := builders[fullName(image)]; got != want {
			t.Errorf("%s is built by %q, want %q", image, got, want)
		}
	}
	want := []wanted{
		{Service: services[1], how: imageReuse, image: docker.Image{ID: "sha256:1"}},
		{Service: services[2], builtBy: "web"},
		{Service: services[0], how: imagePresent, image: docker.Image{ID: "sha256:2"}},
	}
	shareBuilt(want)
	if want[1].how != imageReuse || want[1].image.ID != "sha256:1" {
		t.Errorf("worker gets %s by %s", want[1].image.ID, want[1].how)
	}
	if want[2].image.ID != "sha256:2" {
		t.Errorf("cache gets %s", want[2].image.ID)
	}
}
