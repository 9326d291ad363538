// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// behindGateway brings a deployed application behind a gateway.
func (f *fixture) behindGateway(extra string) {
	f.daemon.Apply(harness.Manifest(f.name, f.repo, settings+"  gateway: {mode: Auto}\n"+extra))
	f.update("")
	f.Cleanup(func() {
		engine := harness.Engine(f.T)
		list, err := engine.ContainerList(context.Background(), container.ListOptions{
			All: true, Filters: filters.NewArgs(filters.Arg("label", v1alpha1.LabelGatewayProject+"="+f.repo.Project)),
		})
		if err != nil {
			f.Error(err)
		}
		for _, c := range list {
			if err := engine.ContainerRemove(context.Background(), c.ID, container.RemoveOptions{Force: true}); err != nil {
				f.Error(err)
			}
		}
	})
}

// answers asks for the version every few milliseconds through the published port until the
// test ends.
type answers struct{ *harness.Load }

func (f *fixture) watchAnswers() answers {
	a := answers{harness.StartLoad(f.repo.URL("/version"), 1, 5*time.Millisecond)}
	f.Cleanup(func() {
		if r := a.End(); r.Failed > 0 {
			f.Errorf("%d of %d requests failed: %s", r.Failed, r.Sent, strings.Join(r.Errors, "; "))
		}
	})
	return a
}

// wait waits until version answers.
func (a answers) wait(t *testing.T, version string) time.Time {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(time.Minute); a.Now().Latest != version+"\n"; {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("version %s does not answer", version)
		}
	}
	return time.Now()
}

// TestGatewayUpdate measures what an update takes behind a gateway beyond the application's
// own start: until the new version has the traffic, and until the request has succeeded.
func TestGatewayUpdate(t *testing.T) {
	f := deploy(t, apps.Hello)
	f.update(f.publish("."))
	own := ownStart(f)
	f.behindGateway("")
	peer := newKamal(t, 1)
	beside := peer.rounds(f.repo.Dir)
	a := f.watchAnswers()
	var moved, ended []time.Duration
	for range 9 {
		beside()
		commit := f.publish(".")
		version := f.latest()
		begin := time.Now()
		name := f.daemon.Update(f.name, commit).Name
		answered := a.wait(t, version).Sub(begin)
		f.daemon.WaitPhase(name, v1alpha1.PhaseSucceeded)
		total := time.Since(begin)
		r := f.daemon.WantEnd(name, v1alpha1.PhaseSucceeded)
		backup := stepTime(t, r.Status.LogFile, v1alpha1.StepBackup)
		moved, ended = append(moved, answered-backup), append(ended, total-backup)
	}
	m, e := median(moved), median(ended)
	row("gateway: one service changed: request to the first answer of the new version, and to Succeeded, without the backup, beyond its own start",
		"at most 0.5 s", "%.2f s and %.2f s (own start %.2f s)", (m - own).Seconds(), (e - own).Seconds(), own.Seconds())
	peer.row("one service", e, own)
}

// TestGatewayUpdateThree measures three changed services.
func TestGatewayUpdateThree(t *testing.T) {
	trio := deploy(t, apps.Trio)
	trio.update(trio.publish("alpha", "beta", "gamma"))
	own := startTogether(trio)
	trio.behindGateway("")
	trio.update(trio.publish("alpha", "beta", "gamma")) // what they listen on is known now
	peer := newKamal(t, 3)
	beside := peer.rounds(apps.ForTest(t, apps.Hello, apps.Options{Label: "bench"}).Dir)
	var moved, ended []time.Duration
	for range 9 {
		beside()
		commit := trio.publish("alpha", "beta", "gamma")
		begin := time.Now()
		total, ur := trio.update(commit)
		backup := stepTime(t, ur.Status.LogFile, v1alpha1.StepBackup)
		_, sent := toldAt(t, ur.Status.LogFile, "the gateway sends what is new")
		moved, ended = append(moved, sent.Sub(begin)-backup), append(ended, total-backup)
	}
	m, e := median(moved), median(ended)
	row("gateway: three services changed: request to the traffic of all of them, and to Succeeded, without the backup, beyond their own start",
		"at most 0.5 s", "%.2f s and %.2f s (own start, all three at once, %.2f s)", (m - own).Seconds(), (e - own).Seconds(), own.Seconds())
	peer.row("three services", e, own)
}

