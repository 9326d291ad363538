// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"net/http"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/test/crash/engineproxy"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// An update has succeeded when the old process has ended, though the engine is not through with its container. What is
// left is done then, before the next update begins, and by the next daemon if this one is killed.
func TestGatewaySucceedsWhenTheOldHasEnded(t *testing.T) {
	t.Parallel()
	s, proxy := helloBehindProxy(t)
	s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s}\n")
	s.succeeds("")

	t.Run("the next one waits", func(t *testing.T) {
		s := s.in(t)
		answer := s.holdStops(proxy)
		l := s.load("/version")
		r := s.succeedsWithTheOld(map[string]string{"version.txt": "2\n"})
		next := s.Update(s.name, s.publish("Three", map[string]string{"version.txt": "3\n"}))
		s.WaitRequest(next.Name, "its turn", func(ur *v1alpha1.UpdateRequest) bool {
			return strings.Contains(ur.Status.Message, "waits for the request "+r.Name)
		})
		answer()
		s.wantCleanedUp(r.Name)
		s.wantCleanedUp(next.Name)
		wantLossless(t, l, "1", "2", "3")
		s.wantOneOfEach()
	})
	t.Run("the daemon is killed", func(t *testing.T) {
		s := s.in(t)
		answer := s.holdStops(proxy)
		l := s.load("/version")
		r := s.succeedsWithTheOld(map[string]string{"version.txt": "4\n"})
		s.Kill9()
		answer()
		s.Restart()
		s.wantCleanedUp(r.Name)
		wantLossless(t, l, "3", "4")
		s.wantOneOfEach()
	})
}

// holdStops keeps the engine's answers to stops back until the function that it returns is called.
func (s *site) holdStops(proxy *engineproxy.Proxy) (answer func()) {
	hold := make(chan struct{})
	answer = sync.OnceFunc(func() { close(hold) })
	proxy.OnAnswer(func(r *http.Request) {
		if r.Method == http.MethodPost && path.Base(r.URL.Path) == "stop" {
			<-hold
		}
	})
	s.t.Cleanup(func() {
		proxy.OnAnswer(nil)
		answer()
	})
	return answer
}

// succeedsWithTheOld updates, and checks that the old process has ended when that has succeeded, and that something is left to be done.
func (s *site) succeedsWithTheOld(files map[string]string) *v1alpha1.UpdateRequest {
	s.t.Helper()
	old, err := harness.Engine(s.t).ContainerInspect(s.t.Context(), s.containers()["web"][0].ID)
	if err != nil || old.State.Pid == 0 {
		s.t.Fatalf("the container does not run: %v", err)
	}
	r := s.WaitPhase(s.Update(s.name, s.publish("Next", files)).Name, v1alpha1.PhaseSucceeded)
	if err := syscall.Kill(old.State.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		s.t.Errorf("the old process is there: %v", err)
	}
	if now := s.Request(r.Name); requestwatch.Concluded(now) || strings.Contains(s.Log(now), "log complete") {
		s.t.Errorf("nothing is left to be done:\n%s", s.Log(now))
	}
	return r
}

// wantCleanedUp waits until nothing is left to be done for a request, and checks that its log tells all of it.
func (s *site) wantCleanedUp(request string) {
	s.t.Helper()
	r := s.WantEnd(request, v1alpha1.PhaseSucceeded)
	log := s.Log(r)
	removed, end := strings.Index(log, "removed the old container"), strings.Index(log, "log complete")
	if removed < 0 || end < removed {
		s.t.Errorf("the log does not tell of the old container, or ends before:\n%s", log)
	}
	if m := harness.Step(r, v1alpha1.StepCleanUp).Message; m != "" {
		s.t.Errorf("the clean-up says %q", m)
	}
}
