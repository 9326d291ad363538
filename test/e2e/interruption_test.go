// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// The daemon is killed in each phase, as a power failure would, and started
// again: the update is finished, or undone if it was bad, and no row is lost.
func TestKilledInEveryPhase(t *testing.T) {
	t.Parallel()
	s := siteOf(t, harness.Start(t, harness.Options{}), apps.Shop)
	s.apply("")
	s.succeeds("")
	const visits = 3
	s.visit(visits)
	first := s.containers()
	running := "1"
	for i, phase := range []v1alpha1.Phase{
		v1alpha1.PhasePreflight, v1alpha1.PhaseBackingUp, v1alpha1.PhaseBuilding,
		v1alpha1.PhaseRollingOut, v1alpha1.PhaseVerifying, v1alpha1.PhaseRollingBack,
	} {
		ok := t.Run(string(phase), func(t *testing.T) {
			s := s.in(t)
			before, at, ticks := s.containers(), s.deployed(), harness.Rows(t, s.repo.Project, "ticks")
			target := strconv.Itoa(i + 2)
			files, want := version(target, "web", "worker"), v1alpha1.PhaseSucceeded
			if phase == v1alpha1.PhaseRollingBack {
				behave(files, "web", apps.Behaviour{Crash: true})
				want = v1alpha1.PhaseRolledBack
			}
			commit := s.publish("Version "+target, files)
			r := s.Update(s.name, commit)
			s.WaitPhase(r.Name, phase)
			s.Kill9()
			s.Restart()
			r = s.WantEnd(r.Name, want)
			if want == v1alpha1.PhaseSucceeded {
				running, at = target, commit
				s.wantReplaced(before, "web", "worker")
				s.wantRelease(r, commit)
			} else {
				s.wantUntouched(before, "web")
			}
			s.wantVersion(running)
			s.wantDeployed(at)
			s.wantOneOfEach("migrate")
			s.wantUntouched(first, "db", "front", "migrate")
			if got := harness.Rows(t, s.repo.Project, "visits"); got != visits {
				t.Errorf("%d visits became %d", visits, got)
			}
			if got := harness.Rows(t, s.repo.Project, "ticks"); got < ticks {
				t.Errorf("%d ticks became %d", ticks, got)
			}
			if got := harness.Rows(t, s.repo.Project, "migrations"); got != 1 {
				t.Errorf("%d migrations are recorded, want 1", got)
			}
		})
		if !ok {
			t.FailNow() // what comes after it says nothing
		}
	}
}

// wantOneOfEach checks that each service has one container, which runs unless
// the service is a one-shot.
func (s *site) wantOneOfEach(oneShots ...string) {
	s.t.Helper()
	for service, cs := range s.containers() {
		if len(cs) != 1 || cs[0].Running == slices.Contains(oneShots, service) {
			s.t.Errorf("%s has not the one container that it should have: %+v", service, cs)
		}
	}
}

// slowly is a version of hello that needs a while to start, so that there is time
// to interrupt its rollout.
func slowly(v, delay string) map[string]string {
	return map[string]string{"version.txt": v + "\n", "behaviour.json": apps.Behaviour{StartDelay: delay}.JSON()}
}

// starting waits until the new container of the only service was started.
func (s *site) starting(request string) {
	s.t.Helper()
	s.WaitRequest(request, "a new container that starts", func(r *v1alpha1.UpdateRequest) bool {
		return len(r.Status.Services) == 1 && r.Status.Services[0].Health == "starting"
	})
}

// A daemon that is told to stop does so soon, with an update under way, and
// goes on with it at the next start.
func TestStoppedInMidRollout(t *testing.T) {
	t.Parallel()
	s := siteOf(t, harness.Start(t, harness.Options{}), apps.Hello)
	s.apply("")
	s.succeeds("")
	before := s.containers()
	commit := s.publish("Starts slowly", slowly("2", "4s"))
	r := s.Update(s.name, commit)
	s.starting(r.Name)
	begin := time.Now()
	s.Stop() // fails the test unless the exit code is 0
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the daemon took %s to stop", took)
	}
	interrupted := s.containers()["web"]
	s.Restart()
	ended := s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	if n := harness.Step(ended, v1alpha1.StepRollout).Attempt; n != 2 {
		t.Errorf("the rollout has %d attempts, want one before the stop and one after", n)
	}
	s.wantReplaced(before, "web")
	s.wantOneOfEach()
	s.wantVersion("2")
	s.wantDeployed(commit)
	// It went on with the container that it had started, and made no other.
	if now := s.containers()["web"][0]; !slices.ContainsFunc(interrupted, func(c harness.Container) bool { return c.ID == now.ID }) {
		t.Errorf("%s is none of those that were there when the daemon stopped: %v", now.Name, identities(interrupted))
	}
}

// Deleting a request that runs undoes its work before the object goes.
func TestDeletedInMidRollout(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "  rollout: {healthTimeout: 10m, soak: 0s}\n")
	before, at := s.containers(), s.deployed()
	r := s.Update(s.name, s.publish("Starts for ever", slowly("2", "10m")))
	s.starting(r.Name)
	if err := s.Client.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.WaitGone(r)
	s.wantVersion("1")
	s.wantDeployed(at)
	s.wantOneOfEach()
	if now := s.containers(); now["web"][0].ID != before["web"][0].ID || !slices.Equal(slices.Sorted(maps.Keys(now)), []string{"web"}) {
		t.Errorf("%v became %v; want the old container again, and no other", identities(before["web"]), identities(now["web"]))
	}
	s.succeeds(s.publish("Starts at once", slowly("3", "")))
	s.wantVersion("3")
}
