// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

var (
	noRestart = docker.RestartPolicy{Name: "no"}
	always    = docker.RestartPolicy{Name: "always"}
	hasOK     = []string{"CMD", "/bin/testapp", "has", "/ok"}
)

// after runs f at a time of the bubble's clock.
func after(d time.Duration, f func()) { time.AfterFunc(d, f) }

func TestGate(t *testing.T) {
	tests := []struct {
		name    string
		test    []string
		restart docker.RestartPolicy
		policy  Policy
		play    func(e *fakeEngine, id string)
		want    string        // reason; empty: ready
		at      time.Duration // when the gate returned
		check   func(t *testing.T, u *Unhealthy)
	}{
		{
			name: "passes soon after it becomes ready", test: hasOK, restart: noRestart, policy: Policy{MinHealthy: -1},
			play: func(e *fakeEngine, id string) {
				after(2050*time.Millisecond, func() { e.change(id, "x", func(c *fakeContainer) { c.files["/ok"] = true }) })
			},
			at: 2100 * time.Millisecond,
		},
		{
			name: "minimum time exactly", test: hasOK, restart: noRestart,
			play: func(e *fakeEngine, id string) { e.containers[id].files["/ok"] = true },
			at:   5 * time.Second,
		},
		{
			name: "no healthcheck", restart: noRestart, policy: Policy{MinRunning: 1234 * time.Millisecond},
			at: 1234 * time.Millisecond,
		},
		{
			name: "exit is noticed at once, not at the next probe", test: hasOK, restart: noRestart,
			play: func(e *fakeEngine, id string) {
				e.containers[id].slow = 2 * time.Second
				after(1500*time.Millisecond, func() { e.die(id, 4) })
			},
			want: "exited with code 4 after 1.5 s", at: 1500 * time.Millisecond,
			check: func(t *testing.T, u *Unhealthy) {
				if u.ExitCode != 4 || u.Container != "app" || u.TimedOut {
					t.Errorf("%+v", u)
				}
			},
		},
		{
			name: "deadline says what the test said", test: hasOK, restart: noRestart, policy: Policy{Timeout: 950 * time.Millisecond},
			want: "not healthy within 950 ms: healthcheck exit 1: missing /ok (10 failed attempts)", at: 950 * time.Millisecond,
			check: func(t *testing.T, u *Unhealthy) {
				if !u.TimedOut || u.LastOutput != "missing /ok" || u.ExitCode != 0 {
					t.Errorf("%+v", u)
				}
			},
		},
		{
			name: "a test that hangs has its own timeout", test: []string{"CMD", "x", "hang"}, restart: noRestart, policy: Policy{Timeout: 4 * time.Second},
			want: "not healthy within 4 s: healthcheck timed out after 3 s (1 failed attempts)", at: 4 * time.Second,
		},
		{
			name: "a test that is not there", test: []string{"CMD-SHELL", "curl localhost"}, restart: noRestart, policy: Policy{Timeout: 50 * time.Millisecond},
			want: "not healthy within 50 ms: healthcheck exit 127: no such file (1 failed attempts)", at: 50 * time.Millisecond,
		},
		{
			name: "crash loop", test: hasOK, restart: always,
			play: func(e *fakeEngine, id string) {
				for i := range 3 {
					after(time.Duration(2*i+1)*time.Second, func() { e.die(id, 9) })
					after(time.Duration(2*i+2)*time.Second, func() { e.start(id) })
				}
			},
			want: "restarted 3 times, last exited with code 9 after 1 s", at: 5 * time.Second,
			check: func(t *testing.T, u *Unhealthy) {
				if u.Restarts != 3 {
					t.Errorf("%+v", u)
				}
			},
		},
		{
			name: "a probe of the run before does not count", test: hasOK, restart: always, policy: Policy{MinHealthy: -1, Timeout: 20 * time.Second},
			play: func(e *fakeEngine, id string) {
				e.containers[id].files["/ok"] = true
				e.containers[id].slow = 10 * time.Second
				after(time.Second, func() {
					e.die(id, 1)
					e.containers[id].slow = 0
					e.containers[id].files = map[string]bool{}
					e.start(id)
				})
			},
			want: "not healthy within 20 s: healthcheck exit 1: missing /ok", at: 20 * time.Second,
		},
		{
			name: "removed", test: hasOK, restart: noRestart,
			play: func(e *fakeEngine, id string) { after(time.Second, func() { e.remove(id) }) },
			want: "the container was removed", at: time.Second,
		},
		{
			name: "an engine that is away for a while", test: hasOK, restart: noRestart, policy: Policy{MinHealthy: -1},
			play: func(e *fakeEngine, id string) {
				e.setDown(true)
				after(3*time.Second, func() { e.setDown(false); e.change(id, "start", func(c *fakeContainer) { c.files["/ok"] = true }) })
			},
			at: 3 * time.Second,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newFake()
				id := e.create("app", tt.test, tt.restart)
				e.start(id)
				if tt.play != nil {
					tt.play(e, id)
				}
				began := time.Now()
				err := NewProber(e, 0).Gate(t.Context(), id, tt.policy, nil)
				u := AsUnhealthy(err)
				switch {
				case tt.want == "" && err != nil:
					t.Errorf("err %v", err)
				case tt.want != "" && (u == nil || !strings.HasPrefix(u.Reason, tt.want)):
					t.Errorf("err %v, want %s", err, tt.want)
				case tt.check != nil:
					tt.check(t, u)
				}
				if took := time.Since(began); took != tt.at {
					t.Errorf("returned after %v, want %v", took, tt.at)
				}
			})
		})
	}
}

func TestGateEngineAwayAtDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFake()
		id := e.create("app", hasOK, noRestart)
		e.start(id)
		e.setDown(true)
		var told []string
		err := NewProber(e, 0).Gate(t.Context(), id, Policy{Timeout: 5 * time.Second}, func(r string) { told = append(told, r) })
		if !docker.IsUnavailable(err) || AsUnhealthy(err) != nil {
			t.Errorf("an engine that is away makes the container unhealthy: %v", err)
		}
		if !slices.Equal(told, []string{"the Docker engine does not answer"}) {
			t.Errorf("%q", told)
		}
	})
}

func TestGateCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFake()
		id := e.create("app", []string{"CMD", "x", "hang"}, noRestart)
		e.start(id)
		why := errors.New("superseded")
		ctx, cancel := context.WithCancelCause(t.Context())
		after(time.Second, func() { cancel(why) })
		if err := NewProber(e, 0).Gate(ctx, id, Policy{}, nil); !errors.Is(err, why) {
			t.Errorf("err %v", err)
		}
		// synctest fails the test if a goroutine of the gate is left.
	})
}

// TestProbesAtOnce: quick probes take turns; ones that hang do not hold up others.
func TestProbesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFake()
		p := NewProber(e, 2)
		done := make(chan error)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			id := e.create(name, hasOK, noRestart)
			e.containers[id].files["/ok"] = true
			e.containers[id].slow = 50 * time.Millisecond
			e.start(id)
			go func() { done <- p.Gate(t.Context(), id, Policy{MinHealthy: time.Second}, nil) }()
		}
		for range 5 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if e.maxExecs != 2 {
			t.Errorf("%d probes at once", e.maxExecs)
		}
		for _, name := range []string{"h1", "h2", "h3"} {
			id := e.create(name, []string{"CMD", "x", "hang"}, noRestart)
			e.start(id)
			go func() { done <- p.Gate(t.Context(), id, Policy{Timeout: time.Minute}, nil) }()
		}
		id := e.create("good", hasOK, noRestart)
		e.containers[id].files["/ok"] = true
		e.start(id)
		began := time.Now()
		if err := p.Gate(t.Context(), id, Policy{MinHealthy: -1}, nil); err != nil || time.Since(began) > 2*slotHold {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		for range 3 {
			if AsUnhealthy(<-done) == nil {
				t.Error("a hanging test passed")
			}
		}
	})
}

