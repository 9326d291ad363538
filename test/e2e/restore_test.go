// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// A backup is made and gone back to by requests: also when the daemon is killed in
// the middle of it. What was there before is a backup, and can be gone back to.
func TestRestoreByRequest(t *testing.T) {
	t.Parallel()
	s := siteOf(t, harness.Start(t, harness.Options{}), apps.Shop)
	s.publish("A place for uploads and notes", map[string]string{"docker-compose.yml": withData(t, s), ".gitignore": "/.env\n/uploads/\n"})
	s.write("uploads/a.txt", "one")
	s.apply("  rollout: {soak: 0s}\n")
	s.succeeds("")
	first := s.deployed()
	s.noteInVolume("one")
	s.visit(3)
	env := s.read(".env")

	// Only a backup: nothing that runs is touched.
	before, releases := s.containers(), len(s.Releases(s.name))
	made := s.succeeds("", harness.BackupOnly)
	s.wantUntouched(before)
	if n := len(s.Releases(s.name)); n != releases || made.Status.Release != "" {
		t.Errorf("a backup made %d releases of %d, and %q", n, releases, made.Status.Release)
	}
	if !strings.Contains(made.Status.Message, made.Status.Backup) || made.Status.Backup == "" {
		t.Errorf("message %q, backup %q", made.Status.Message, made.Status.Backup)
	}
	backup := s.backup(made.Status.Backup)

	s.publish("Second version", version("2", "web", "migrate"))
	s.succeeds("")
	second := s.deployed()
	s.visit(5)
	harness.SQL(t, s.repo.Project, "DROP TABLE ticks CASCADE")
	s.write("uploads/a.txt", "two")
	s.write("uploads/b.txt", "new")
	s.write(".env", env+"EXTRA=1\n")
	s.noteInVolume("two")

	// A dry run names what would be overwritten, and overwrites nothing.
	before = s.containers()
	out, _ := s.fairlead(cli.ExitOK, "restore", s.name, backup.Name, "--dry-run")
	wantContains(t, "the plan", out, "Overwritten", "uploads", "_notes", "dropped and made anew", "its dump is restored instead")
	_, errOut := s.fairlead(cli.ExitUsage, "restore", s.name, backup.Name)
	wantContains(t, "without --yes", errOut, "--yes")
	s.wantUntouched(before)
	if got := s.read("uploads/a.txt"); got != "two" {
		t.Fatalf("a.txt is %q after a dry run", got)
	}

	// The power fails in the middle of it.
	r := s.Update(s.name, "", harness.RestoreFrom(backup.Name))
	s.waitLog(r.Name, "the settings are back")
	s.Kill9()
	s.Restart()
	r = s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	if n := harness.Step(r, v1alpha1.StepRestore).Attempt; n != 2 {
		t.Errorf("the restore has %d attempts, want 2", n)
	}
	s.wantDeployed(first)
	s.wantVersion("1")
	if n := harness.Rows(t, s.repo.Project, "visits"); n != 3 {
		t.Errorf("%d visits, want those 3 of the backup", n)
	}
	harness.Rows(t, s.repo.Project, "ticks") // it is there again
	if got := s.read("uploads/a.txt") + s.note(); got != "oneone" || s.read(".env") != env {
		t.Errorf("upload and note are %q, or the .env is not that of the backup", got)
	}
	if _, err := os.Lstat(filepath.Join(s.repo.Dir, "uploads/b.txt")); err == nil {
		t.Error("b.txt, which the backup does not have, is still there")
	}
	s.wantOneOfEach("migrate")
	for _, left := range []string{"rollback-offline_" + s.Namespace + "_" + s.name + ".json", "work/overlay-" + r.Status.ID} {
		if _, err := os.Lstat(filepath.Join(s.repo.Dir, ".update", left)); err == nil {
			t.Errorf("%s is left", left)
		}
	}
	// What runs is a release, verified; what was there before is a backup.
	current := s.Releases(s.name)[0]
	if current.Name != r.Status.Release || current.Status.State != v1alpha1.ReleaseCurrent || !current.Status.Verified || current.Spec.Commit != first {
		t.Errorf("the newest release is %s %+v of %s, the request has %s", current.Name, current.Status, current.Spec.Commit, r.Status.Release)
	}
	safety := s.backup(r.Status.Backup)
	if safety.Spec.Request != r.Name || safety.Spec.Commit != second {
		t.Errorf("the safety backup is %+v", safety.Spec)
	}
	for _, name := range []string{"volume_" + s.repo.Project + "_notes", "bind_uploads", "postgres_db", "files"} {
		if !slices.ContainsFunc(safety.Status.Artifacts, func(a v1alpha1.BackupArtifact) bool { return a.Name == name }) {
			t.Errorf("%s is not in the safety backup", name)
		}
	}

	t.Run("back to what was there before", func(t *testing.T) {
		s := s.in(t)
		s.succeeds("", harness.RestoreFrom(safety.Name))
		s.wantDeployed(second)
		s.wantVersion("2")
		if n := harness.Rows(t, s.repo.Project, "visits"); n != 8 {
			t.Errorf("%d visits, want the 8 from before the restore", n)
		}
		if got := s.read("uploads/a.txt") + s.read("uploads/b.txt") + s.note(); got != "twonewtwo" {
			t.Errorf("what was there before has become %q", got)
		}
		if !strings.Contains(s.read(".env"), "EXTRA=1") {
			t.Error("the .env from before the restore is gone")
		}
	})
	t.Run("a damaged backup", func(t *testing.T) {
		s := s.in(t)
		s.spoil(backup.Spec.ID)
		before := s.containers()
		r := s.ends("", v1alpha1.PhaseFailed, harness.RestoreFrom(backup.Name))
		if r.Status.Failure == nil || r.Status.Failure.Reason != v1alpha1.ReasonBackupUnusable {
			t.Errorf("failure %+v", r.Status.Failure)
		}
		s.wantUntouched(before)
		r = s.ends("", v1alpha1.PhaseFailed, harness.RestoreFrom("none"))
		if r.Status.Failure == nil || r.Status.Failure.Reason != v1alpha1.ReasonBackupNotFound {
			t.Errorf("failure %+v", r.Status.Failure)
		}
	})
	t.Run("and on", func(t *testing.T) {
		s := s.in(t)
		s.publish("Third version", version("3", "web"))
		s.succeeds("")
		s.wantVersion("3")
	})
}
