// SPDX-License-Identifier: Apache-2.0

package selfswap

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
)

func TestFakeConforms(t *testing.T) {
	conformance(t, func(*testing.T) world { return newFake() })
}

// TestEngineAway has the engine not answer at any point.
func TestEngineAway(t *testing.T) {
	w := newFake()
	s := newScene(t, w, good, good, always)
	w.away = 2
	if err := s.run(t, good, 0, false); err != nil {
		t.Fatal(err)
	}
	s.wantReplaced(t)
	if !strings.Contains(s.out.String(), "engine is away") {
		t.Errorf("it does not tell:\n%s", s.out.String())
	}
}

// TestRefused has the engine refuse for good what it is asked.
func TestRefused(t *testing.T) {
	t.Run("to start the successor", func(t *testing.T) {
		t.Parallel()
		w := newFake()
		s := newScene(t, w, good, good, always)
		w.refuse["start "+s.p.To.ID] = errors.New("port is already allocated")
		if err := s.run(t, good, 0, false); err != nil {
			t.Fatal(err)
		}
		s.wantBack(t, "port is already allocated")
	})
	t.Run("to stop the predecessor", func(t *testing.T) {
		t.Parallel()
		w := newFake()
		s := newScene(t, w, good, good, always)
		w.refuse["stop "+s.p.From.ID] = errors.New("cannot kill")
		if err := s.run(t, good, 0, false); err != nil {
			t.Fatal(err)
		}
		if v := s.verdict(t); v.Replaced || v.Trouble != "" || !strings.Contains(v.Reason, "cannot kill") {
			t.Errorf("%+v", v)
		}
		if c := s.inspect(t, s.p.From.ID); !c.Running() || c.Name != s.p.Name || c.RestartPolicy != always {
			t.Errorf("%+v", c)
		}
	})
	t.Run("the name is somebody else's", func(t *testing.T) {
		t.Parallel()
		w := newFake()
		s := newScene(t, w, good, good, always)
		w.refuse["rename "+s.p.To.ID] = errors.New("name in use")
		if err := s.run(t, good, 0, false); err != nil {
			t.Fatal(err)
		}
		s.wantBack(t, "name in use")
	})
}

// TestNeitherRuns is the worst case.
func TestNeitherRuns(t *testing.T) {
	w := newFake()
	s := newScene(t, w, good, dies, always)
	w.kinds[s.p.From.ID] = sick
	if err := s.run(t, dies, 0, false); err != nil {
		t.Fatal(err)
	}
	v := s.verdict(t)
	if v.Replaced || !strings.Contains(v.Reason, "exited with code 3") || !strings.Contains(v.Trouble, "healthcheck exit 1") {
		t.Errorf("%+v", v)
	}
	if c := s.inspect(t, s.p.From.ID); c.RestartPolicy != always || c.Name != s.p.Name {
		t.Errorf("the old one is not left as it was: %+v", c)
	}
	if !strings.Contains(s.out.String(), "docker start "+s.p.From.ID) {
		t.Errorf("its log does not say what to do:\n%s", s.out.String())
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	s := newScene(t, newFake(), good, good, always)
	if err := os.WriteFile(filepath.Join(s.dir, paramsFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t, good, 0, false); err == nil || s.effects != 0 {
		t.Errorf("%v, %d effects", err, s.effects)
	}
	s = newScene(t, newFake(), good, good, always)
	if err := os.WriteFile(filepath.Join(s.dir, stateFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t, good, 0, false); err == nil || s.effects != 0 {
		t.Errorf("%v, %d effects", err, s.effects)
	}
}

// TestContract holds the form of the files, which daemons and helpers of other
// versions read.
func TestContract(t *testing.T) {
	p := Params{
		Helper: "h", From: Party{ID: "a", Restart: docker.RestartPolicy{Name: "always"}},
		To:   Party{ID: "b", Restart: docker.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3}},
		Name: "updater", StopTimeout: time.Second, Health: health.Policy{Timeout: 2, MinHealthy: 3, MinRunning: 4, MaxRestarts: 5},
	}
	for want, v := range map[string]any{
		`{"helper":"h","from":{"id":"a","restart":{"Name":"always","MaximumRetryCount":0}},"to":{"id":"b","restart":{"Name":"on-failure","MaximumRetryCount":3}},` +
			`"name":"updater","stopTimeout":1000000000,"health":{"Timeout":2,"MinHealthy":3,"MinRunning":4,"MaxRestarts":5}}`: p,
		`{"started":true,"failure":"f","verdict":{"replaced":false,"reason":"r","trouble":"t"}}`: State{Started: true, Failure: "f", Verdict: &Verdict{Reason: "r", Trouble: "t"}},
		`{"container":"c"}`: confirmation{Container: "c"},
	} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}
