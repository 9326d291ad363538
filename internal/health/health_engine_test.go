// SPDX-License-Identifier: Apache-2.0

//go:build engine

package health

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/docker/dockertest"
)

type realWorld struct {
	*dockertest.Env
	image string
}

func (w *realWorld) container(t *testing.T, test []string) string {
	cfg := &container.Config{Image: w.image}
	if test != nil {
		cfg.Healthcheck = &container.HealthConfig{Test: test, Timeout: 3 * time.Second}
	}
	return w.Run("", cfg, nil)
}

func (w *realWorld) kill(t *testing.T, id string) {
	if err := w.ContainerKill(t.Context(), id, "KILL"); err != nil {
		t.Error(err)
	}
	if _, err := w.WaitExit(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func (w *realWorld) remove(t *testing.T, id string) {
	if err := w.Stop(t.Context(), id, 0, ""); err != nil {
		t.Error(err)
	}
	if err := w.Remove(t.Context(), id, true); err != nil {
		t.Error(err)
	}
}

func TestEngineConforms(t *testing.T) {
	e := dockertest.New(t, "health")
	conformance(t, &realWorld{Env: e, image: e.Image("fairlead-test-health:1", `CMD ["serve"]`)})
}

// TestCrashLoop needs the engine's own restarts.
func TestCrashLoop(t *testing.T) {
	e := dockertest.New(t, "health")
	img := e.Image("fairlead-test-health:2")
	p := NewProber(e, 0)
	run := func(policy string, retries int, cmd ...string) string {
		return e.Run("", &container.Config{Image: img, Cmd: cmd}, &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(policy), MaximumRetryCount: retries}})
	}
	u := AsUnhealthy(p.Gate(t.Context(), run("always", 0, "exit", "2", "200ms"), Policy{Timeout: time.Minute, MaxRestarts: 2}, nil))
	if u == nil || u.Restarts < 2 || u.TimedOut {
		t.Errorf("%+v", u)
	}
	u = AsUnhealthy(p.Completed(t.Context(), run("on-failure", 2, "exit", "2"), time.Minute))
	if u == nil || u.ExitCode != 2 || u.Restarts != 2 {
		t.Errorf("%+v", u)
	}
	u = AsUnhealthy(p.Completed(t.Context(), run("always", 0, "exit", "0"), time.Minute))
	if u == nil || u.TimedOut {
		t.Errorf("%+v", u)
	}
	if err := p.Completed(t.Context(), run("no", 0, "exit", "0", "300ms"), time.Minute); err != nil {
		t.Error(err)
	}
	u = AsUnhealthy(p.Soak(t.Context(), []string{run("no", 0, "serve"), run("always", 0, "exit", "4", "500ms")}, time.Minute))
	if u == nil {
		t.Error("a crash was not noticed")
	}
}

var _ Engine = (*docker.Client)(nil)