func TestCompleted(t *testing.T) {
	tests := []struct {
		name    string
		restart docker.RestartPolicy
		timeout time.Duration
		play    func(e *fakeEngine, id string)
		want    string
		at      time.Duration
	}{
		{name: "done", restart: noRestart, play: func(e *fakeEngine, id string) { after(90*time.Second, func() { e.die(id, 0) }) }, at: 90 * time.Second},
		{name: "failed", restart: noRestart, play: func(e *fakeEngine, id string) { after(1500*time.Millisecond, func() { e.die(id, 3) }) }, want: "exited with code 3 after 1.5 s", at: 1500 * time.Millisecond},
		{name: "late", restart: noRestart, timeout: 10 * time.Second, want: "still running after 10 s", at: 10 * time.Second},
		{name: "no limit", restart: noRestart, timeout: -1, play: func(e *fakeEngine, id string) { after(9*time.Hour, func() { e.die(id, 0) }) }, at: 9 * time.Hour},
		{name: "done in the last moment", restart: noRestart, timeout: 10 * time.Second, play: func(e *fakeEngine, id string) {
			after(10*time.Second-time.Nanosecond, func() { e.die(id, 0) })
		}, at: 10*time.Second - time.Nanosecond},
		{name: "second try of on-failure", restart: docker.RestartPolicy{Name: "on-failure"}, play: func(e *fakeEngine, id string) {
			after(time.Second, func() { e.die(id, 1) })
			after(2*time.Second, func() { e.start(id) })
			after(3*time.Second, func() { e.die(id, 0) })
		}, at: 3 * time.Second},
		{name: "restarted for ever", restart: always, play: func(e *fakeEngine, id string) { after(time.Second, func() { e.die(id, 0) }) }, want: "it runs again after every exit", at: time.Second},
		{name: "removed", restart: noRestart, play: func(e *fakeEngine, id string) { after(time.Second, func() { e.remove(id) }) }, want: "the container was removed", at: time.Second},
		{name: "engine away", restart: noRestart, play: func(e *fakeEngine, id string) {
			e.setDown(true)
			after(1500*time.Millisecond, func() { e.die(id, 0); e.setDown(false) })
		}, at: 1500 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newFake()
				id := e.create("app", nil, tt.restart)
				e.start(id)
				if tt.play != nil {
					tt.play(e, id)
				}
				began := time.Now()
				err := NewProber(e, 0).Completed(t.Context(), id, tt.timeout)
				u := AsUnhealthy(err)
				if (tt.want == "") != (err == nil) || (tt.want != "" && (u == nil || !strings.HasPrefix(u.Reason, tt.want))) {
					t.Errorf("err %v, want %q", err, tt.want)
				}
				if took := time.Since(began).Round(time.Millisecond); took != tt.at.Round(time.Millisecond) {
					t.Errorf("returned after %v, want %v", took, tt.at)
				}
			})
		})
	}
}

