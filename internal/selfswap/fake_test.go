// SPDX-License-Identifier: Apache-2.0

package selfswap

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
)

// fakeEngine plays an engine, and its prober, in memory.
type fakeEngine struct {
	mu         sync.Mutex
	containers map[string]*docker.Container
	kinds      map[string]kind
	// refuse makes calls fail: "start ID" -> error.
	refuse map[string]error
	// away counts the calls that the engine will not answer.
	away int
}

func newFake() *fakeEngine {
	return &fakeEngine{containers: map[string]*docker.Container{}, kinds: map[string]kind{}, refuse: map[string]error{}}
}

func (e *fakeEngine) container(_ *testing.T, name string, k kind, policy docker.RestartPolicy) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := fmt.Sprintf("%08d", len(e.kinds)+1) + strings.Repeat("0", 56)
	e.containers[id] = &docker.Container{ID: id, Name: name, State: docker.StateCreated, RestartPolicy: policy}
	e.kinds[id] = k
	return id
}

func (e *fakeEngine) remove(_ *testing.T, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, id)
}

func (e *fakeEngine) get(call, id string) (*docker.Container, error) {
	if e.away > 0 {
		e.away--
		return nil, fmt.Errorf("fake: %w", cerrdefs.ErrUnavailable)
	}
	if err := e.refuse[call+" "+id]; err != nil {
		return nil, err
	}
	c, ok := e.containers[id]
	if !ok {
		for _, other := range e.containers {
			if other.Name == id {
				return other, nil
			}
		}
		return nil, fmt.Errorf("no such container %s: %w", id, cerrdefs.ErrNotFound)
	}
	return c, nil
}

func (e *fakeEngine) InspectContainer(_ context.Context, id string) (docker.Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.get("inspect", id)
	if err != nil {
		return docker.Container{}, err
	}
	return *c, nil
}

func (e *fakeEngine) StopAndKeep(_ context.Context, id string, _ time.Duration, _ string) (docker.RestartPolicy, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.get("stop", id)
	if err != nil {
		return docker.RestartPolicy{}, err
	}
	before := c.RestartPolicy
	c.RestartPolicy = docker.RestartPolicy{Name: "no"}
	if c.State != docker.StateCreated {
		c.State = docker.StateExited
	}
	return before, nil
}

func (e *fakeEngine) Start(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.get("start", id)
	if err != nil {
		return err
	}
	c.State = docker.StateRunning
	if e.kinds[id] == dies {
		c.State, c.ExitCode = docker.StateExited, 3
	}
	return nil
}

func (e *fakeEngine) Rename(_ context.Context, id, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.get("rename", id)
	if err != nil {
		return err
	}
	for _, other := range e.containers {
		if other != c && other.Name == name {
			return fmt.Errorf("the name %s is in use: %w", name, cerrdefs.ErrConflict)
		}
	}
	c.Name = name
	return nil
}

func (e *fakeEngine) SetRestartPolicy(_ context.Context, id string, p docker.RestartPolicy) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.get("policy", id)
	if err != nil {
		return err
	}
	c.RestartPolicy = p
	return nil
}

func (e *fakeEngine) Gate(ctx context.Context, id string, _ health.Policy, tell func(string)) error {
	c, err := e.InspectContainer(ctx, id)
	switch {
	case err != nil:
		return err
	case c.State != docker.StateRunning:
		return &health.Unhealthy{Container: c.Name, Reason: fmt.Sprintf("exited with code %d", c.ExitCode)}
	case e.kinds[id] == sick:
		tell("healthcheck exit 1")
		return &health.Unhealthy{Container: c.Name, Reason: "not healthy within 2 s: healthcheck exit 1: missing", TimedOut: true}
	}
	return nil
}

func (e *fakeEngine) Soak(ctx context.Context, _ []string, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
