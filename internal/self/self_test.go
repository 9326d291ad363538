// SPDX-License-Identifier: Apache-2.0

package self

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

func proc(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, "self", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
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
			e := &engine{containers: tt.containers}
			f := &Finder{Engine: e, Proc: proc(t, tt.files), Hostname: func() (string, error) { return tt.hostname, nil }}
			for range 2 {
				got, err := f.Find(t.Context())
				if err != nil || got != tt.want {
					t.Errorf("got %q, %v; want %q", got, err, tt.want)
				}
			}
			if tt.want != "" && e.asked != 1 {
				t.Errorf("the engine was asked %d times", e.asked)
			}
		})
	}
}

func TestFindAsksAgainWhenTheEngineWasAway(t *testing.T) {
	e := &engine{err: errors.New("away"), containers: map[string]docker.Container{"box": {ID: mine, State: docker.StateRunning}}}
	f := &Finder{Engine: e, Proc: t.TempDir(), Hostname: func() (string, error) { return mine[:12], nil }}
	if _, err := f.Find(t.Context()); err == nil {
		t.Fatal("no error although the engine was away")
	}
	e.err = nil
	if got, err := f.Find(t.Context()); err != nil || got != mine {
		t.Errorf("got %q, %v", got, err)
	}
}
