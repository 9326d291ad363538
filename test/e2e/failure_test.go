// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// A shop meets all that can go wrong with a commit; after each of it the version
// before answers, and at the end a good commit works.
func TestBadUpdates(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Shop, "")
	s.visit(3)
	t.Run("unhealthy version", func(t *testing.T) { s.in(t).updateUnhealthy() })
	t.Run("crashing worker", func(t *testing.T) { s.in(t).updateCrashing() })
	t.Run("build fails", func(t *testing.T) { s.in(t).updateUnbuildable() })
	t.Run("migration fails", func(t *testing.T) { s.in(t).updateWithBadMigration() })
	t.Run("check fails", func(t *testing.T) { s.in(t).updateUnverifiable() })
	t.Run("cancelled", func(t *testing.T) { s.in(t).updateCancelled() })
	t.Run("backup fails", func(t *testing.T) { s.in(t).updateWithoutBackup() })
	t.Run("mended", func(t *testing.T) {
		s := s.in(t)
		files := behave(behave(version("9", "web", "worker", "migrate"), "web", apps.Behaviour{}), "worker", apps.Behaviour{})
		behave(files, "migrate", apps.Behaviour{})
		files["web/Dockerfile"] = dockerfile("web")
		commit := s.publish("Mended", files)
		r := s.succeeds(commit)
		s.wantVersion("9")
		s.wantDeployed(commit)
		s.wantRelease(r, commit)
	})
}

// dockerfile is the good one of a service of shop.
func dockerfile(service string) string {
	return "FROM scratch\nCOPY app /app\nCOPY " + service + "/version.txt " + service + "/behaviour.json /\nENTRYPOINT [\"/app\"]\nCMD [\"" + service + "\"]\n"
}

// deployed is the commit of the deployment directory.
func (s *site) deployed() string {
	s.t.Helper()
	commit, err := s.repo.Deployed(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return commit
}

// wantUndone checks that nothing is left of a request that was rolled back.
func (s *site) wantUndone(r *v1alpha1.UpdateRequest, before map[string][]harness.Container, commit, version string, releases []v1alpha1.Release) {
	s.t.Helper()
	s.wantUntouched(before)
	s.wantVersion(version)
	s.wantDeployed(commit)
	wantCondition(s.t, r, v1alpha1.ConditionRolledBack, "True/RolledBack")
	if r.Status.Rollback == nil || r.Status.Rollback.Commit != commit || r.Status.Rollback.Release != releases[0].Name {
		s.t.Errorf("the rollback is %+v, want to %s of %s", r.Status.Rollback, releases[0].Name, commit)
	}
	now := s.Releases(s.name)
	if len(now) != len(releases) || now[0].Name != releases[0].Name || now[0].Status.State != v1alpha1.ReleaseCurrent {
		s.t.Errorf("the releases are %v", now)
	}
	// From which backup data could come back, and that it is there.
	wantContains(s.t, "the message", r.Status.Message, r.Status.Backup, r.Status.BackupPath)
	if err := backup.Verify(s.t.Context(), backup.Dir(s.repo.Dir), r.Status.Backup); err != nil {
		s.t.Error(err)
	}
	wantContains(s.t, "the log", s.Log(r), "Result:      RolledBack", "[Rollback]")
}

func (s *site) updateUnhealthy() {
	t := s.t
	before, commit, releases := s.containers(), s.deployed(), s.Releases(s.name)
	rows := harness.Rows(t, s.repo.Project, "visits")
	bad := s.publish("Never healthy", behave(version("2", "web", "worker"), "web", apps.Behaviour{Unhealthy: true}))
	r := s.ends(bad, v1alpha1.PhaseRolledBack)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/HealthCheckFailed")
	s.wantUndone(r, before, commit, "1", releases)
	wantContains(t, "the message", r.Status.Message, "web", "did not become healthy", "GET /healthz: 503")
	i := slices.IndexFunc(r.Status.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Name == "web" })
	if i < 0 || !strings.Contains(strings.Join(r.Status.Services[i].Log, "\n"), "web: listening on") {
		t.Errorf("the last log lines of the container are not kept: %+v", r.Status.Services)
	}
	if got := harness.Rows(t, s.repo.Project, "visits"); got != rows {
		t.Errorf("%d visits became %d", rows, got)
	}

	// The commit is remembered: it is tried again only if a person asks.
	again := s.ends(bad, v1alpha1.PhaseFailed)
	wantCondition(t, again, v1alpha1.ConditionSucceeded, "False/CommitFailedBefore")
	wantContains(t, "the message", again.Status.Message, r.Name, "retry")
	s.wantUntouched(before)
	if again.Status.Backup != "" {
		t.Errorf("a refused request made the backup %s", again.Status.Backup)
	}
	asked := s.ends(bad, v1alpha1.PhaseRolledBack, harness.Retry)
	wantCondition(t, asked, v1alpha1.ConditionSucceeded, "False/HealthCheckFailed")
	s.wantUndone(asked, before, commit, "1", releases)
	app := s.WaitApp(s.name, "the failed commit", func(a *v1alpha1.Application) bool {
		return len(a.Status.FailedCommits) > 0 && a.Status.ActiveRequest == ""
	})
	if f := app.Status.FailedCommits[0]; f.Commit != bad || f.Reason != v1alpha1.ReasonHealthCheckFailed {
		t.Errorf("the failed commits are %+v", app.Status.FailedCommits)
	}
}

