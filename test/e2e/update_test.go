// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// A shop with its database goes through good updates, one after the other.
func TestGoodUpdates(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, false)
	t.Cleanup(func() { removeImages(t, r.addr+"/team/web") }) // when no container uses them any more
	s := running(t, apps.Shop, "")
	s.wantVersion("1")
	s.visit(5)
	t.Run("everything changed", func(t *testing.T) { s.in(t).updateAll() })
	t.Run("compose by hand", func(t *testing.T) { s.in(t).composeAgrees() })
	t.Run("one service changed", func(t *testing.T) { s.in(t).updateOne() })
	t.Run("nothing changed", func(t *testing.T) { s.in(t).updateNothing() })
	t.Run("only the tree changed", func(t *testing.T) { s.in(t).updateTree() })
	t.Run("a mounted file changed", func(t *testing.T) { s.in(t).updateMount() })
	t.Run("force", func(t *testing.T) { s.in(t).updateByForce() })
	t.Run("a queue", func(t *testing.T) { s.in(t).updateInQueue() })
	t.Run("dry run", func(t *testing.T) { s.in(t).updateDry() })
	t.Run("a pulled image", func(t *testing.T) { s.in(t).updatePulled(r) })
}

// in binds a site to a subtest.
func (s *site) in(t *testing.T) *site {
	bound := *s
	bound.t, bound.Daemon = t, s.Daemon.For(t)
	return &bound
}

func (s *site) updateAll() {
	t := s.t
	before := s.containers()
	visits, ticks := harness.Rows(t, s.repo.Project, "visits"), harness.Rows(t, s.repo.Project, "ticks")
	if visits != 5 {
		t.Errorf("there are %d visits before the update, want 5", visits)
	}
	files := version("2", "web", "worker", "migrate")
	files["migrate/migrations/002_note.sql"] = "ALTER TABLE visits ADD COLUMN note text NOT NULL DEFAULT 'none';\n"
	commit := s.publish("Second version", files)
	r := s.succeeds(commit)

	s.wantVersion("2")
	s.wantDeployed(commit)
	s.wantUntouched(before, "db", "front")
	s.wantReplaced(before, "web", "worker")
	for service, want := range map[string]v1alpha1.ServiceAction{
		"db": v1alpha1.ActionKeep, "front": v1alpha1.ActionKeep, "migrate": v1alpha1.ActionRun,
		"web": v1alpha1.ActionReplace, "worker": v1alpha1.ActionReplace,
	} {
		if got := action(r, service); got != want {
			t.Errorf("the action for %s is %q, want %s", service, got, want)
		}
	}
	if got := harness.Rows(t, s.repo.Project, "visits"); got != visits {
		t.Errorf("%d visits became %d", visits, got)
	}
	if got := harness.Rows(t, s.repo.Project, "ticks"); got < ticks {
		t.Errorf("%d ticks became %d", ticks, got)
	}
	if got := harness.SQL(t, s.repo.Project, "SELECT DISTINCT note FROM visits"); got != "none" {
		t.Errorf("the migration did not run: the new column has %q", got)
	}
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "True/Succeeded")
	wantCondition(t, r, v1alpha1.ConditionBackedUp, "True/Succeeded")
	if len(r.Status.Changes) != 1 || r.Status.Changes[0].Subject != "Second version" || r.Status.Changes[0].Commit != commit {
		t.Errorf("the changes are %+v", r.Status.Changes)
	}
	s.wantBackup(r)
	s.wantRelease(r, commit)
	s.wantLog(r)
}

// wantBackup checks the backup of a request on the disk: whole, readable to the end,
// and with what the application has.
func (s *site) wantBackup(r *v1alpha1.UpdateRequest) {
	t := s.t
	t.Helper()
	dir := backup.Dir(s.repo.Dir)
	if want := filepath.Join(dir, "backup_"+r.Status.ID); r.Status.BackupPath != want {
		t.Errorf("the backup is in %q, want %q", r.Status.BackupPath, want)
	}
	if err := backup.Verify(t.Context(), dir, filepath.Base(r.Status.BackupPath)); err != nil {
		t.Errorf("the backup is not whole: %v", err)
	}
	m, err := backup.Open(dir, filepath.Base(r.Status.BackupPath))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[backup.Kind]bool{}
	saved := ""
	for _, a := range m.Artifacts {
		kinds[a.Kind] = true
		for _, f := range a.Files {
			saved += f.Path + "\n"
		}
	}
	if !kinds[backup.KindPostgreSQL] || !kinds[backup.KindFiles] {
		t.Errorf("the backup has %v: no dump or no files", slices.Collect(maps.Keys(kinds)))
	}
	wantContains(t, "the list of saved files", saved, filepath.Join(s.repo.Dir, ".env"), filepath.Join(s.repo.Dir, "docker-compose.yml"))
	known := s.backup(r.Status.Backup)
	if known.Status.Path != r.Status.BackupPath || known.Status.Bytes != m.Bytes || len(known.Status.Artifacts) != len(m.Artifacts) || known.Spec.Request != r.Name {
		t.Errorf("the Backup says %+v, the disk %+v", known, m)
	}
}

