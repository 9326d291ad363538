// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// A moment is when something happened to a container of an application.
type moment struct {
	service, id string
	what        events.Action
	at          time.Time
}

func (m moment) String() string {
	return fmt.Sprintf("%s %s %.12s %s", m.at.Format("15:04:05.000"), m.service, m.id, m.what)
}

// history is what the engine tells of an application's containers from its beginning on.
type history struct {
	mu      sync.Mutex
	moments []moment
	err     error // why it goes on no more
}

// watch begins a history. The engine forgets what happened when other tests do much, so that it cannot be asked later.
func (s *site) watch() *history {
	s.t.Helper()
	h := &history{}
	told, broken := harness.Engine(s.t).Events(s.t.Context(), events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", "com.docker.compose.project="+s.repo.Project),
	)})
	go func() {
		for {
			select {
			case e := <-told:
				h.mu.Lock()
				h.moments = append(h.moments, moment{e.Actor.Attributes["com.docker.compose.service"], e.Actor.ID, e.Action, time.Unix(0, e.TimeNano)})
				h.mu.Unlock()
			case err := <-broken:
				h.mu.Lock()
				h.err = err
				h.mu.Unlock()
				return
			}
		}
	}()
	return h
}

// of are the moments of a kind until now.
func (h *history) of(what ...events.Action) (found []moment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.moments {
		if slices.Contains(what, m.what) {
			found = append(found, m)
		}
	}
	return found
}

// waitStopped waits until the history has the end of n containers: it comes later than what the API says.
func (s *site) waitStopped(h *history, n int) []moment {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), harness.Patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for len(h.of(events.ActionDie)) < n {
		select {
		case <-ctx.Done():
			h.mu.Lock()
			defer h.mu.Unlock()
			s.t.Fatalf("%d containers did not end: %v, %v", n, h.moments, h.err)
		case <-ticker.C:
		}
	}
	return h.of(events.ActionStart, events.ActionDie)
}

// order of moments, in words.
func order(moments []moment) (words []string) {
	for _, m := range moments {
		words = append(words, m.service+" "+string(m.what))
	}
	return words
}

// published is apps.Trio of which two services have ports of the host.
const published = `x-service: &service
  restart: unless-stopped
  labels: &labels {fairlead.dev/test: e2e}
  healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s}
services:
  alpha: {<<: *service, build: {context: ., args: {SERVICE: alpha}}, ports: ["127.0.0.1:ALPHA:8080"]}
  beta: {<<: *service, build: {context: ., args: {SERVICE: beta}}, ports: ["127.0.0.1:BETA:8080"]}
networks:
  default: {labels: *labels}
`

