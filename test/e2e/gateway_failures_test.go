// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

func fourBy(config string) map[string]string { return replicated(4, config, "") }

// Containers of a service are replaced two by two, with a pause between, and in the order that update_config asks for.
// What becomes of the update when some of them fail is as it says too. No request is lost by any of it.
func TestGatewayUpdateConfig(t *testing.T) {
	t.Parallel()
	s := siteOf(t, shared, apps.Hello)
	t.Cleanup(func() { s.removeGateways() })
	s.apply(gatewayOn + "  rollout: {healthTimeout: 10s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s}\n")
	s.succeeds(s.publish("Four of them", fourBy("parallelism: 2, delay: 3s, monitor: 1s, order: start-first")))
	l := s.load("/version")

	t.Run("start-first", func(t *testing.T) {
		s := s.in(t)
		before, h := s.containers(), s.watch()
		r := s.Update(s.name, s.publish("Two", map[string]string{"version.txt": "2\n"}))
		s.waitLog(r.Name, "watching for 3s (2 of 4 are replaced, 2 at once)")
		was := l.Now().Bodies
		s.waitLoad(l, func(r harness.LoadResult) bool {
			return r.Bodies["1\n"] > was["1\n"]+10 && r.Bodies["2\n"] > was["2\n"]+10
		})
		s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
		s.wantReplaced(before, "web")
		// The old ones wait for a way back until the end.
		s.wantGroups(h, []string{"start", "start", "start", "start", "die", "die", "die", "die"}, 1, 3*time.Second)
	})
	t.Run("stop-first", func(t *testing.T) {
		s := s.in(t)
		before, h := s.containers(), s.watch()
		files := fourBy("parallelism: 2, delay: 1s, order: stop-first")
		files["version.txt"] = "3\n"
		s.succeeds(s.publish("Three", files))
		s.wantReplaced(before, "web")
		s.wantGroups(h, []string{"die", "die", "start", "start", "die", "die", "start", "start"}, 3, time.Second)
	})
	for _, c := range []struct {
		name, config, plan string
		version            string
		kill               int
		when               string // the log says this
		phase              v1alpha1.Phase
		said               string // by the log at the end
		failed             int    // that the status has
	}{
		{"as many fail as may", "parallelism: 2, monitor: 2s, max_failure_ratio: 0.25", "2 of 4 containers at once, each group watched for 2s; 1 may fail", "4",
			1, "watching for 2s", v1alpha1.PhaseSucceeded, "failed: exited with code 137", 1},
		{"more fail than may", "parallelism: 2, monitor: 2s, max_failure_ratio: 0.25", "2 of 4 containers at once, each group watched for 2s; 1 may fail", "5",
			2, "watching for 2s", v1alpha1.PhaseRolledBack, "did not become healthy: exited with code 137", 2},
		{"go on whatever fails", "monitor: 2s, failure_action: continue", "3 may fail", "6",
			2, "watching 4 containers for 2s", v1alpha1.PhaseSucceeded, "failed, which is borne: ", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			before := s.containers()
			files := fourBy(c.config)
			files["version.txt"] = c.version + "\n"
			r := s.Update(s.name, s.publish(c.name, files))
			s.kill(r.Name, c.kill, c.when, before["web"])
			r = s.WantEnd(r.Name, c.phase)
			wantContains(t, "the log", s.Log(r), c.said)
			if got := r.Status.Plan.Services[0].Replacement; got != c.plan {
				t.Errorf("the plan says %q, want %q", got, c.plan)
			}
			if got := r.Status.Services[0].FailedContainers; len(got) != c.failed {
				t.Errorf("failed are %v", got)
			}
			if c.phase == v1alpha1.PhaseRolledBack {
				s.wantUntouched(before)
			}
		})
	}
	// Some of 5 may have answered before they failed.
	wantVersions(t, wantLossless(t, l), []string{"1", "2", "3", "4", "6"}, "5")
}

// wantGroups checks what was started and stopped, and the pause after a moment of that.
func (s *site) wantGroups(h *history, want []string, after int, pause time.Duration) {
	s.t.Helper()
	var got []string
	moments := s.waitStopped(h, 4)
	for _, m := range moments {
		got = append(got, string(m.what))
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("what happened is %v", moments)
	}
	if took := moments[after+1].at.Sub(moments[after].at); took < pause {
		s.t.Errorf("the next group came after %s: %v", took, moments)
	}
}

// kill ends n new containers of web as a fault of theirs would, when the request's log has text.
func (s *site) kill(request string, n int, text string, before []harness.Container) {
	s.t.Helper()
	s.waitLog(request, text)
	alive := slices.DeleteFunc(s.containers()["web"], func(c harness.Container) bool {
		return !c.Running || slices.ContainsFunc(before, func(o harness.Container) bool { return o.ID == c.ID })
	})
	if len(alive) < n {
		s.t.Fatalf("new are only %v", identities(alive))
	}
	for _, c := range alive[:n] {
		full, err := harness.Engine(s.t).ContainerInspect(s.t.Context(), c.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := syscall.Kill(full.State.Pid, syscall.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
	}
}