// wantRelease checks that a request recorded the current release.
func (s *site) wantRelease(r *v1alpha1.UpdateRequest, commit string) {
	t := s.t
	t.Helper()
	releases := s.Releases(s.name)
	if len(releases) == 0 || releases[0].Name != r.Status.Release {
		t.Fatalf("the release %q is not the newest of %d", r.Status.Release, len(releases))
	}
	rel := releases[0]
	if rel.Spec.Commit != commit || rel.Status.State != v1alpha1.ReleaseCurrent || !rel.Status.Verified || rel.Spec.Request != r.Name {
		t.Errorf("the release is %+v", rel)
	}
	for _, rs := range rel.Spec.Services {
		// What was kept may run from another image of the same content.
		if cs := s.containers()[rs.Name]; action(r, rs.Name) != v1alpha1.ActionKeep && len(cs) == 1 && cs[0].Image != rs.ImageID {
			t.Errorf("the release says that %s runs %s, the engine runs %s", rs.Name, rs.ImageID, cs[0].Image)
		}
	}
	for _, old := range releases[1:] {
		if old.Status.State == v1alpha1.ReleaseCurrent {
			t.Errorf("the release %s is current too", old.Name)
		}
	}
	app := s.WaitApp(s.name, "its new release", func(a *v1alpha1.Application) bool {
		return a.Status.Release == rel.Name && a.Status.ActiveRequest == ""
	})
	if app.Status.Commit != commit {
		t.Errorf("the application says it runs %s, not %s", app.Status.Commit, commit)
	}
}

