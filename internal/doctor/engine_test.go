// SPDX-License-Identifier: Apache-2.0

//go:build engine

package doctor

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

const baseImage = "fairlead-test/base:bookworm" // made by test/images/build.sh

// start runs a container as Compose would have made it, until the end of the test.
func start(t *testing.T, c *docker.Client, project, service string, env []string, health []string, script string, restart container.RestartPolicyMode) string {
	t.Helper()
	config := &container.Config{
		Image: baseImage, Env: env, Cmd: []string{"sh", "-c", script},
		Labels: map[string]string{docker.LabelProject: project, docker.LabelService: service, docker.LabelNumber: "1", "fairlead.dev/test": "doctor"},
	}
	if health != nil {
		config.Healthcheck = &container.HealthConfig{Test: health, Interval: 100 * time.Millisecond, Timeout: time.Second, Retries: 1}
	}
	resp, err := c.ContainerCreate(t.Context(), config, &container.HostConfig{NetworkMode: "none", RestartPolicy: container.RestartPolicy{Name: restart}}, nil, nil, project+"-"+service+"-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.ContainerRemove(context.Background(), resp.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	})
	if err := c.ContainerStart(t.Context(), resp.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return resp.ID
}

// await waits until a container is as cond wants it.
func await(t *testing.T, c *docker.Client, id string, cond func(docker.Container) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := c.InspectContainer(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if cond(got) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the container is %+v", got)
		}
	}
}

func TestServicesThatAreUnwell(t *testing.T) {
	d := newDoctor(t)
	engine, err := docker.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	d.Deps.Docker, d.Deps.Puller = engine, build.NewPuller(engine, build.Options{})
	a, _ := app(t, `services:
  good: {image: `+baseImage+`}
  sick: {image: `+baseImage+`, healthcheck: {test: [CMD, "false"]}}
  loop: {image: `+baseImage+`, restart: always}
  gone: {image: `+baseImage+`}
  missing: {image: "127.0.0.1:1/none:1"}
`)
	project := "doctor-" + strings.ToLower(rand.Text()[:8])
	a.Spec.Compose.Project = project
	start(t, engine, project, "good", nil, nil, "sleep 600", "no")
	sick := start(t, engine, project, "sick", nil, []string{"CMD", "false"}, "echo I am ill; sleep 600", "no")
	loop := start(t, engine, project, "loop", nil, nil, "echo no configuration; exit 3", "always")
	gone := start(t, engine, project, "gone", nil, nil, "echo bye; exit 4", "no")
	start(t, engine, project, "updater", []string{updaterToken + "= "}, nil, "sleep 600", "no")
	await(t, engine, sick, func(c docker.Container) bool { return c.Health == docker.HealthUnhealthy })
	await(t, engine, loop, func(c docker.Container) bool { return c.RestartCount >= manyRestarts })
	await(t, engine, gone, func(c docker.Container) bool { return c.State == docker.StateExited })

	got := d.application(t.Context(), a, true)
	wants(t, got, "services", Problem, "sick is unhealthy; its last lines: I am ill", "healthcheck by hand")
	wants(t, got, "services", Problem, "loop is restarted again and again", "docker logs")
	wants(t, got, "services", Problem, "gone exited with code 4; its last lines: bye", "docker start")
	wants(t, got, "services", Problem, "missing has no container", "docker compose up -d missing")
	wants(t, got, "registry", Problem, "127.0.0.1:1 cannot be asked", "docker login 127.0.0.1:1")
	for _, f := range got {
		if f.Check == "services" && f.Found[:4] == "good" {
			t.Errorf("a service that is well: %+v", f)
		}
	}

	token := start(t, engine, project+"2", "updater", []string{updaterToken + "=secret"}, nil, "echo cannot open the data directory; exit 1", "no")
	await(t, engine, token, func(c docker.Container) bool { return c.State == docker.StateExited })
	found := d.updaters(t.Context())
	wants(t, found, "updater", Problem, project+"-updater-1 has no UPDATER_TOKEN", "openssl rand")
	wants(t, found, "updater", Problem, "exited with code 1); its last lines: cannot open the data directory", "docker start")

	host := d.engine(t.Context())
	wants(t, host, "engine", OK, "Docker engine", "")
	wants(t, host, "clock", OK, "agrees", "")
	wants(t, host, "git", OK, "git", "")
}