// A service without a healthcheck that ends soon after its start.
func (s *site) updateCrashing() {
	t := s.t
	before, commit, releases := s.containers(), s.deployed(), s.Releases(s.name)
	files := behave(version("3", "worker"), "worker", apps.Behaviour{Crash: true})
	behave(files, "web", apps.Behaviour{})
	r := s.ends(s.publish("Crashing worker", files), v1alpha1.PhaseRolledBack)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/HealthCheckFailed")
	wantContains(t, "the message", r.Status.Message, "worker", "told to crash")
	s.wantUndone(r, before, commit, "1", releases)
}

func (s *site) updateUnbuildable() {
	t := s.t
	before, commit, backups := s.containers(), s.deployed(), len(s.backups())
	files := behave(version("4", "web"), "worker", apps.Behaviour{})
	files["web/Dockerfile"] = "FROM scratch\nCOPY no-such-file /\n"
	r := s.ends(s.publish("Cannot be built", files), v1alpha1.PhaseFailed)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/BuildFailed")
	wantContains(t, "the message", r.Status.Message, "web", "no-such-file")
	s.wantUntouched(before)
	s.wantVersion("1")
	s.wantDeployed(commit)
	if r.Status.Rollback != nil {
		t.Errorf("there was nothing to roll back, but the status says %+v", r.Status.Rollback)
	}
	if now := len(s.backups()); now > backups+1 {
		t.Errorf("%d backups became %d", backups, now)
	}
}

func (s *site) updateWithBadMigration() {
	t := s.t
	before, commit, releases := s.containers(), s.deployed(), s.Releases(s.name)
	rows := harness.Rows(t, s.repo.Project, "visits")
	files := version("5", "web", "worker")
	files["web/Dockerfile"] = dockerfile("web")
	files["migrate/migrations/002_bad.sql"] = "INSERT INTO visits (version, host) VALUES ('bad', 'bad');\nALTER TABLE no_such_table ADD COLUMN x text;\n"
	r := s.ends(s.publish("Bad migration", files), v1alpha1.PhaseRolledBack)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/OneShotFailed")
	wantContains(t, "the message", r.Status.Message, "migrate", "002_bad.sql", "no_such_table")
	s.wantUndone(r, before, commit, "1", releases)
	if got := harness.Rows(t, s.repo.Project, "visits"); got != rows {
		t.Errorf("%d visits became %d", rows, got)
	}
	s.publish("Without it", map[string]string{"migrate/migrations/002_bad.sql": apps.Removed})
}

// Somebody changes his mind while new containers start, after the migration.
func (s *site) updateCancelled() {
	t := s.t
	before, commit := s.containers(), s.deployed()
	r := s.Update(s.name, s.publish("Starts for ever", behave(version("7", "web", "worker", "migrate"), "web", apps.Behaviour{StartDelay: "10m"})))
	s.WaitRequest(r.Name, "a new web that starts", func(r *v1alpha1.UpdateRequest) bool {
		return slices.ContainsFunc(r.Status.Services, func(u v1alpha1.ServiceUpdate) bool { return u.Name == "web" && u.Health == "starting" })
	})
	s.Cancel(r.Name)
	ended := s.WantEnd(r.Name, v1alpha1.PhaseCancelled)
	wantCondition(t, ended, v1alpha1.ConditionRolledBack, "True/RolledBack")
	s.wantOldContainers(before)
	s.wantVersion("1")
	s.wantDeployed(commit)
}

