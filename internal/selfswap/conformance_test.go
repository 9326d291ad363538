// SPDX-License-Identifier: Apache-2.0

package selfswap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// kind is what a container does once it is started.
type kind string

const (
	good kind = "good"
	// sick runs and never becomes healthy.
	sick kind = "sick"
	dies kind = "dies"
	// mute is healthy, but no daemon in it reports.
	mute kind = "mute"
)

// world is an engine with a hand to play with it: the fake and the real one pass
// the same suite.
type world interface {
	Engine
	Prober
	// container makes one that is not started.
	container(t *testing.T, name string, k kind, policy docker.RestartPolicy) string
	remove(t *testing.T, id string)
}

var errKilled = errors.New("killed")

// recorder is the engine as a helper sees it. It plays the daemon that reports
// from the successor, and kills the helper before or after an effect.
type recorder struct {
	world
	dir  string
	to   string
	mute bool

	mu      sync.Mutex
	effects []string
	// kill the helper at the effect of this number, counted from 1: before it,
	// or after it.
	killAt int
	after  bool
	cancel context.CancelCauseFunc
}

// effect runs do as the next effect.
func (r *recorder) effect(what string, do func() error) error {
	r.mu.Lock()
	r.effects = append(r.effects, what)
	now := r.killAt == len(r.effects)
	r.mu.Unlock()
	if now && !r.after {
		r.cancel(errKilled)
		return errKilled
	}
	err := do()
	if now {
		r.cancel(errKilled)
		return errKilled
	}
	return err
}

func (r *recorder) StopAndKeep(ctx context.Context, id string, d time.Duration, signal string) (p docker.RestartPolicy, err error) {
	err = r.effect("stop", func() error {
		p, err = r.world.StopAndKeep(ctx, id, d, signal)
		return err
	})
	return p, err
}

func (r *recorder) Start(ctx context.Context, id string) error {
	return r.effect("start", func() error {
		err := r.world.Start(ctx, id)
		if err == nil && id == r.to && !r.mute {
			err = os.WriteFile(filepath.Join(r.dir, confirmFile), []byte(`{"container":"`+id+`"}`), 0o644)
		}
		return err
	})
}

func (r *recorder) Rename(ctx context.Context, id, name string) error {
	return r.effect("rename", func() error { return r.world.Rename(ctx, id, name) })
}

func (r *recorder) SetRestartPolicy(ctx context.Context, id string, p docker.RestartPolicy) error {
	return r.effect("policy", func() error { return r.world.SetRestartPolicy(ctx, id, p) })
}

// scene is one swap: From runs under the name, To is there.
type scene struct {
	w       world
	p       Params
	dir     string
	out     bytes.Buffer
	effects int
	name    string
}

var always = docker.RestartPolicy{Name: "unless-stopped"}

