// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

func TestDrift(t *testing.T) {
	service := func(name string, replicas int32, change ...func(*v1alpha1.ReleaseService)) v1alpha1.ReleaseService {
		s := v1alpha1.ReleaseService{Name: name, Revision: name + "-2", ImageID: "sha256:2", Replicas: replicas}
		for _, c := range change {
			c(&s)
		}
		return s
	}
	oneShot := func(s *v1alpha1.ReleaseService) { s.OneShot = true }
	adopted := func(s *v1alpha1.ReleaseService) { s.Containers = []string{"by-hand"} }
	c := func(name, service, revision, state string, change ...func(*docker.Container)) docker.Container {
		out := docker.Container{ID: name, Name: name, Service: service, State: state, Image: "shop/" + service, ImageID: "sha256:2", Labels: map[string]string{}}
		if revision != "" {
			out.Labels[v1alpha1.LabelRevision] = revision
		}
		for _, f := range change {
			f(&out)
		}
		return out
	}
	otherImage := func(c *docker.Container) { c.ImageID = "sha256:1" }
	temporary := func(c *docker.Container) { c.Labels[labelTemporary] = "true" }
	const running, exited = docker.StateRunning, docker.StateExited
	type ss = []v1alpha1.ReleaseService
	type cs = []docker.Container
	tests := []struct {
		name       string
		services   ss
		containers cs
		want       string // "service kind container: part of the message", by line
	}{
		{"as released", ss{service("web", 2)}, cs{c("w1", "web", "web-2", running), c("w2", "web", "web-2", running)}, ""},
		{"an old one is kept beside it", ss{service("web", 1)}, cs{c("w1", "web", "web-2", running), c("w0", "web", "web-1", exited)}, ""},
		{"stopped", ss{service("web", 1)}, cs{c("w1", "web", "web-2", exited)}, "web Stopped w1: does not run"},
		{"paused", ss{service("web", 1)}, cs{c("w1", "web", "web-2", docker.StatePaused)}, "web Stopped w1: is paused"},
		{"never started", ss{service("web", 1)}, cs{c("w1", "web", "web-2", docker.StateCreated)}, "web Stopped w1: never started"},
		{"restarting is a matter of health", ss{service("web", 1)}, cs{c("w1", "web", "web-2", docker.StateRestarting)}, ""},
		{"removed", ss{service("web", 1)}, nil, "web Missing : 1 of 1 containers are gone"},
		{"one of two removed", ss{service("web", 2)}, cs{c("w1", "web", "web-2", running)}, "web Missing : 1 of 2"},
		{"one stopped, one removed", ss{service("web", 3)}, cs{c("w1", "web", "web-2", running), c("w2", "web", "web-2", exited)},
			"web Missing : 1 of 3\nweb Stopped w2: does not run"},
		{"a stopped one too many is none", ss{service("web", 1)}, cs{c("w1", "web", "web-2", running), c("w2", "web", "web-2", exited)}, ""},
		{"another image", ss{service("web", 1)}, cs{c("w1", "web", "web-1", running, otherImage)}, "web Changed w1: runs the image shop/web (1)"},
		{"another configuration", ss{service("web", 1)}, cs{c("w1", "web", "web-1", running)}, "web Changed w1: runs another configuration"},
		{"made by hand", ss{service("web", 1)}, cs{c("w1", "web", "", running)}, "web Changed w1: was made by hand"},
		{"made by hand, and recorded", ss{service("web", 1, adopted)}, cs{c("by-hand", "web", "", running)}, ""},
		{"another one beside it", ss{service("web", 1)}, cs{c("w1", "web", "web-2", running), c("w2", "web", "", running)}, "web Changed w2: was made by hand"},
		{"too many", ss{service("web", 1)}, cs{c("w1", "web", "web-2", running), c("w2", "web", "web-2", running)}, "web Changed : 2 containers run, release shop-2 has 1"},
		{"a service that the release does not have", nil, cs{c("x1", "extra", "", running)}, "extra Unknown x1: no such service"},
		{"and does not run", nil, cs{c("x1", "extra", "", exited)}, ""},
		{"what a backup makes", nil, cs{c("x1", "", "", running, temporary)}, ""},
		{"a one-shot that ran", ss{service("migrate", 1, oneShot)}, cs{c("m1", "migrate", "migrate-2", exited)}, ""},
		{"a one-shot that was removed", ss{service("migrate", 1, oneShot)}, nil, ""},
		{"a one-shot of another revision runs", ss{service("migrate", 1, oneShot)}, cs{c("m1", "migrate", "migrate-1", running)}, "migrate Changed m1: another configuration"},
		{"none wanted", ss{service("web", 0)}, nil, ""},
		{"in order", ss{service("web", 1), service("db", 1)}, cs{c("x1", "extra", "", running)},
			"db Missing : gone\nextra Unknown x1: no such\nweb Missing : gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			current := v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Services: tt.services}, Status: v1alpha1.ReleaseStatus{State: v1alpha1.ReleaseCurrent}}
			current.Name = "shop-2"
			got := Drift([]v1alpha1.Release{current}, tt.containers)
			want := strings.Split(tt.want, "\n")
			if tt.want == "" {
				want = nil
			}
			if len(got) != len(want) {
				t.Fatalf("got %+v", got)
			}
			for i, d := range got {
				head, part, _ := strings.Cut(want[i], ": ")
				if d.Service+" "+string(d.Kind)+" "+d.Container != head || !strings.Contains(d.Message, part) {
					t.Errorf("got %+v, want %s", d, want[i])
				}
			}
		})
	}
	if got := Drift(nil, cs{c("w1", "web", "", running)}); got != nil {
		t.Errorf("without a release: %+v", got)
	}
}
