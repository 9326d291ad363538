// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// slowBuild is a Dockerfile whose build does not end by itself in the time of a test.
const slowBuild = `FROM scratch
COPY app /app
COPY version.txt behaviour.json /
RUN ["/app", "web"]
ENTRYPOINT ["/app"]
CMD ["web"]
`

func TestCancel(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "")
	s.apply("  rollout: {healthTimeout: 10m, minHealthy: 0s, soak: 10m}\n") // nothing ends by itself
	before, at, releases := s.containers(), s.deployed(), len(s.Releases(s.name))
	wantAsBefore := func(t *testing.T, r *v1alpha1.UpdateRequest) {
		s := s.in(t)
		wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/Cancelled")
		s.wantVersion("1")
		s.wantDeployed(at)
		if now := len(s.Releases(s.name)); now != releases {
			t.Errorf("%d releases became %d", releases, now)
		}
		// To cancel is not to fail: the commit may be asked for again.
		if failed := s.App(s.name).Status.FailedCommits; len(failed) != 0 {
			t.Errorf("the commit counts as failed: %+v", failed)
		}
	}
	t.Run("before it starts", func(t *testing.T) {
		s := s.in(t)
		r := s.Update(s.name, "", harness.Suspend)
		s.WaitPhase(r.Name, v1alpha1.PhasePending)
		s.fairlead(cli.ExitUnknown, "status", "ur/"+r.Name, "--watch", "--timeout", "500ms") // it goes on waiting
		s.Cancel(r.Name)
		wantAsBefore(t, s.WantEnd(r.Name, v1alpha1.PhaseCancelled))
		s.fairlead(cli.ExitCancelled, "status", "ur/"+r.Name, "--watch")
		s.wantUntouched(before)
	})
	t.Run("while building", func(t *testing.T) {
		s := s.in(t)
		r := s.Update(s.name, s.publish("Builds for ever", map[string]string{"Dockerfile": slowBuild, "version.txt": "2\n"}))
		s.waitLog(r.Name, "web: listening on") // the command of the build
		s.Cancel(r.Name)
		wantAsBefore(t, s.WantEnd(r.Name, v1alpha1.PhaseCancelled))
		s.wantUntouched(before)
	})
	t.Run("while rolling out", func(t *testing.T) {
		s := s.in(t)
		files := map[string]string{"version.txt": "3\n", "Dockerfile": goodHello, "behaviour.json": apps.Behaviour{StartDelay: "10m"}.JSON()}
		r := s.Update(s.name, s.publish("Starts for ever", files))
		s.WaitRequest(r.Name, "a new container that starts", func(r *v1alpha1.UpdateRequest) bool {
			return len(r.Status.Services) == 1 && r.Status.Services[0].Health == "starting"
		})
		s.Cancel(r.Name)
		ended := s.WantEnd(r.Name, v1alpha1.PhaseCancelled)
		wantAsBefore(t, ended)
		wantCondition(t, ended, v1alpha1.ConditionRolledBack, "True/RolledBack")
		s.wantOldContainers(before)
	})
	t.Run("while it soaks", func(t *testing.T) {
		s := s.in(t)
		r := s.Update(s.name, s.publish("Good", map[string]string{"version.txt": "4\n", "behaviour.json": apps.Behaviour{}.JSON()}))
		s.WaitPhase(r.Name, v1alpha1.PhaseVerifying)
		s.Cancel(r.Name)
		wantAsBefore(t, s.WantEnd(r.Name, v1alpha1.PhaseCancelled))
		s.wantOldContainers(before)
	})
	t.Run("by deletion", func(t *testing.T) {
		s := s.in(t)
		r := s.Update(s.name, s.publish("Good too", map[string]string{"version.txt": "5\n"}))
		s.WaitPhase(r.Name, v1alpha1.PhaseVerifying)
		if err := s.Client.Delete(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		s.WaitGone(r)
		s.wantVersion("1")
		s.wantDeployed(at)
		s.wantOldContainers(before)
	})
}

// goodHello is the Dockerfile of hello.
const goodHello = "FROM scratch\nCOPY app /app\nCOPY version.txt behaviour.json /\nENTRYPOINT [\"/app\"]\nCMD [\"web\"]\n"

// wantOldContainers checks that the containers are those of before, and nothing else
// is left. They may have been stopped and started again.
func (s *site) wantOldContainers(before map[string][]harness.Container) {
	s.t.Helper()
	after := s.containers()
	for service, was := range before {
		is := after[service]
		if len(is) != len(was) || is[0].ID != was[0].ID || is[0].Running != was[0].Running || is[0].Name != was[0].Name {
			s.t.Errorf("%s runs in %v, want %v", service, identities(is), identities(was))
		}
	}
	if len(after) != len(before) {
		s.t.Errorf("there are services %v, want %v", after, before)
	}
}
