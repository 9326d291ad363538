// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// A person goes back to older releases, of a service with a container_name.
func TestRollbackToRelease(t *testing.T) {
	t.Parallel()
	s := newSite(t, apps.Hello)
	name := s.repo.Project + "-the-web"
	s.publish("A name", map[string]string{"docker-compose.yml": composeOf(s, "    container_name: "+name+"\n")})
	s.apply("")
	releases, commits := []string{}, []string{}
	for _, v := range []string{"1", "2", "3"} {
		commit := s.publish("Version "+v, map[string]string{"version.txt": v + "\n"})
		r := s.succeeds(commit)
		releases, commits = append(releases, r.Status.Release), append(commits, commit)
		s.wantVersion(v)
		s.wantNamed(name)
	}
	wantAt := func(t *testing.T, i int, version string) {
		s := s.in(t)
		s.wantVersion(version)
		s.wantDeployed(commits[i])
		s.wantNamed(name)
		for _, rel := range s.Releases(s.name) {
			if current := rel.Status.State == v1alpha1.ReleaseCurrent; current != (rel.Name == releases[i]) {
				t.Errorf("the release %s is %s", rel.Name, rel.Status.State)
			}
		}
		s.WaitApp(s.name, "the release", func(a *v1alpha1.Application) bool {
			return a.Status.Release == releases[i] && a.Status.Commit == commits[i]
		})
	}
	t.Run("by request", func(t *testing.T) {
		s := s.in(t)
		r := s.succeeds("", harness.RollbackTo(releases[0]))
		for _, step := range []v1alpha1.StepName{v1alpha1.StepFetch, v1alpha1.StepBuild} {
			if st := harness.Step(r, step); st.State != v1alpha1.StepSkipped {
				t.Errorf("step %s is %+v, not skipped", step, st)
			}
		}
		if r.Status.Backup == "" {
			t.Error("no backup was made")
		}
		wantAt(t, 0, "1")
	})
	t.Run("by command, by number", func(t *testing.T) {
		s := s.in(t)
		number := releases[1][strings.LastIndex(releases[1], "-")+1:]
		out, errOut, code := s.Fairlead("rollback", s.name, number)
		if code != cli.ExitOK {
			t.Fatalf("exit %d\n%s\n%s", code, out, errOut)
		}
		wantAt(t, 1, "2")
	})
	t.Run("by command, to the one before", func(t *testing.T) {
		s := s.in(t)
		out, errOut, code := s.Fairlead("rollback", s.name)
		if code != cli.ExitOK {
			t.Fatalf("exit %d\n%s\n%s", code, out, errOut)
		}
		wantContains(t, "what the command says", errOut, "goes back", "Data is not restored")
		wantAt(t, 0, "1")
	})
	t.Run("no such release", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		r := s.ends("", v1alpha1.PhaseFailed, harness.RollbackTo(s.name+"-99"))
		wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/ReleaseNotFound")
		wantContains(t, "the message", r.Status.Message, s.name+"-99", releases[2])
		s.wantUntouched(before)
	})
	t.Run("forward again", func(t *testing.T) {
		s := s.in(t)
		r := s.succeeds(commits[2])
		s.wantVersion("3")
		s.wantNamed(name)
		s.wantDeployed(commits[2])
		s.wantRelease(r, commits[2])
	})
	t.Run("bad version", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		s.ends(s.publish("Crashes", map[string]string{"version.txt": "4\n", "behaviour.json": apps.Behaviour{Crash: true}.JSON()}), v1alpha1.PhaseRolledBack)
		s.wantVersion("3")
		s.wantNamed(name)
		s.wantDeployed(commits[2])
		s.wantOldContainers(before)
	})
	t.Run("image is gone", func(t *testing.T) {
		s := s.in(t)
		var image string
		for _, rel := range s.Releases(s.name) {
			if rel.Name == releases[1] {
				image = rel.Spec.Services[0].ImageID
			}
		}
		if _, errOut, code := harness.Run(t.Context(), nil, "", "docker", "image", "rm", "--force", image); code != 0 {
			t.Fatalf("remove image: %s", errOut)
		}
		before := s.containers()
		r := s.ends("", v1alpha1.PhaseFailed, harness.RollbackTo(releases[1]))
		wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/ReleaseUnusable")
		wantContains(t, "the message", r.Status.Message, "image", "web")
		s.wantUntouched(before)
	})
}

// wantNamed checks that the one container of web has that name.
func (s *site) wantNamed(name string) {
	s.t.Helper()
	if cs := s.containers()["web"]; len(cs) != 1 || cs[0].Name != name || !cs[0].Running {
		s.t.Errorf("the containers of web are %v, want one that is called %s", identities(cs), name)
	}
}
