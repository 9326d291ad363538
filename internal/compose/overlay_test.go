// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"path/filepath"
	"testing"
)

// Settings as they were saved go before those of the commit and of the
// deployment directory; what is built is that of the commit all the same.
func TestOverlay(t *testing.T) {
	compose := "services:\n  web:\n    build: .\n    env_file: web.env\n    environment: {A: '${A}', FROM: '%s'}\n    volumes: ['./data:/data']\n"
	deploy, tree := deployment(t,
		map[string]string{".env": "A=now\n", "web.env": "B=now\n"},
		map[string]string{"docker-compose.yml": compose, "Dockerfile": "FROM scratch\n"},
	)
	overlay := filepath.Join(t.TempDir(), "overlay")
	write(t, overlay, map[string]string{".env": "A=saved\n", "web.env": "B=saved\n", "docker-compose.yml": compose + "    labels: {edited: by-hand}\n"})
	svc, _ := mustLoad(t, Options{DeployDir: deploy, TreeDir: tree, Overlay: overlay}).Service("web")
	if svc.Environment["A"] != "saved" || svc.Environment["B"] != "saved" || svc.Labels["edited"] != "by-hand" {
		t.Errorf("the settings are not those of the overlay: %v %v", svc.Environment, svc.Labels)
	}
	if svc.Build == nil || svc.Build.Context != tree {
		t.Errorf("it is built from %+v, not from the commit's tree", svc.Build)
	}
	if len(svc.Mounts) != 1 || svc.Mounts[0].Source != filepath.Join(deploy, "data") {
		t.Errorf("it mounts %+v", svc.Mounts)
	}
	svc, _ = mustLoad(t, Options{DeployDir: deploy, TreeDir: tree}).Service("web")
	if svc.Environment["A"] != "now" || svc.Labels["edited"] != "" {
		t.Errorf("without an overlay: %v %v", svc.Environment, svc.Labels)
	}
}
