// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// All that the host has is the engine and the image of an updater that does not run any
// more.
func rollbackByScript(m *monitor) {
	t := m.t
	first := m.git("rev-parse", "HEAD")
	sql := func(statement string) string {
		m.t.Helper()
		return m.docker("exec", m.container("database"), "psql", "-U", "monitor", "-d", "monitor", "-v", "ON_ERROR_STOP=1", "-Atqc", statement)
	}
	sql("INSERT INTO nodes VALUES ('kept')")
	m.publish("Fifth version", map[string]string{"backend/version.txt": "5\n"})
	id := m.start(`{}`)
	m.wantCode(m.ended(id), 0)
	m.wantVersion("5")
	backup := strings.TrimPrefix(m.kubectl("get", "updaterequest", "update-"+id, "-o", "jsonpath={.status.backup}"), "backup_")

	// The updater is lost, with its state, and the data is damaged.
	m.docker("stop", "--time", "20", m.container("updater"))
	if err := os.RemoveAll(filepath.Join(m.repo.Dir, ".update", "fairlead")); err != nil {
		t.Fatal(err)
	}
	sql("DROP TABLE nodes")
	env, err := os.ReadFile(filepath.Join(m.repo.Dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.repo.Dir, ".env"), append(env, "EXTRA=1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile("../../scripts/rollback.sh")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(m.repo.Dir, "scripts", "rollback.sh") // where operators have it
	if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, text, 0o755); err != nil {
		t.Fatal(err)
	}
	// A PATH with docker and without fairlead.
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	if err := os.Symlink(docker, filepath.Join(programs, "docker")); err != nil {
		t.Fatal(err)
	}
	rollback := func(want int, args ...string) (out, errOut string) {
		m.t.Helper()
		out, errOut, code := harness.Run(t.Context(), []string{"FAIRLEAD_BIN=", "PATH=" + programs + ":/usr/bin:/bin"}, "", "bash", append([]string{script}, args...)...)
		if code != want {
			t.Fatalf("rollback.sh %v: exit %d, want %d\n%s\n%s", args, code, want, out, errOut)
		}
		return out, errOut
	}
	out, errOut := rollback(cli.ExitOK)
	wantContains(t, "the list", out, backup)
	wantContains(t, "the note", errOut, "no fairlead program is here")
	_, errOut = rollback(cli.ExitUsage, backup)
	wantContains(t, "the question", errOut, "--yes", "nothing was changed")
	out, _ = rollback(cli.ExitOK, backup, "--yes", "--health-timeout", "60s")
	wantContains(t, "the output", out, "all services run", "what was there before is in ")

	if got := m.git("rev-parse", "HEAD"); got != first {
		t.Errorf("the deployment directory is at %s, want %s", got, first)
	}
	if got := sql("SELECT name FROM nodes"); got != "kept" {
		t.Errorf("the table has %q", got)
	}
	if got, err := os.ReadFile(filepath.Join(m.repo.Dir, ".env")); err != nil || string(got) != string(env) {
		t.Errorf("the .env is not that of the backup (%v)", err)
	}
	m.wantVersion("4")
	// The updater is a service as the others: it is back, and serves its clients.
	m.waitReady()
	if a := m.asked("GET", "/jobs/"+id+"?tail=1", ""); a.code != 200 {
		t.Errorf("the job is %d %s", a.code, a.body)
	}
}
