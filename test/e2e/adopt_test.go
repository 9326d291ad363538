// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"maps"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// An application that docker-compose started is taken over.
func TestAdoption(t *testing.T) {
	t.Parallel()
	// It is the engine alone that finds it healthy.
	s := siteWith(t, shared, apps.Shop, map[string]string{"HEALTH_INTERVAL": "4s"})
	if err := s.repo.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.waitAnswer()
	s.visit(3)
	before, first := s.containers(), s.deployed()

	s.apply("")
	app := s.WaitApp(s.name, "its services", func(a *v1alpha1.Application) bool { return a.Status.Healthy == "5/5" })
	s.wantUntouched(before)
	if app.Status.Commit != first || app.Status.Project != s.repo.Project || app.Status.Branch != "main" {
		t.Errorf("the status says commit %q, project %q, branch %q", app.Status.Commit, app.Status.Project, app.Status.Branch)
	}
	states := map[string]string{}
	for _, sv := range app.Status.Services {
		states[sv.Name] = sv.State + " " + sv.Health
		if cs := before[sv.Name]; sv.State == "Running" && (len(sv.Containers) != 1 || sv.Containers[0] != cs[0].Name || sv.ImageID != cs[0].Image) {
			t.Errorf("the status of %s is %+v, the engine has %v", sv.Name, sv, identities(cs))
		}
	}
	want := map[string]string{
		"db": "Running Healthy", "web": "Running Healthy", "worker": "Running ", "front": "Running ", "migrate": "Completed ",
	}
	if !maps.Equal(states, want) {
		t.Errorf("the services are %v, want %v", states, want)
	}

	t.Run("nothing to do", func(t *testing.T) {
		s := s.in(t)
		r := s.succeeds("")
		wantCondition(t, r, v1alpha1.ConditionSucceeded, "True/Unchanged")
		s.wantUntouched(before)
	})
	t.Run("bad first update", func(t *testing.T) {
		s := s.in(t)
		s.ends(s.publish("Never healthy", behave(version("2", "web"), "web", apps.Behaviour{Unhealthy: true})), v1alpha1.PhaseRolledBack)
		s.wantUntouched(before)
		s.wantVersion("1")
		s.wantDeployed(first)
	})
	t.Run("first update", func(t *testing.T) {
		s := s.in(t)
		commit := s.publish("Second version", behave(version("2", "web"), "web", apps.Behaviour{}))
		r := s.succeeds(commit)
		s.wantReplaced(before, "web")
		s.wantUntouched(before, "db", "front", "worker", "migrate")
		s.wantVersion("2")
		s.wantDeployed(commit)
		s.wantRelease(r, commit)
		if got := harness.Rows(t, s.repo.Project, "visits"); got != 3 {
			t.Errorf("3 visits became %d", got)
		}
		s.wantComposePs("db running", "front running", "migrate exited", "web running", "worker running")
	})
	t.Run("back to what was found", func(t *testing.T) {
		s := s.in(t)
		releases := s.Releases(s.name)
		found := releases[len(releases)-1]
		if found.Spec.Request != "" || found.Spec.Commit != first {
			t.Fatalf("the first release is %+v, want the one that was found", found.Spec)
		}
		s.succeeds("", harness.RollbackTo(found.Name))
		s.wantVersion("1")
		s.wantDeployed(first)
		s.wantUntouched(before, "db", "front")
	})
}
