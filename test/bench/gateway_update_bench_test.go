// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

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
	a := f.watchAnswers()
	var moved, ended []time.Duration
	for range 5 {
		commit := f.publish(".")
		version := f.latest()
		begin := time.Now()
		name := f.daemon.Update(f.name, commit).Name
		moved = append(moved, a.wait(t, version).Sub(begin))
		f.daemon.WaitPhase(name, v1alpha1.PhaseSucceeded)
		total := time.Since(begin)
		r := f.daemon.WantEnd(name, v1alpha1.PhaseSucceeded)
		ended = append(ended, total-stepTime(t, r.Status.LogFile, v1alpha1.StepBackup))
	}
	m, e := median(moved), median(ended)
	row("gateway: one service changed: request to the first answer of the new version, and to Succeeded, without the backup, beyond its own start",
		"at most 0.5 s", "%.2f s and %.2f s (own start %.2f s)", (m - own).Seconds(), (e - own).Seconds(), own.Seconds())
}

// TestGatewayUpdateThree measures three changed services.
func TestGatewayUpdateThree(t *testing.T) {
	f := deploy(t, apps.Hello)
	f.update(f.publish("."))
	own := ownStart(f)
	trio := deploy(t, apps.Trio)
	trio.update(trio.publish("alpha", "beta", "gamma"))
	trio.behindGateway("")
	trio.update(trio.publish("alpha", "beta", "gamma")) // what they listen on is known now
	var ended []time.Duration
	for range 5 {
		ended = append(ended, trio.withoutBackup(trio.publish("alpha", "beta", "gamma")))
	}
	e := median(ended)
	row("gateway: three services changed: request to Succeeded, without the backup, beyond their own start", "at most 0.5 s",
		"%.2f s (own start %.2f s)", (e - own).Seconds(), own.Seconds())
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