func newScene(t *testing.T, w world, old, successor kind, policy docker.RestartPolicy) *scene {
	t.Helper()
	dir := t.TempDir()
	name := fmt.Sprintf("fairlead-swap-test-%d", time.Now().UnixNano())
	s := &scene{w: w, dir: dir, name: name}
	from := w.container(t, name, old, always)
	if err := w.Start(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	s.p = Params{
		Helper: name + "-helper", From: Party{ID: from, Restart: always},
		To: Party{ID: w.container(t, name+"-2", successor, policy), Restart: policy}, Name: name,
		StopTimeout: 5 * time.Second, Health: health.Policy{Timeout: 2 * time.Second, MinHealthy: -1, MinRunning: -1},
	}
	w.container(t, s.p.Helper, good, always)
	data, err := json.Marshal(s.p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, paramsFile), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs the helper, killed at an effect if killAt is not 0, and returns its
// error.
func (s *scene) run(t *testing.T, successor kind, killAt int, after bool) error {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r := &recorder{world: s.w, dir: s.dir, to: s.p.To.ID, mute: successor == mute, killAt: killAt, after: after, cancel: cancel}
	h := &Helper{Engine: r, Prober: s.w, Dir: s.dir, Out: &s.out, Clock: clock.RealClock{}}
	err := h.Run(ctx)
	s.effects = len(r.effects)
	return err
}

func (s *scene) verdict(t *testing.T) Verdict {
	t.Helper()
	var st State
	if err := readJSON(filepath.Join(s.dir, stateFile), &st); err != nil {
		t.Fatal(err)
	}
	if st.Verdict == nil {
		t.Fatalf("no verdict:\n%s", s.out.String())
	}
	return *st.Verdict
}

func (s *scene) inspect(t *testing.T, id string) docker.Container {
	t.Helper()
	c, err := s.w.InspectContainer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantReplaced and wantBack check all that must hold at the end.
func (s *scene) wantReplaced(t *testing.T) {
	t.Helper()
	if v := s.verdict(t); v != (Verdict{Replaced: true}) {
		t.Errorf("verdict %+v:\n%s", v, s.out.String())
	}
	s.wantEnd(t, s.p.To, s.p.From)
}

func (s *scene) wantBack(t *testing.T, reason string) {
	t.Helper()
	if v := s.verdict(t); v.Replaced || v.Trouble != "" || !strings.Contains(v.Reason, reason) {
		t.Errorf("verdict %+v, want the reason %q:\n%s", v, reason, s.out.String())
	}
	s.wantEnd(t, s.p.From, s.p.To)
}

func (s *scene) wantEnd(t *testing.T, runs, stopped Party) {
	t.Helper()
	if c := s.inspect(t, runs.ID); !c.Running() || c.Name != s.p.Name || c.RestartPolicy != runs.Restart {
		t.Errorf("%s is %s with the policy %+v", c.Name, c.State, c.RestartPolicy)
	}
	if c := s.inspect(t, stopped.ID); up(c) || c.State != docker.StateCreated && c.RestartPolicy.Name != "no" || c.Name != plan.RetiredName(s.p.Name, c.ID) && c.Name != s.p.Name+"-2" {
		t.Errorf("%s is %s with the policy %+v", c.Name, c.State, c.RestartPolicy)
	}
	if c := s.inspect(t, s.p.Helper); c.RestartPolicy.Name != "no" {
		t.Errorf("the engine will start the helper again: %+v", c.RestartPolicy)
	}
}

// conformance is the suite that both worlds pass. fresh makes a world for a test.
func conformance(t *testing.T, fresh func(t *testing.T) world) {
	no := docker.RestartPolicy{Name: "no"}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, fresh(t), good, good, always)
		if err := s.run(t, good, 0, false); err != nil {
			t.Fatal(err)
		}
		s.wantReplaced(t)
		// Started again by mistake, it does nothing.
		if err := s.run(t, good, 0, false); err != nil || s.effects != 1 {
			t.Errorf("%v, %d effects", err, s.effects)
		}
		s.wantReplaced(t)
	})
	for _, tt := range []struct {
		successor kind
		policy    docker.RestartPolicy
		reason    string
	}{
		{sick, always, "healthcheck exit 1"},
		{dies, no, "exited with code 3"},
		{mute, always, "did not report"},
	} {
		t.Run("back from one that is "+string(tt.successor), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, fresh(t), good, tt.successor, tt.policy)
			if err := s.run(t, tt.successor, 0, false); err != nil {
				t.Fatal(err)
			}
			s.wantBack(t, tt.reason)
		})
	}
	t.Run("the successor was removed", func(t *testing.T) {
		t.Parallel()
		w := fresh(t)
		s := newScene(t, w, good, good, always)
		w.remove(t, s.p.To.ID)
		if err := s.run(t, good, 0, false); err != nil {
			t.Fatal(err)
		}
		if v := s.verdict(t); v.Replaced || v.Trouble != "" || !strings.Contains(v.Reason, "removed") {
			t.Errorf("%+v", v)
		}
		if c := s.inspect(t, s.p.From.ID); !c.Running() || c.Name != s.p.Name || c.RestartPolicy != always {
			t.Errorf("%+v", c)
		}
	})
	t.Run("the predecessor was removed", func(t *testing.T) {
		t.Parallel()
		w := fresh(t)
		s := newScene(t, w, good, dies, no)
		if _, err := w.StopAndKeep(t.Context(), s.p.From.ID, 0, ""); err != nil {
			t.Fatal(err)
		}
		w.remove(t, s.p.From.ID)
		if err := s.run(t, dies, 0, false); err != nil {
			t.Fatal(err)
		}
		if v := s.verdict(t); v.Replaced || !strings.Contains(v.Trouble, "removed") || !strings.Contains(v.Reason, "exited with code 3") {
			t.Errorf("%+v", v)
		}
	})
	// The other way round: the new one gives way to the one before, which is
	// stopped, called otherwise and without its restart policy.
	t.Run("and back again", func(t *testing.T) {
		t.Parallel()
		w := fresh(t)
		s := newScene(t, w, good, good, always)
		if err := s.run(t, good, 0, false); err != nil {
			t.Fatal(err)
		}
		s.p.From, s.p.To = s.p.To, s.p.From
		data, err := json.Marshal(s.p)
		if err != nil {
			t.Fatal(err)
		}
		s.dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(s.dir, paramsFile), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.run(t, good, 0, false); err != nil {
			t.Fatal(err)
		}
		s.wantReplaced(t)
	})
	for _, successor := range []kind{good, dies} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("killed at each effect, %s, after it %t", successor, after), func(t *testing.T) {
				t.Parallel()
				killedAnywhere(t, fresh(t), successor, no, after)
			})
		}
	}
}

// killedAnywhere kills the helper at each of its effects and starts it again: the
// end must be as if nothing had happened.
func killedAnywhere(t *testing.T, w world, successor kind, policy docker.RestartPolicy, after bool) {
	killed := 0
	for n := 1; ; n++ {
		s := newScene(t, w, good, successor, policy)
		err := s.run(t, successor, n, after)
		if err == nil {
			break // there is no such effect, or only that the verdict is made safe
		}
		if !errors.Is(err, errKilled) {
			t.Fatalf("killed at %d: %v", n, err)
		}
		killed++
		if err := s.run(t, successor, 0, false); err != nil {
			t.Fatalf("killed at %d and started again: %v", n, err)
		}
		if successor == good {
			s.wantReplaced(t)
		} else {
			s.wantBack(t, "exited with code 3")
		}
		if t.Failed() {
			t.Fatalf("killed at effect %d:\n%s", n, s.out.String())
		}
	}
	if least := map[kind]int{good: 4, dies: 8}[successor]; killed < least {
		t.Errorf("killed %d times only", killed)
	}
}
