// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func shipped(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "compose", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The ways to run the daemon as a container are good Compose files, and give it what it needs: the engine, its data and the
// applications at the paths that the host has them at, and time to stop in order.
func TestShippedComposeFiles(t *testing.T) {
	dir, _ := deployment(t, map[string]string{"compose.yaml": shipped(t, "docker-compose.yml")}, nil)
	p, err := Load(t.Context(), Options{DeployDir: dir, Env: map[string]string{"APPS_DIR": "/srv"}})
	if err != nil {
		t.Fatal(err)
	}
	daemon, ok := p.Service("fairlead")
	if !ok || daemon.NetworkMode != "host" || daemon.Restart.Name != "unless-stopped" || daemon.Build == nil {
		t.Errorf("the daemon is %+v", daemon)
	}
	wants(t, daemon, "/var/run/docker.sock", "/var/lib/fairlead", "/srv")
	for _, m := range daemon.Mounts {
		if m.Source != m.Target {
			t.Errorf("%s of the host is %s in the container", m.Source, m.Target)
		}
	}

	// The service that it takes the place of is built, and has the same mounts and ports.
	const base = `services:
  backend: {image: x, healthcheck: {test: [CMD, "true"]}}
  updater:
    build: {context: ., dockerfile: Dockerfile.updater}
    environment: {UPDATE_SCRIPT: /workspace/scripts/update-production.sh}
    volumes: [".:/workspace", "/var/run/docker.sock:/var/run/docker.sock", "updater_logs:/workspace/.update/logs"]
    ports: ["127.0.0.1:8765:8765"]
    networks: [ssalgten-network]
networks: {ssalgten-network: {}}
volumes: {updater_logs: {name: ssalgten-updater-logs}}
`
	dir, _ = deployment(t, map[string]string{"compose.yaml": base, "updater.yml": shipped(t, "updater.yml")}, nil)
	options := Options{DeployDir: dir, Files: []string{"compose.yaml", "updater.yml"}}
	if _, err := Load(t.Context(), options); err == nil || !strings.Contains(err.Error(), "UPDATER_TOKEN") {
		t.Errorf("without a token it ends with %v", err)
	}
	options.Env = map[string]string{"UPDATER_TOKEN": "secret"}
	if p, err = Load(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	updater, _ := p.Service("updater")
	if updater.ContainerName != "ssalgten-updater" || len(updater.DependsOn) != 1 || updater.DependsOn[0].Service != "backend" {
		t.Errorf("the updater is %+v", updater)
	}
	if updater.Build != nil || updater.Image != "fairlead:latest" || len(updater.Ports) != 1 {
		t.Errorf("the updater is built by %+v, of the image %s, with the ports %+v", updater.Build, updater.Image, updater.Ports)
	}
	if updater.PullPolicy != "missing" {
		t.Errorf("the updater's image is pulled by the policy %q, though it may be on this host alone", updater.PullPolicy)
	}
	wants(t, updater, "/var/run/docker.sock", "/workspace", "/workspace/.update/logs")
	// It is asked where it listens, whoever sets another port.
	if asked := strings.Join(updater.Healthcheck.Test, " "); asked != "CMD-SHELL curl -f http://localhost:$PORT/health" {
		t.Errorf("its health is asked with %q", asked)
	}
	moved := strings.NewReplacer("PORT: 8765", "PORT: 9765", "127.0.0.1:8765:8765", "127.0.0.1:8765:9765").Replace(shipped(t, "updater.yml"))
	options.DeployDir, _ = deployment(t, map[string]string{"compose.yaml": base, "updater.yml": moved}, nil)
	if p, err = Load(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	if updater, _ = p.Service("updater"); len(updater.Ports) != 1 || updater.Ports[0].Target != 9765 {
		t.Errorf("on another port it has the ports %+v", updater.Ports)
	}
}

func wants(t *testing.T, svc Service, targets ...string) {
	t.Helper()
	var got []string
	for _, m := range svc.Mounts {
		if m.ReadOnly {
			t.Errorf("%s is read-only in %s", m.Target, svc.Name)
		}
		got = append(got, m.Target)
	}
	slices.Sort(got)
	slices.Sort(targets)
	if !slices.Equal(got, targets) {
		t.Errorf("%s has %v, want %v", svc.Name, got, targets)
	}
	if svc.Healthcheck == nil || svc.Healthcheck.Disabled {
		t.Errorf("%s has no healthcheck", svc.Name)
	}
	if svc.StopGracePeriod == nil || *svc.StopGracePeriod < 45*time.Second { // as ownStopTimeout of a handover
		t.Errorf("%s is given %v to stop", svc.Name, svc.StopGracePeriod)
	}
}
