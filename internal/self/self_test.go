// SPDX-License-Identifier: Apache-2.0

package self

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

const (
	mine  = "3f4e1a0c5d6b7a8990b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3d4e5f6071"
	other = "aaaa1a0c5d6b7a8990b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3d4e5f6071"
)

// engine has containers by ID and by name.
type engine struct {
	containers map[string]docker.Container
	err        error
	asked      int
}

func (e *engine) InspectContainer(_ context.Context, id string) (docker.Container, error) {
	e.asked++
	if e.err != nil {
		return docker.Container{}, e.err
	}
	for name, c := range e.containers {
		if name == id || strings.HasPrefix(c.ID, id) {
			return c, nil
		}
	}
	return docker.Container{}, cerrdefs.ErrNotFound
}

func proc(files map[string]string) fs.FS {
	out := fstest.MapFS{}
	for name, content := range files {
		out[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return out
}

func TestFind(t *testing.T) {
	inside := "612 598 254:1 /var/lib/docker/containers/" + mine + "/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda1 rw\n"
	// The host of a container shows its mounts as well.
	host := "612 598 0:45 / /var/lib/docker/containers/" + other + "/mounts/shm rw - tmpfs shm rw\n"
	running := map[string]docker.Container{"box": {ID: mine, State: docker.StateRunning}}
	tests := []struct {
		name       string
		files      map[string]string
		hostname   string
		containers map[string]docker.Container
		want       string
	}{
		{"mounts", map[string]string{"mountinfo": host + inside}, "web", running, mine},
		{"cgroup v1", map[string]string{"cgroup": "12:pids:/docker/" + mine + "\n"}, "web", running, mine},
		{"cgroup of systemd", map[string]string{"cgroup": "0::/system.slice/docker-" + mine + ".scope\n"}, "web", running, mine},
		{"host name", nil, mine[:12], running, mine},
		{"on the host", map[string]string{"mountinfo": host, "cgroup": "0::/init.scope\n"}, "server", map[string]docker.Container{"server": {ID: other, State: docker.StateRunning}}, ""},
		{"a container is called as the host", nil, "0123456789ab", map[string]docker.Container{"0123456789ab": {ID: other, State: docker.StateRunning}}, ""},
		{"in a container of another engine", map[string]string{"mountinfo": inside}, mine[:12], nil, ""},
		{"a stopped one is not meant", map[string]string{"mountinfo": inside}, "", map[string]docker.Container{"box": {ID: mine, State: docker.StateExited}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := find(t.Context(), &engine{containers: tt.containers}, proc(tt.files), tt.hostname)
			if c.ID != tt.want || (tt.want == "") != errors.Is(err, ErrNoContainer) {
				t.Errorf("got %q, %v; want %q", c.ID, err, tt.want)
			}
		})
	}
	away := errors.New("away")
	if _, err := find(t.Context(), &engine{err: away}, proc(nil), mine[:12]); !errors.Is(err, away) {
		t.Errorf("an engine that is away: %v", err)
	}
}

// TestFinder holds whether or not the test runs in a container: the engine knows
// none of its candidates.
func TestFinder(t *testing.T) {
	e := &engine{}
	f := &Finder{Engine: e}
	for range 2 {
		if id, err := f.Find(t.Context()); id != "" || err != nil {
			t.Errorf("got %q, %v", id, err)
		}
	}
	asked := e.asked
	if _, err := f.Find(t.Context()); err != nil || e.asked != asked {
		t.Errorf("it asks again: %v", err)
	}
}
