// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// fakeEngine plays an engine in memory. Its containers run the words that the
// engine tests' program knows: serve, say, complain, hang, exit, touch, has.
type fakeEngine struct {
	mu         sync.Mutex
	containers map[string]*fakeContainer
	watchers   map[chan docker.Event]docker.EventFilter
	down       bool
	execs      int // running now
	maxExecs   int
	total      int
}

type fakeContainer struct {
	docker.Container
	files map[string]bool
	slow  time.Duration // what every exec takes
	died  chan struct{} // closed when the run ends
}

func newFake() *fakeEngine {
	return &fakeEngine{containers: map[string]*fakeContainer{}, watchers: map[chan docker.Event]docker.EventFilter{}}
}

// create makes a container; test is the healthcheck, nil for none.
func (e *fakeEngine) create(name string, test []string, policy docker.RestartPolicy) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &fakeContainer{files: map[string]bool{}, Container: docker.Container{
		ID: "id-" + name, Name: name, State: docker.StateCreated, Health: docker.HealthNone, RestartPolicy: policy,
	}}
	if test != nil {
		c.Healthcheck = &docker.Healthcheck{Test: test, Timeout: 3 * time.Second, Interval: 30 * time.Second, Retries: 3, Shell: []string{"/bin/sh", "-c"}}
		c.Health = docker.HealthStarting
	}
	e.containers[c.ID] = c
	return c.ID
}

func (e *fakeEngine) start(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.startLocked(id)
}

func (e *fakeEngine) startLocked(id string) {
	c := e.containers[id]
	c.State, c.StartedAt, c.ExitCode, c.died = docker.StateRunning, time.Now(), 0, make(chan struct{})
	e.emit(id, "start", nil)
}

// die ends the run; the policy decides what follows.
func (e *fakeEngine) die(id string, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	close(c.died)
	c.State, c.ExitCode, c.FinishedAt = docker.StateExited, code, time.Now()
	e.emit(id, "die", map[string]string{"exitCode": strconv.Itoa(code)})
	if c.RestartPolicy.Restarts(code) && (c.RestartPolicy.MaximumRetryCount == 0 || c.RestartCount < c.RestartPolicy.MaximumRetryCount) {
		c.RestartCount++
		c.State = docker.StateRestarting
	}
}

// change edits a container and tells the watchers.
func (e *fakeEngine) change(id, action string, edit func(*fakeContainer)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	edit(e.containers[id])
	e.emit(id, action, nil)
}

func (e *fakeEngine) remove(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, id)
	e.emit(id, "destroy", nil)
}

func (e *fakeEngine) setDown(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
}

func (e *fakeEngine) emit(id, action string, attributes map[string]string) {
	for ch, f := range e.watchers {
		if len(f.Containers) > 0 && f.Containers[0] != id {
			continue
		}
		matches := len(f.Actions) == 0
		for _, a := range f.Actions {
			matches = matches || a == action
		}
		if matches {
			ch <- docker.Event{Type: "container", Action: action, ID: id, Attributes: attributes, Time: time.Now()}
		}
	}
}

func (e *fakeEngine) get(id string) (*fakeContainer, error) {
	c, ok := e.containers[id]
	switch {
	case e.down:
		return nil, fmt.Errorf("fake: %w", cerrdefs.ErrUnavailable)
	case !ok:
		return nil, fmt.Errorf("no such container %s: %w", id, cerrdefs.ErrNotFound)
	}
	return c, nil
}

func (e *fakeEngine) InspectContainer(ctx context.Context, id string) (docker.Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil {
		return docker.Container{}, ctx.Err()
	}
	c, err := e.get(id)
	if err != nil {
		return docker.Container{}, err
	}
	return c.Container, nil
}

func (e *fakeEngine) ExecOutput(ctx context.Context, id string, cmd []string, _ docker.ExecOptions, limit int) (docker.Output, error) {
	e.mu.Lock()
	c, err := e.get(id)
	if err == nil && c.State != docker.StateRunning {
		err = fmt.Errorf("container %s is not running: %w", id, cerrdefs.ErrConflict)
	}
	if err != nil {
		e.mu.Unlock()
		return docker.Output{}, err
	}
	died, slow := c.died, c.slow
	e.total++
	e.execs++
	e.maxExecs = max(e.maxExecs, e.execs)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.execs--
		e.mu.Unlock()
	}()

	words := cmd[1:]
	if strings.HasSuffix(cmd[0], "/sh") {
		words = strings.Fields(cmd[2])
	}
	if words[0] == "hang" {
		slow = time.Hour
	}
	if slow > 0 {
		t := time.NewTimer(slow)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return docker.Output{ExitCode: -1}, context.Cause(ctx)
		case <-died:
			return docker.Output{ExitCode: 137}, nil
		case <-t.C:
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := docker.Output{}
	switch text := strings.Join(words[1:], " ") + "\n"; words[0] {
	case "say":
		out.Stdout = []byte(text)
	case "complain":
		out.Stderr, out.ExitCode = []byte(text), 3
	case "touch":
		c.files[words[1]] = true
	case "has":
		if !c.files[words[1]] {
			out.Stdout, out.ExitCode = []byte("missing "+text), 1
		}
	default:
		out.Stdout, out.ExitCode = []byte("no such file"), 127
	}
	if len(out.Stdout) > limit {
		out.Stdout, out.Truncated = out.Stdout[:limit], true
	}
	return out, nil
}

func (e *fakeEngine) Watch(ctx context.Context, filter docker.EventFilter, fn func(docker.Event)) error {
	ch := make(chan docker.Event, 1000)
	e.mu.Lock()
	e.watchers[ch] = filter
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.watchers, ch)
		e.mu.Unlock()
	}()
	fn(docker.Event{Resync: true})
	for {
		select {
		case ev := <-ch:
			fn(ev)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