// wantLog checks the log file of a request that succeeded.
func (s *site) wantLog(r *v1alpha1.UpdateRequest) {
	t := s.t
	t.Helper()
	if want := filepath.Join(s.repo.Dir, ".update", "logs", "update_"+r.Status.ID+".log"); r.Status.LogFile != want {
		t.Errorf("the log is %q, want %q", r.Status.LogFile, want)
	}
	log := s.Log(r)
	wantContains(t, "the log", log, "Preflight", "Backup", "Rollout", "Verify",
		"Result:      Succeeded", r.Status.BackupPath, r.Status.LogFile, "Duration:")
	env, err := os.ReadFile(filepath.Join(s.repo.Dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		if secret, ok := strings.CutPrefix(strings.TrimSpace(line), "POSTGRES_PASSWORD="); ok && strings.Contains(log, secret) {
			t.Error("the password of the database is in the log")
		}
	}
}

// composeAgrees checks that Docker's own docker-compose sees the project as one of
// its own, and finds nothing to do.
func (s *site) composeAgrees() {
	t := s.t
	s.wantComposePs("db running", "front running", "migrate exited", "web running", "worker running")
	before := s.containers()
	if _, err := s.repo.Compose(t.Context(), "up", "-d"); err != nil {
		t.Fatal(err)
	}
	s.wantUntouched(before, "db", "front", "web", "worker")
	s.wantVersion("2")
}

// wantComposePs checks what docker-compose ps --all tells: "service state" each.
func (s *site) wantComposePs(want ...string) {
	s.t.Helper()
	ps, err := s.repo.Compose(s.t.Context(), "ps", "--all", "--format", "{{.Service}} {{.State}}")
	if err != nil {
		s.t.Fatal(err)
	}
	if got := slices.Sorted(strings.SplitSeq(strings.TrimSpace(ps), "\n")); !slices.Equal(got, want) {
		s.t.Errorf("docker-compose ps says %q, want %q", got, want)
	}
}

// backup is the Backup of the application with an ID.
func (s *site) backup(id string) *v1alpha1.Backup {
	s.t.Helper()
	var list v1alpha1.BackupList
	if err := s.Client.List(s.t.Context(), &list, client.InNamespace(s.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	for i := range list.Items {
		if b := &list.Items[i]; b.Spec.ID == id && b.Spec.ApplicationRef.Name == s.name {
			return b
		}
	}
	s.t.Fatalf("there is no Backup %s of %s", id, s.name)
	return nil
}

func (s *site) updateOne() {
	t := s.t
	before := s.containers()
	commit := s.publish("A new worker", version("3", "worker"))
	r := s.succeeds("main") // a branch means its head
	if r.Status.Commit != commit {
		t.Errorf("the branch was resolved to %s, want %s", r.Status.Commit, commit)
	}
	s.wantReplaced(before, "worker")
	s.wantUntouched(before, "db", "front", "web", "migrate")
	s.wantVersion("2")
	s.wantDeployed(commit)
	s.wantRelease(r, commit)
	if row := harness.SQL(t, s.repo.Project, "SELECT version FROM ticks ORDER BY id DESC LIMIT 1"); row != "3" {
		t.Errorf("the last tick is of version %s, want 3", row)
	}
}

func (s *site) updateNothing() {
	t := s.t
	before, releases, backups := s.containers(), len(s.Releases(s.name)), s.backups()
	r := s.succeeds("")
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "True/Unchanged")
	s.wantUntouched(before)
	if now := s.backups(); !slices.Equal(now, backups) || r.Status.Backup != "" {
		t.Errorf("a backup was made of nothing new: %v, status %q", now, r.Status.Backup)
	}
	if now := len(s.Releases(s.name)); now != releases {
		t.Errorf("%d releases became %d", releases, now)
	}
	if step := harness.Step(r, v1alpha1.StepRollout); step.State != v1alpha1.StepSkipped {
		t.Errorf("the rollout is %+v, not skipped", step)
	}
}

func (s *site) updateTree() {
	before := s.containers()
	commit := s.publish("Words", map[string]string{"README.md": "A shop.\n"})
	r := s.succeeds(commit)
	wantCondition(s.t, r, v1alpha1.ConditionSucceeded, "True/Succeeded")
	s.wantUntouched(before)
	s.wantDeployed(commit)
	s.wantRelease(r, commit)
	if _, err := os.Stat(filepath.Join(s.repo.Dir, "README.md")); err != nil {
		s.t.Error(err)
	}
}

// nginx reads a file of the deployment directory: a change of it is a change of the
// service, although neither its image nor its configuration changed.
func (s *site) updateMount() {
	t := s.t
	before := s.containers()
	conf, err := os.ReadFile(filepath.Join(s.repo.Dir, "front", "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(conf), "listen 80;\n", "listen 80;\n    location = /conf { return 200 'second'; }\n", 1)
	commit := s.publish("Another nginx.conf", map[string]string{"front/nginx.conf": changed})
	s.succeeds(commit)
	s.wantReplaced(before, "front")
	s.wantUntouched(before, "db", "web", "worker", "migrate")
	s.wantDeployed(commit)
	s.wantVersion("2")
	if got, err := harness.Get(t.Context(), s.repo.URL("/conf")); err != nil || got != "second" {
		t.Errorf("the front has not read its new file: %q, %v", got, err)
	}
}

func (s *site) updateByForce() {
	t := s.t
	before := s.containers()
	rows := harness.Rows(t, s.repo.Project, "visits")
	r := s.succeeds("", harness.Force)
	s.wantReplaced(before, "db", "front", "migrate", "web", "worker")
	s.wantVersion("2")
	s.wantRelease(r, r.Status.Commit)
	if got := harness.Rows(t, s.repo.Project, "visits"); got != rows {
		t.Errorf("%d visits became %d", rows, got)
	}
}

// An image from a registry takes the place of one that was built.
func (s *site) updatePulled(r *registry) {
	t := s.t
	before := s.containers()
	ref := r.addr + "/team/web:9"
	if err := os.WriteFile(filepath.Join(s.repo.Work, "web", "version.txt"), []byte("9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.docker("build", "--quiet", "--no-cache", "--label", "fairlead.dev/test=e2e", "--file", filepath.Join(s.repo.Work, "web", "Dockerfile"), "--tag", ref, s.repo.Work)
	r.docker("push", "--quiet", ref)
	r.docker("image", "rm", ref)
	file, err := os.ReadFile(filepath.Join(s.repo.Dir, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	pulled := strings.Replace(string(file), "    build:\n      context: .\n      dockerfile: web/Dockerfile\n", "    image: "+ref+"\n", 1)
	if pulled == string(file) {
		t.Fatal("web is not built as this test expects")
	}
	commit := s.publish("Web from a registry", map[string]string{"docker-compose.yml": pulled, "web/version.txt": "9\n"})
	res := s.succeeds(commit)
	s.wantReplaced(before, "web")
	s.wantUntouched(before, "db", "worker", "migrate")
	s.wantVersion("9")
	s.wantDeployed(commit)
	s.wantRelease(res, commit)
	for _, rs := range s.Releases(s.name)[0].Spec.Services {
		if rs.Name == "web" && !strings.HasPrefix(rs.RepoDigest, r.addr+"/team/web@sha256:") {
			t.Errorf("the release does not say what was pulled: %+v", rs)
		}
	}
}

// backups are the names in the directory of backups.
func (s *site) backups() []string {
	s.t.Helper()
	entries, err := os.ReadDir(backup.Dir(s.repo.Dir))
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "backup_") {
			names = append(names, e.Name())
		}
	}
	return names
}
