// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestProfilesAndVariablesOfARequest(t *testing.T) {
	dir, _ := deployment(t, map[string]string{
		"compose.yaml": "services:\n  web: {image: a, ports: [\"${WEB_PORT:-1}:80\"]}\n" +
			"  agent: {image: a, profiles: [agent]}\n  debug: {image: a, profiles: [debug]}\n  both: {image: a, profiles: [agent, debug]}\n",
		".env": "COMPOSE_PROFILES=debug\nWEB_PORT=2\n",
	}, nil)
	for _, tt := range []struct {
		name     string
		profiles []string
		add      []string
		env      map[string]string
		services []string
		port     string
	}{
		{"as the files say", nil, nil, nil, []string{"both", "debug", "web"}, "2"},
		{"one more than the files say", nil, []string{"agent"}, nil, []string{"agent", "both", "debug", "web"}, "2"},
		{"one more than the Application says", []string{"x"}, []string{"agent"}, nil, []string{"agent", "both", "web"}, "2"},
		{"one that is there already", nil, []string{"debug"}, nil, []string{"both", "debug", "web"}, "2"},
		{"a variable", nil, nil, map[string]string{"WEB_PORT": "3"}, []string{"both", "debug", "web"}, "3"},
		{"a variable is a value, and nothing else", nil, nil, map[string]string{"WEB_PORT": "4:80\"]\n  evil: {image: e}"}, nil, ""},
	} {
		p, err := Load(t.Context(), Options{DeployDir: dir, Profiles: tt.profiles, AddProfiles: tt.add, Env: tt.env})
		if tt.services == nil {
			if err == nil {
				t.Errorf("%s: it was taken", tt.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := serviceNames(p); !slices.Equal(got, tt.services) {
			t.Errorf("%s: services %v, want %v", tt.name, got, tt.services)
		}
		if web, _ := p.Service("web"); len(web.Ports) != 1 || web.Ports[0].Published != tt.port {
			t.Errorf("%s: ports %+v, want %s", tt.name, web.Ports, tt.port)
		}
	}
}

// An updater in a container has the deployment directory elsewhere, and a link
// with its name on the host: the model must be the one of the host.
func TestDeploymentDirectoryIsALink(t *testing.T) {
	deployed := map[string]string{".env": "NAME=shop\n", "common.env": "A=1\n", "conf/x": "untracked"}
	tree := map[string]string{"compose.yaml": `name: ${NAME}
services:
  web: {image: a, build: ./web, env_file: common.env, volumes: ["./conf:/conf:ro", ".:/all"]}
  updater: {image: b, volumes: [".:/workspace", "/var/run/docker.sock:/var/run/docker.sock", "./conf:/conf"]}
`, "web/Dockerfile": "FROM scratch\n"}
	place, realTree := deployment(t, deployed, tree)
	link := filepath.Join(t.TempDir(), "opt", "shop")
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(place, link); err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(place, realTree)
	if err != nil {
		t.Fatal(err)
	}
	p := mustLoad(t, Options{DeployDir: link, TreeDir: filepath.Join(link, rel)})
	if p.WorkingDir() != link || !slices.Equal(p.Files(), []string{filepath.Join(link, "compose.yaml")}) {
		t.Errorf("working directory %s, files %v", p.WorkingDir(), p.Files())
	}
	web, _ := p.Service("web")
	if web.Mounts[0].Source != filepath.Join(link, "conf") || web.Mounts[1].Source != link || web.Environment["A"] != "1" {
		t.Errorf("mounts %+v", web.Mounts)
	}
	if web.Build.Context != filepath.Join(link, rel, "web") {
		t.Errorf("build context %s", web.Build.Context)
	}
	if want := []string{".", "conf"}; !slices.Equal(web.TrackedPaths, want) {
		t.Errorf("tracked paths of web %v, want %v", web.TrackedPaths, want)
	}
	updater, _ := p.Service("updater")
	if want := []string{"conf"}; !slices.Equal(updater.TrackedPaths, want) {
		t.Errorf("tracked paths of a service with the engine's socket %v, want %v", updater.TrackedPaths, want)
	}
	data, err := Render(p)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Parse(data); err != nil || back.WorkingDir() != link {
		t.Errorf("read back: %v", err)
	}
}