// Services are replaced one after another if that is asked for, and where the memory of the host does not suffice for two
// of each; in neither case is a request lost, nor by the way back when the second one fails.
func TestGatewayOneByOne(t *testing.T) {
	t.Parallel()
	// The host is made small as LXC does it: by another /proc/meminfo.
	memory := filepath.Join(t.TempDir(), "meminfo")
	left := func(mib int) {
		t.Helper()
		text := fmt.Sprintf("MemTotal: %d kB\nMemFree: 0 kB\nMemAvailable: %d kB\n", 1<<20, mib<<10)
		if err := os.WriteFile(memory, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left(1000)
	s := siteOf(t, harness.Start(t, harness.Options{
		Under: []string{"unshare", "--mount", "sh", "-ec", `mount --bind "$0" /proc/meminfo; exec "$@"`, memory},
	}), apps.Trio)
	t.Cleanup(func() { s.removeGateways() })
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = apps.FreePort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	compose := strings.NewReplacer("ALPHA", fmt.Sprint(ports[0]), "BETA", fmt.Sprint(ports[1])).Replace(published)
	rollout := func(strategy string) {
		s.apply(gatewayOn + "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 0s, strategy: " + strategy + "}\n")
	}
	rollout("Auto")
	s.succeeds(s.publish("With ports", map[string]string{"docker-compose.yml": compose}))
	s.wantBehind("alpha", "beta")

	scarce := regexp.MustCompile(`^the containers that are replaced use [1-9]\d* MiB, and the host has only 129 MiB left for others beside them$`)
	together := []string{"alpha start", "beta start", "alpha die", "beta die"}
	serial := []string{"alpha start", "alpha die", "beta start", "beta die"}
	for i, c := range []struct {
		name, strategy string
		left           int
		want           v1alpha1.RolloutStrategy
		why            *regexp.Regexp
		order          []string
	}{
		{"room", "Auto", 1000, v1alpha1.StrategyTogether, regexp.MustCompile(`^the host has the memory for old and new containers at once$`), together},
		{"no room", "Auto", 129, v1alpha1.StrategyOneByOne, scarce, serial},
		{"asked for", "OneByOne", 1000, v1alpha1.StrategyOneByOne, regexp.MustCompile(`^set by rollout.strategy`), serial},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			left(c.left)
			rollout(c.strategy)
			before, h := s.containers(), s.watch()
			alpha, beta := loadAt(ports[0]), loadAt(ports[1])
			was, is := fmt.Sprint(i+1), fmt.Sprint(i+2)
			r := s.succeeds(s.publish(c.name, version(is, "alpha", "beta")))
			wantLossless(t, alpha, was, is)
			wantLossless(t, beta, was, is)
			s.wantReplaced(before, "alpha", "beta")
			if p := r.Status.Plan; p.Strategy != c.want || !c.why.MatchString(p.StrategyReason) {
				t.Errorf("the plan says %s: %s", p.Strategy, p.StrategyReason)
			}
			// Of what happens at once the order is by chance.
			got := s.waitStopped(h, 2)
			if c.want == v1alpha1.StrategyTogether && len(got) == 4 {
				byName := func(a, b moment) int { return strings.Compare(a.service, b.service) }
				slices.SortFunc(got[:2], byName)
				slices.SortFunc(got[2:], byName)
			}
			if !slices.Equal(order(got), c.order) {
				t.Errorf("they were replaced as %v", got)
			}
			if told := strings.Contains(s.Log(r), "one service after another: "+r.Status.Plan.StrategyReason); told != (c.want == v1alpha1.StrategyOneByOne) {
				t.Errorf("the log is:\n%s", s.Log(r))
			}
		})
	}
	t.Run("the second one fails", func(t *testing.T) {
		s := s.in(t)
		before, h := s.containers(), s.watch()
		alpha, beta := loadAt(ports[0]), loadAt(ports[1])
		s.ends(s.publish("Bad", behave(version("5", "alpha", "beta"), "beta", apps.Behaviour{Crash: true})), v1alpha1.PhaseRolledBack)
		// The old container of the first one had to stop, and is started again beside the new one.
		wantLossless(t, alpha, "4", "5")
		wantLossless(t, beta, "4")
		s.wantUntouched(before, "beta")
		if now := s.containers()["alpha"]; len(now) != 1 || now[0].ID != before["alpha"][0].ID {
			t.Errorf("alpha has %v", identities(now))
		}
		got := s.waitStopped(h, 3)
		if first := order(got[:3]); !slices.Equal(first, serial[:3]) {
			t.Errorf("it began with %v", got)
		}
		got = slices.DeleteFunc(got, func(m moment) bool { return m.service != "alpha" })
		if !slices.Equal(order(got), []string{"alpha start", "alpha die", "alpha start", "alpha die"}) || got[2].id != before["alpha"][0].ID {
			t.Errorf("what happened to alpha is %v", got)
		}
	})
}

// loadAt is the load of site.load on another port of the host.
func loadAt(port int) *harness.Load {
	return harness.StartLoad(fmt.Sprintf("http://127.0.0.1:%d/version", port), 8, 100*time.Millisecond)
}