// All containers are healthy, but the application's own check says no.
func (s *site) updateUnverifiable() {
	t := s.t
	s.apply("  verify: {attempts: 2, interval: 200ms, checks: [{name: version, http: {url: \"" + s.repo.URL("/version") + "\", contains: \"1\"}}]}\n")
	defer s.apply("")
	before, commit, releases := s.containers(), s.deployed(), s.Releases(s.name)
	r := s.ends(s.publish("Wrong answer", version("6", "web", "worker")), v1alpha1.PhaseRolledBack)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/VerifyFailed")
	wantContains(t, "the message", r.Status.Message, "version")
	s.wantVersion("1")
	s.wantDeployed(commit)
	if now := s.Releases(s.name); len(now) != len(releases) || now[0].Status.State != v1alpha1.ReleaseCurrent {
		t.Errorf("the releases are %v", now)
	}
	// The old containers were stopped by then: they come back, the same ones.
	after := s.containers()
	for _, service := range []string{"web", "worker"} {
		if len(after[service]) != 1 || after[service][0].ID != before[service][0].ID || !after[service][0].Running {
			t.Errorf("%s runs in %v, want the old %v", service, identities(after[service]), identities(before[service]))
		}
	}
	s.wantUntouched(before, "db", "front")
}

func (s *site) updateWithoutBackup() {
	t := s.t
	before, commit := s.containers(), s.deployed()
	bad := s.publish("Cannot be saved", version("7", "web"))

	// The preflight tells of a directory that is none.
	dir := backup.Dir(s.repo.Dir)
	aside := filepath.Join(filepath.Dir(s.repo.Dir), "backups-aside")
	if err := os.Rename(dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.ends(bad, v1alpha1.PhaseFailed)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/PreflightFailed")
	wantContains(t, "the message", r.Status.Message, "BackupDirectory", dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, dir); err != nil {
		t.Fatal(err)
	}
	s.wantUntouched(before)
	backups := s.backups()

	// A database that does not run cannot be dumped: told before anything is done.
	engine, db := harness.Engine(t), before["db"][0].ID
	if err := engine.ContainerStop(t.Context(), db, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	r = s.ends(bad, v1alpha1.PhaseFailed)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/PreflightFailed")
	wantContains(t, "the message", r.Status.Message, "Backup", `"db" is not running`, "start it")
	if err := engine.ContainerStart(t.Context(), db, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	s.wantUntouched(before, "web", "worker", "front")
	s.WaitApp(s.name, "a healthy database", func(a *v1alpha1.Application) bool { return a.Status.Healthy == "5/5" })

	// A dump that fails halfway.
	before = s.containers()
	const dump = "/usr/lib/postgresql/15/bin/pg_dumpall"
	s.exec(db, "mv", dump, dump+".aside")
	r = s.ends(bad, v1alpha1.PhaseFailed)
	s.exec(db, "mv", dump+".aside", dump)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/BackupFailed")
	wantCondition(t, r, v1alpha1.ConditionBackedUp, "False/BackupFailed")
	wantContains(t, "the message", r.Status.Message, "db", "pg_dumpall")
	s.wantUntouched(before)
	s.wantDeployed(commit)
	if now := s.backups(); !slices.Equal(now, backups) || r.Status.Backup != "" {
		t.Errorf("half a backup was left: %v, status %q", now, r.Status.Backup)
	}
	for _, step := range []v1alpha1.StepName{v1alpha1.StepBuild, v1alpha1.StepRollout} {
		if st := harness.Step(r, step); st.State != "" {
			t.Errorf("step %s is %+v after a failed backup", step, st)
		}
	}
}

// exec runs a command in a container as root.
func (s *site) exec(container string, command ...string) {
	s.t.Helper()
	if _, errOut, code := harness.Run(s.t.Context(), nil, "", "docker", append([]string{"exec", "-u", "0", container}, command...)...); code != 0 {
		s.t.Fatalf("%v: exit %d: %s", command, code, errOut)
	}
}
