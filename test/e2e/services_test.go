// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// Services that a commit brings, that it wants more of, and that it drops.
func TestServicesComeAndGo(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "")
	original := composeOf(s, "")
	var withTwo string // the release
	t.Run("a new one", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		r := s.succeeds(s.publish("Extra", map[string]string{"docker-compose.yml": withExtra(original, 1)}))
		if got := action(r, "extra"); got != v1alpha1.ActionCreate {
			t.Errorf("the action is %s", got)
		}
		s.wantUntouched(before, "web")
		s.wantRunning("extra", 1)
	})
	t.Run("one more replica", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		r := s.succeeds(s.publish("Two", map[string]string{"docker-compose.yml": withExtra(original, 2)}))
		withTwo = r.Status.Release
		s.wantUntouched(before, "web")
		s.wantRunning("extra", 2)
		if !slices.ContainsFunc(s.containers()["extra"], func(c harness.Container) bool { return c.ID == before["extra"][0].ID }) {
			t.Errorf("the first replica was replaced: %v", identities(s.containers()["extra"]))
		}
	})
	t.Run("both replaced", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		s.succeeds(s.publish("Second version", map[string]string{"version.txt": "2\n"}))
		s.wantReplaced(before, "web", "extra")
		s.wantRunning("extra", 2)
		s.wantVersion("2")
	})
	t.Run("dropped by a bad commit", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		s.ends(s.publish("Bad", map[string]string{"docker-compose.yml": original, "behaviour.json": apps.Behaviour{Unhealthy: true}.JSON()}), v1alpha1.PhaseRolledBack)
		s.wantUntouched(before, "extra")
		s.wantOldContainers(before)
		s.wantVersion("2")
	})
	t.Run("dropped", func(t *testing.T) {
		s := s.in(t)
		r := s.succeeds(s.publish("Without", map[string]string{"behaviour.json": apps.Behaviour{}.JSON(), "version.txt": "3\n"}))
		if got := action(r, "extra"); got != v1alpha1.ActionRemove {
			t.Errorf("the action is %s", got)
		}
		s.wantRunning("extra", 0)
		s.wantVersion("3")
		s.wantComposePs("web running")
	})
	t.Run("back", func(t *testing.T) {
		s := s.in(t)
		s.succeeds("", harness.RollbackTo(withTwo))
		s.wantRunning("extra", 2)
		s.wantVersion("1")
	})
}

// withExtra is a Compose file with one more service.
func withExtra(compose string, replicas int) string {
	return strings.Replace(compose, "services:\n", fmt.Sprintf(`services:
  extra:
    build: .
    labels: *labels
    deploy: {replicas: %d}
    healthcheck: {test: [CMD, /app, healthcheck], interval: 2s}
`, replicas), 1)
}

// wantRunning checks how many containers of a service run.
func (s *site) wantRunning(service string, n int) {
	s.t.Helper()
	up := 0
	for _, c := range s.containers()[service] {
		if c.Running {
			up++
		}
	}
	if up != n {
		s.t.Errorf("%d containers of %s run, want %d: %v", up, service, n, identities(s.containers()[service]))
	}
}