// startTogether is the time from the start of all containers of an application at once until the last
// of them answers, without anybody's help: the median of three.
func startTogether(f *fixture) time.Duration {
	engine := harness.Engine(f.T)
	var ids []string
	for _, all := range harness.Containers(f.T, f.repo.Project) {
		for _, c := range all {
			ids = append(ids, c.ID)
		}
	}
	each := func(work func(ctx context.Context, id string) error) {
		g, ctx := errgroup.WithContext(f.Context())
		for _, id := range ids {
			g.Go(func() error { return work(ctx, id) })
		}
		if err := g.Wait(); err != nil {
			f.Fatal(err)
		}
	}
	var times []time.Duration
	for range 3 {
		each(func(ctx context.Context, id string) error {
			return engine.ContainerStop(ctx, id, container.StopOptions{})
		})
		begin := time.Now()
		each(func(ctx context.Context, id string) error {
			if err := engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
				return err
			}
			c, err := engine.ContainerInspect(ctx, id)
			if err != nil {
				return err
			}
			var address string
			for _, n := range c.NetworkSettings.Networks {
				address = n.IPAddress
			}
			ticker := time.NewTicker(10 * time.Millisecond)
			defer ticker.Stop()
			for {
				if _, err := harness.Get(ctx, "http://"+net.JoinHostPort(address, "8080")+"/version"); err == nil {
					return nil
				}
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
		times = append(times, time.Since(begin))
	}
	return median(times)
}

// TestGatewayFront measures, from outside, for how long a published port has nobody when another one of its gateway is
// not published any more.
func TestGatewayFront(t *testing.T) {
	f := deploy(t, apps.Hello)
	compose, err := os.ReadFile(filepath.Join(f.repo.Dir, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for range 3 {
		port, err := apps.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, "    ports:\n      - 127.0.0.1:"+strconv.Itoa(port)+":8080\n")
	}
	publish := func() string {
		text := string(compose)
		for _, p := range ports {
			text = strings.Replace(text, "    ports:\n", p, 1)
		}
		sha, err := f.repo.Publish(t.Context(), "ports", map[string]string{"docker-compose.yml": text})
		if err != nil {
			t.Fatal(err)
		}
		return sha
	}
	f.update(publish())
	f.behindGateway("")
	var gaps []time.Duration
	for len(ports) > 0 {
		ports = ports[1:]
		l := harness.StartLoad(f.repo.URL("/version"), 1, 5*time.Millisecond)
		f.update(publish())
		gaps = append(gaps, l.End().Longest)
	}
	row("gateway: a port removed: the longest time without an answer at another port of the same gateway", "under 1 s", "%.2f s", median(gaps).Seconds())
}

// TestGatewayRollback measures from a check that fails after the traffic has moved until the old
// version has it again.
func TestGatewayRollback(t *testing.T) {
	var bad atomic.Bool
	failed := make(chan time.Time, 10)
	check := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if bad.Load() {
			failed <- time.Now()
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer check.Close()
	f := deploy(t, apps.Hello)
	f.update(f.publish("."))
	f.behindGateway("  verify: {attempts: 1, checks: [{name: outside, http: {url: \"" + check.URL + "\"}}]}\n")
	old := f.latest()
	a := f.watchAnswers()
	bad.Store(true)
	var took []time.Duration
	for range 5 {
		name := f.daemon.Update(f.name, f.publish(".")).Name
		a.wait(t, f.latest())
		at := <-failed
		took = append(took, a.wait(t, old).Sub(at))
		f.daemon.WantEnd(name, v1alpha1.PhaseRolledBack)
	}
	row("gateway: rollback, from the failed check until the old version answers", "under 1 s", "%.2f s", median(took).Seconds())
}