func TestSoak(t *testing.T) {
	tests := []struct {
		name string
		play func(e *fakeEngine, id string)
		want string
		at   time.Duration
	}{
		{name: "all is well", at: 30 * time.Second},
		{name: "exits", play: func(e *fakeEngine, id string) { after(7*time.Second, func() { e.die(id, 2) }) }, want: "container b: exited with code 2 after 7 s", at: 7 * time.Second},
		{name: "restarted by hand", play: func(e *fakeEngine, id string) { after(7*time.Second, func() { e.start(id) }) }, want: "container b: it was restarted", at: 7 * time.Second},
		{name: "removed", play: func(e *fakeEngine, id string) { after(7*time.Second, func() { e.remove(id) }) }, want: "container b: the container was removed", at: 7 * time.Second},
		{name: "paused", play: func(e *fakeEngine, id string) {
			after(7*time.Second, func() { e.change(id, "pause", func(c *fakeContainer) { c.State = docker.StatePaused }) })
		}, want: "container b: the container is paused", at: 7 * time.Second},
		{name: "the engine calls it unhealthy", play: func(e *fakeEngine, id string) {
			after(7*time.Second, func() {
				e.change(id, "health_status", func(c *fakeContainer) { c.Health = docker.HealthUnhealthy })
			})
		}, want: "container b: the engine calls it unhealthy", at: 7 * time.Second},
		{name: "the engine's old opinion does not count", play: func(e *fakeEngine, id string) { e.containers[id].Health = docker.HealthUnhealthy }, at: 30 * time.Second},
		{name: "its test fails, three times in a row", play: func(e *fakeEngine, id string) {
			after(7*time.Second, func() { e.change(id, "x", func(c *fakeContainer) { delete(c.files, "/ok") }) })
		}, want: "container b: healthcheck exit 1: missing /ok (3 times in a row", at: 12 * time.Second},
		{name: "its test fails once", play: func(e *fakeEngine, id string) {
			after(7*time.Second, func() { e.change(id, "x", func(c *fakeContainer) { delete(c.files, "/ok") }) })
			after(9*time.Second, func() { e.change(id, "x", func(c *fakeContainer) { c.files["/ok"] = true }) })
		}, at: 30 * time.Second},
		{name: "the engine is away at the end", play: func(e *fakeEngine, id string) {
			after(29*time.Second, func() { e.setDown(true) })
			after(39*time.Second, func() { e.setDown(false); e.die(id, 1) })
		}, want: "container b: exited with code 1", at: 39 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newFake()
				var ids []string
				for _, name := range []string{"a", "b"} {
					id := e.create(name, hasOK, noRestart)
					e.containers[id].files["/ok"] = true
					e.start(id)
					ids = append(ids, id)
				}
				if tt.play != nil {
					tt.play(e, ids[1])
				}
				began := time.Now()
				err := NewProber(e, 0).Soak(t.Context(), ids, 30*time.Second)
				if (tt.want == "") != (err == nil) || (err != nil && !strings.HasPrefix(err.Error(), tt.want)) {
					t.Errorf("err %v, want %q", err, tt.want)
				}
				// Looks without an event are two seconds apart.
				if took := time.Since(began); took < tt.at || took > tt.at+soakInterval {
					t.Errorf("returned after %v, want %v", took, tt.at)
				}
			})
		})
	}
}

func TestProbesBecomeRarer(t *testing.T) {
	for _, c := range []struct {
		waited          time.Duration
		silent, awaited bool
		want            time.Duration
	}{
		{0, false, true, 100 * time.Millisecond},
		{2 * time.Second, false, false, 100 * time.Millisecond},
		{10 * time.Second, false, true, 500 * time.Millisecond},
		{10 * time.Minute, false, false, 2 * time.Second},
		{0, true, false, 400 * time.Millisecond},
		{8 * time.Second, true, false, 400 * time.Millisecond},
		{0, true, true, time.Second},
		{20 * time.Second, true, true, time.Second},
		{20 * time.Second, true, false, time.Second},
		{10 * time.Minute, true, true, 2 * time.Second},
	} {
		if got := cadence(c.waited, c.silent, c.awaited); got != c.want {
			t.Errorf("after %s, silent %t, awaited %t: %s, want %s", c.waited, c.silent, c.awaited, got, c.want)
		}
	}
}

func TestFirstPause(t *testing.T) {
	for _, c := range []struct {
		silent, awaited bool
		timeout, want   time.Duration
	}{
		{true, true, time.Minute, 400 * time.Millisecond},
		{true, true, time.Second, 250 * time.Millisecond},
		{false, true, time.Minute, 0}, // something listens, or nobody knows
		{true, false, time.Minute, 0},
		{false, false, time.Minute, 0},
	} {
		if got := firstPause(c.silent, c.awaited, c.timeout); got != c.want {
			t.Errorf("silent %t, awaited %t, within %s: %s, want %s", c.silent, c.awaited, c.timeout, got, c.want)
		}
	}
}
