// SPDX-License-Identifier: Apache-2.0

package self

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// engine knows containers by ID and by name.
type engine map[string]string

func (e engine) InspectContainer(_ context.Context, id string) (docker.Container, error) {
	for full, name := range e {
		if strings.HasPrefix(full, id) || name == id {
			return docker.Container{ID: full, Name: name}, nil
		}
	}
	return docker.Container{}, cerrdefs.ErrNotFound
}

func TestFind(t *testing.T) {
	mine, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	e := engine{mine: "updater", other: "abcabcabcabc"}
	mount := func(id string) string {
		return "700 600 0:50 / / rw - overlay overlay rw\n712 700 254:0 /lib/docker/containers/" + id + "/hostname /etc/hostname rw - ext4 /dev/vda rw\n"
	}
	for _, tt := range []struct {
		name, mountinfo, cgroup, hostname, want string
	}{
		{"mounts, cgroup 2", mount(mine), "0::/\n", "updater", mine},
		{"cgroup 1", "", "12:cpu:/docker/" + mine + "\n", "x", mine},
		{"systemd", "", "1:name=systemd:/system.slice/docker-" + mine + ".scope\n", "x", mine},
		{"host name", "", "", mine[:12], mine},
		{"a container in a container", mount(strings.Repeat("ef", 32)) + mount(mine), "", "x", mine},
		{"the host", "", "0::/user.slice\n", "server", ""},
		{"the host has the name of a container", "", "", "abcabcabcabc", ""},
		{"another engine's container", mount(strings.Repeat("ef", 32)), "", strings.Repeat("e", 12), ""},
	} {
		proc := fstest.MapFS{"mountinfo": {Data: []byte(tt.mountinfo)}, "cgroup": {Data: []byte(tt.cgroup)}}
		c, err := find(t.Context(), e, proc, tt.hostname)
		if c.ID != tt.want || (tt.want == "") != errors.Is(err, ErrNoContainer) {
			t.Errorf("%s: found %q, %v; want %q", tt.name, c.ID, err, tt.want)
		}
	}
	if _, err := find(t.Context(), e, fstest.MapFS{}, "server"); !errors.Is(err, ErrNoContainer) {
		t.Errorf("without /proc: %v", err)
	}
}

type failing struct{}

func (failing) InspectContainer(context.Context, string) (docker.Container, error) {
	return docker.Container{}, errors.New("engine away")
}

func TestEngineTrouble(t *testing.T) {
	proc := fstest.MapFS{"cgroup": {Data: []byte(strings.Repeat("ab", 32))}}
	if _, err := find(t.Context(), failing{}, proc, ""); err == nil || errors.Is(err, ErrNoContainer) {
		t.Errorf("an engine that does not answer: %v", err)
	}
}
