// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// world is an engine with a hand to play with it; the fake and the real one
// both pass the same suite, so that what tests say of the fake is true.
type world interface {
	Engine
	// container creates and starts one that serves, with the healthcheck.
	container(t *testing.T, test []string) string
	// kill ends its run, remove takes it away.
	kill(t *testing.T, id string)
	remove(t *testing.T, id string)
}

func conformance(t *testing.T, w world) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	app := func(words ...string) []string { return append([]string{"/bin/testapp"}, words...) }

	t.Run("a running container", func(t *testing.T) {
		id := w.container(t, []string{"CMD-SHELL", "has /tmp/ok"})
		c, err := w.InspectContainer(ctx, id)
		if err != nil || c.State != docker.StateRunning || c.StartedAt.IsZero() || c.RestartCount != 0 || c.RestartPolicy.Name != "no" || c.Name == "" {
			t.Errorf("%+v, %v", c, err)
		}
		if c.Healthcheck == nil || c.Healthcheck.Timeout != 3*time.Second || c.Healthcheck.Retries != 3 || c.Health != docker.HealthStarting {
			t.Errorf("healthcheck %+v, health %s", c.Healthcheck, c.Health)
		}
	})
	t.Run("commands", func(t *testing.T) {
		id := w.container(t, nil)
		for _, tt := range []struct {
			cmd            []string
			code           int
			stdout, stderr string
			truncated      bool
		}{
			{app("say", "hello"), 0, "hello\n", "", false},
			{app("complain", "no"), 3, "", "no\n", false},
			{app("say", "0123456789"), 0, "012345678", "", true},
			{app("has", "/tmp/x"), 1, "missing /", "", true},
			{app("touch", "/tmp/x"), 0, "", "", false},
			{[]string{"/bin/sh", "-c", "has /tmp/x"}, 0, "", "", false},
		} {
			out, err := w.ExecOutput(ctx, id, tt.cmd, docker.ExecOptions{}, 9)
			if err != nil || out.ExitCode != tt.code || string(out.Stdout) != tt.stdout || string(out.Stderr) != tt.stderr || out.Truncated != tt.truncated {
				t.Errorf("%v: %+v %q %q, %v", tt.cmd, out, out.Stdout, out.Stderr, err)
			}
		}
	})
	t.Run("a command that hangs is left when the context ends", func(t *testing.T) {
		id := w.container(t, nil)
		bounded, cancel := context.WithTimeoutCause(ctx, 300*time.Millisecond, errors.New("own cause"))
		defer cancel()
		if _, err := w.ExecOutput(bounded, id, app("hang"), docker.ExecOptions{}, 9); err == nil || !strings.Contains(err.Error(), "own cause") {
			t.Errorf("err %v", err)
		}
	})
	t.Run("an exited container", func(t *testing.T) {
		id := w.container(t, nil)
		w.kill(t, id)
		c, err := w.InspectContainer(ctx, id)
		if err != nil || c.State != docker.StateExited || c.ExitCode != 137 || c.Running() || !c.FinishedAt.After(c.StartedAt) {
			t.Errorf("%+v, %v", c, err)
		}
		if _, err := w.ExecOutput(ctx, id, app("say", "x"), docker.ExecOptions{}, 9); !docker.IsConflict(err) {
			t.Errorf("exec: %v", err)
		}
	})
	t.Run("a removed container", func(t *testing.T) {
		id := w.container(t, nil)
		w.remove(t, id)
		if _, err := w.InspectContainer(ctx, id); !docker.IsNotFound(err) {
			t.Errorf("inspect: %v", err)
		}
		if _, err := w.ExecOutput(ctx, id, app("say", "x"), docker.ExecOptions{}, 9); !docker.IsNotFound(err) {
			t.Errorf("exec: %v", err)
		}
	})
	t.Run("events", func(t *testing.T) {
		id, other := w.container(t, nil), w.container(t, nil)
		watching, stop := context.WithCancel(ctx)
		defer stop()
		var got []string
		err := w.Watch(watching, docker.EventFilter{Types: []string{"container"}, Containers: []string{id}, Actions: []string{"die", "destroy"}}, func(e docker.Event) {
			switch {
			case e.Resync:
				got = append(got, "resync")
				w.kill(t, other)
				w.kill(t, id)
				w.remove(t, id)
			default:
				got = append(got, e.Action+e.Attributes["exitCode"])
				if e.ID != id {
					t.Errorf("event of another container: %+v", e)
				}
			}
			if e.Action == "destroy" {
				stop()
			}
		})
		if want := "resync die137 destroy"; strings.Join(got, " ") != want || !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("gate: ready when its test passes", func(t *testing.T) {
		id := w.container(t, []string{"CMD", "/bin/testapp", "has", "/tmp/ok"})
		p := NewProber(w, 0)
		var reasons []string
		err := p.Gate(ctx, id, Policy{MinHealthy: 200 * time.Millisecond}, func(r string) {
			reasons = append(reasons, r)
			if strings.Contains(r, "missing") {
				if _, err := w.ExecOutput(ctx, id, app("touch", "/tmp/ok"), docker.ExecOptions{}, 9); err != nil {
					t.Error(err)
				}
			}
		})
		want := "waiting for its healthcheck|healthcheck exit 1: missing /tmp/ok|healthy, but not yet for 200 ms|healthy"
		if got := strings.Join(reasons, "|"); err != nil || got != want {
			t.Errorf("%s, %v", got, err)
		}
	})
	t.Run("gate: fails at once when it exits", func(t *testing.T) {
		id := w.container(t, []string{"CMD", "/bin/testapp", "has", "/tmp/ok"})
		err := NewProber(w, 0).Gate(ctx, id, Policy{Timeout: time.Hour}, func(r string) {
			if strings.Contains(r, "missing") {
				w.kill(t, id)
			}
		})
		if u := AsUnhealthy(err); u == nil || !strings.Contains(u.Reason, "exited with code 137") || u.ExitCode != 137 || !strings.Contains(u.LastOutput, "missing") {
			t.Errorf("%v", err)
		}
	})
	t.Run("gate: fails at once when it is removed", func(t *testing.T) {
		id := w.container(t, nil)
		err := NewProber(w, 0).Gate(ctx, id, Policy{Timeout: time.Hour, MinRunning: time.Hour}, func(string) { w.remove(t, id) })
		if u := AsUnhealthy(err); u == nil {
			t.Errorf("%v", err)
		}
	})
	t.Run("completed", func(t *testing.T) {
		id := w.container(t, nil)
		w.kill(t, id)
		err := NewProber(w, 0).Completed(ctx, id, 0)
		if u := AsUnhealthy(err); u == nil || u.ExitCode != 137 {
			t.Errorf("%v", err)
		}
	})
}

type fakeWorld struct {
	*fakeEngine
	next int
}

func (w *fakeWorld) container(_ *testing.T, test []string) string {
	w.next++
	id := w.create(strings.Repeat("c", w.next), test, docker.RestartPolicy{Name: "no"})
	w.start(id)
	return id
}

func (w *fakeWorld) kill(_ *testing.T, id string)   { w.die(id, 137) }
func (w *fakeWorld) remove(_ *testing.T, id string) { w.fakeEngine.remove(id) }

func TestFakeConforms(t *testing.T) { conformance(t, &fakeWorld{fakeEngine: newFake()}) }
