// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

const helperImage = "fairlead-test/base:bookworm"

// A backup is restored by hand, with the daemon killed and its data gone.
func TestOfflineRollback(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	d := harness.Start(t, harness.Options{Dir: dataDir})
	s := siteOf(t, d, apps.Shop)
	s.publish("A place for uploads and notes", map[string]string{
		"docker-compose.yml": withData(t, s), ".gitignore": "/.env\n/uploads/\n",
		// Its image is pruned below: other tests must not run it.
		"web/Dockerfile": s.read("web/Dockerfile") + "LABEL of=" + s.repo.Project + "\n",
	})
	s.write("uploads/a.txt", "one")
	s.apply("")
	s.succeeds("")
	first, web := s.deployed(), s.containers()["web"][0].Image
	s.noteInVolume("one")
	s.visit(3)
	env := s.read(".env")

	s.publish("Second version", version("2", "web", "migrate"))
	r := s.succeeds("")
	id := r.Status.Backup // of the first version, with three visits
	s.publish("Third version", version("3", "web"))
	damaged := s.succeeds("").Status.Backup
	third := s.deployed()

	// Things go wrong, and then the daemon is lost.
	s.visit(5)
	harness.SQL(t, s.repo.Project, "DROP TABLE ticks CASCADE")
	s.write("uploads/a.txt", "two")
	s.write("uploads/b.txt", "new")
	s.write(".env", env+"EXTRA=1\n")
	s.write("web/version.txt", "by hand\n")
	s.noteInVolume("two")
	d.Kill9()
	if err := os.RemoveAll(d.DataDir); err != nil {
		t.Fatal(err)
	}

	before := s.containers()
	s.spoil(damaged)
	_, errOut := s.offline(cli.ExitFailed, damaged, "--yes")
	wantContains(t, "the refusal", errOut, "damaged", "nothing was changed")
	_, errOut = s.offline(cli.ExitUsage, id)
	wantContains(t, "the question", errOut, "--yes", "nothing was changed")
	out, _ := s.offline(cli.ExitOK, id, "--dry-run")
	wantContains(t, "the plan", out, "web/version.txt", "uploads", "_notes", "dropped and made anew", "its dump is restored instead", "dry run")
	for _, typed := range []string{"no\n", "\n", "\x04"} { // the last one is the end of the input
		out := s.offlineAtTerminal(cli.ExitCancelled, typed, id)
		wantContains(t, "the question", out, "uploads", "dropped and made anew", "Overwrite this? Type yes to go on")
	}
	// The script that operators know finds its directory, and the program.
	script, err := os.ReadFile("../../scripts/rollback.sh")
	if err != nil {
		t.Fatal(err)
	}
	s.write("scripts/rollback.sh", string(script))
	out, errOut, code := harness.Run(t.Context(), append(s.offlineEnv(), "FAIRLEAD_BIN="+s.Binary), "", "bash", filepath.Join(s.repo.Dir, "scripts/rollback.sh"))
	if code != cli.ExitOK {
		t.Fatalf("rollback.sh: exit %d\n%s\n%s", code, out, errOut)
	}
	wantContains(t, "the list of backups", out, id, damaged, s.name)
	s.wantUntouched(before)
	if got := s.read("uploads/a.txt"); got != "two" {
		t.Errorf("a.txt is %q before anything was restored", got)
	}

	// The power fails in the middle of it; the same command goes on.
	s.cutOff("the settings are back", id)
	out, _ = s.offline(cli.ExitOK, id, "--yes")
	wantContains(t, "the second attempt", out, "an earlier attempt made", "all services run")
	safety := s.safetyBackup(out)
	wantRestored := func(t *testing.T) {
		t.Helper()
		s := s.in(t)
		s.wantDeployed(first)
		s.wantVersion("1")
		if n := harness.Rows(t, s.repo.Project, "visits"); n != 3 {
			t.Errorf("%d visits, want those 3 of the backup", n)
		}
		harness.Rows(t, s.repo.Project, "ticks") // it is there again
		if got := s.read(".env"); got != env {
			t.Error("the .env is not that of the backup")
		}
		if got := s.read("uploads/a.txt"); got != "one" {
			t.Errorf("a.txt is %q", got)
		}
		if _, err := os.Lstat(filepath.Join(s.repo.Dir, "uploads/b.txt")); err == nil {
			t.Error("b.txt, which the backup does not have, is still there")
		}
		if got := s.note(); got != "one" {
			t.Errorf("the note in the volume is %q", got)
		}
		for service, cs := range s.containers() {
			if service != "migrate" && (len(cs) != 1 || !cs[0].Running) {
				t.Errorf("the containers of %s are %v", service, identities(cs))
			}
		}
	}
	t.Run("restored", wantRestored)
	ps, err := s.repo.Compose(t.Context(), "ps", "--services", "--filter", "status=running")
	if err != nil {
		t.Fatal(err)
	}
	wantContains(t, "docker compose ps", ps, "db", "web", "worker", "front")

	t.Run("and back to what was there before", func(t *testing.T) {
		s := s.in(t)
		s.offlineAtTerminal(cli.ExitOK, "yes\n", safety)
		s.wantDeployed(third)
		if n := harness.Rows(t, s.repo.Project, "visits"); n != 8 {
			t.Errorf("%d visits, want the 8 from before the restore", n)
		}
		if got := s.read("uploads/a.txt") + s.read("uploads/b.txt") + s.note() + s.read("web/version.txt"); got != "twonewtwoby hand\n" {
			t.Errorf("what was there before has become %q", got)
		}
		if !strings.Contains(s.read(".env"), "EXTRA=1") {
			t.Error("the .env from before the restore is gone")
		}
	})

	// No container is left, and an image was pruned: it is built again at the commit,
	// and the volumes that nobody mounts are saved all the same.
	if _, err := s.repo.Compose(t.Context(), "down"); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := harness.Run(t.Context(), nil, "", "docker", "image", "rm", "--force", web); code != 0 {
		t.Fatalf("remove the image: %s", errOut)
	}
	out, _ = s.offline(cli.ExitOK, strings.TrimPrefix(id, "backup_"), "--yes")
	wantContains(t, "the output", out, "is built again at the commit")
	saved, err := backup.Open(backup.Dir(s.repo.Dir), s.safetyBackup(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"volume_" + s.repo.Project + "_notes", "volume_" + s.repo.Project + "_db-data", "bind_uploads"} {
		if !slices.ContainsFunc(saved.Artifacts, func(a backup.Artifact) bool { return a.Name == name }) {
			t.Errorf("%s is not in the safety backup", name)
		}
	}
	t.Run("restored again", wantRestored)

	// A new daemon takes the application over as it is, and goes on. The rows are those
	// of the backup now.
	s.rows = &rows{}
	s.Daemon = harness.Start(t, harness.Options{Dir: t.TempDir()})
	before = s.containers()
	s.apply("")
	s.WaitApp(s.name, "its services", func(a *v1alpha1.Application) bool { return a.Status.Commit == first && a.Status.Healthy != "" })
	s.wantUntouched(before, "db", "web", "worker", "front")
	s.succeeds("")
	s.wantVersion("3")
	s.wantDeployed(third)
	if n := harness.Rows(t, s.repo.Project, "visits"); n != 3 {
		t.Errorf("%d visits after the update, want 3", n)
	}
	if action(s.succeeds("", harness.Force), "migrate") != v1alpha1.ActionRun {
		t.Error("the migration was not run")
	}
}

// withData is the Compose file of the shop with a bind mount and one more volume.
func withData(t *testing.T, s *site) string {
	t.Helper()
	text := s.read("docker-compose.yml")
	for before, after := range map[string]string{
		"      dockerfile: worker/Dockerfile\n    restart: unless-stopped\n": "      dockerfile: worker/Dockerfile\n    restart: unless-stopped\n" +
			"    volumes:\n      - ./uploads:/uploads\n      - notes:/notes\n",
		"\nvolumes:\n": "\nvolumes:\n  notes:\n    labels: *labels\n",
	} {
		if strings.Count(text, before) != 1 {
			t.Fatalf("the Compose file has no %q", before)
		}
		text = strings.Replace(text, before, after, 1)
	}
	return text
}

func (s *site) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.repo.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.repo.Dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

func (s *site) visit(times int) {
	s.t.Helper()
	for range times {
		if _, err := harness.Get(s.t.Context(), s.repo.URL("/")); err != nil {
			s.t.Fatal(err)
		}
	}
}

// inVolume runs a shell command with the volume notes at /notes.
func (s *site) inVolume(script string) string {
	s.t.Helper()
	out, errOut, code := harness.Run(s.t.Context(), nil, "", "docker", "run", "--rm", "--network=none",
		"-v", s.repo.Project+"_notes:/notes", helperImage, "sh", "-c", script)
	if code != 0 {
		s.t.Fatalf("in the volume: %s", errOut)
	}
	return out
}

func (s *site) noteInVolume(text string) {
	s.t.Helper()
	s.inVolume("printf %s '" + text + "' >/notes/note && chown 1234:4321 /notes/note && chmod 0640 /notes/note && mkdir -p /notes/" + text)
}

func (s *site) note() string {
	s.t.Helper()
	got := s.inVolume("cat /notes/note; stat -c ' %u:%g %a' /notes/note; ls -A /notes")
	text, rest, _ := strings.Cut(got, " ")
	if !strings.HasPrefix(rest, "1234:4321 640\n") || strings.Contains(rest, ".fairlead") {
		s.t.Errorf("the volume has %q", got)
	}
	return text
}

// spoil changes one byte of a backup.
func (s *site) spoil(id string) {
	s.t.Helper()
	path := filepath.Join(backup.Dir(s.repo.Dir), id, "postgres_db.sql.gz")
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// offline runs rollback-offline, which must end with code.
func (s *site) offline(code int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	out, errOut, got := harness.Run(s.t.Context(), s.offlineEnv(), "", s.Binary, s.offlineArgs(args)...)
	if got != code {
		s.t.Fatalf("rollback-offline %v: exit %d, want %d\n%s\n%s", args, got, code, out, errOut)
	}
	return out, errOut
}

// offlineAtTerminal is offline with somebody at a terminal, who types.
func (s *site) offlineAtTerminal(code int, typed string, args ...string) (stdout string) {
	s.t.Helper()
	keyboard, path, err := console.NewPty()
	if err != nil {
		s.t.Fatal(err)
	}
	defer keyboard.Close()
	terminal, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer terminal.Close()
	if _, err := io.WriteString(keyboard, typed); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), s.Binary, s.offlineArgs(args)...)
	cmd.Env = append(os.Environ(), s.offlineEnv()...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, &out, &errOut
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		s.t.Fatalf("rollback-offline %v with %q typed: %v, want exit %d\n%s\n%s", args, typed, err, code, out.String(), errOut.String())
	}
	return out.String()
}

func (s *site) offlineEnv() []string {
	return []string{"FAIRLEAD_DATA_DIR=" + filepath.Join(s.t.TempDir(), "gone"), "KUBECONFIG="}
}

func (s *site) offlineArgs(args []string) []string {
	return append([]string{"rollback-offline", "--directory", s.repo.Dir, "--health-timeout", "60s"}, args...)
}

// cutOff kills a restore as soon as it has said the words.
func (s *site) cutOff(words string, args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.Binary, s.offlineArgs(append(args, "--yes"))...)
	cmd.Env = append(os.Environ(), s.offlineEnv()...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(io.TeeReader(stdout, &said))
	found := false
	for !found && lines.Scan() {
		found = strings.Contains(lines.Text(), words)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !found {
		s.t.Fatalf("the restore did not say %q:\n%s\n%s", words, said.String(), errOut.String())
	}
}

// safetyBackup finds in the output the backup of what was there before.
func (s *site) safetyBackup(out string) string {
	s.t.Helper()
	_, after, ok := strings.Cut(out, "what was there before is in ")
	id, _, _ := strings.Cut(after, ":")
	if !ok {
		s.t.Fatalf("no safety backup is named:\n%s", out)
	}
	return id
}
