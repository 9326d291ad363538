// SPDX-License-Identifier: Apache-2.0

//go:build engine

package selfswap

import (
	"context"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/docker/dockertest"
	"github.com/fairlead-dev/fairlead/internal/health"
)

// realWorld is the engine of the environment, for one test.
type realWorld struct {
	*dockertest.Env
	*health.Prober
	image string
}

func (w *realWorld) container(t *testing.T, name string, k kind, policy docker.RestartPolicy) string {
	t.Helper()
	cfg := &container.Config{Image: w.image, Healthcheck: &container.HealthConfig{Test: []string{"CMD-SHELL", "say ok"}, Timeout: 3 * time.Second}}
	switch k {
	case sick:
		cfg.Healthcheck.Test = []string{"CMD-SHELL", "has /never"}
	case dies:
		cfg.Cmd = []string{"exit", "3"}
	}
	return w.Create(name, cfg, &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(policy.Name)}}, nil)
}

func (w *realWorld) remove(t *testing.T, id string) {
	if err := w.Remove(context.WithoutCancel(t.Context()), id, true); err != nil {
		t.Error(err)
	}
}

func TestEngineConforms(t *testing.T) {
	image := dockertest.New(t, "selfswap").Image("fairlead-test-selfswap:1", `CMD ["serve"]`)
	conformance(t, func(t *testing.T) world {
		e := dockertest.New(t, "selfswap")
		return &realWorld{Env: e, Prober: health.NewProber(e, 0), image: image}
	})
}
