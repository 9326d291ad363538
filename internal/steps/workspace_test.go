// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/source"
)

// Compose files that somebody edited on the host are told, as it is the commit's that are
// rolled out. Those that Git does not have are read from there.
func TestHandEditsAreTold(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	git := func(args ...string) {
		args = append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)
		if out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	git("init", "-q")
	files := []string{write("docker-compose.yml", "services: {}\n"), write("prod.yml", "services: {}\n")}
	git("add", ".")
	git("commit", "-q", "-m", "one")
	files = append(files, write("updater.yml", "services: {}\n"), "/etc/elsewhere.yml")
	repo, err := source.Open(t.Context(), dir, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &workspace{dir: dir, repo: repo}
	if got, err := w.handEdits(t.Context(), files); err != nil || len(got) > 0 {
		t.Errorf("as committed: %q, %v", got, err)
	}
	write("prod.yml", "services: {web: {image: mine}}\n")
	got, err := w.handEdits(t.Context(), files)
	if err != nil || len(got) != 1 || !strings.HasPrefix(got[0], filepath.Join(dir, "prod.yml")+" was changed by hand") {
		t.Errorf("edited: %q, %v", got, err)
	}
	if slices.ContainsFunc(got, func(s string) bool { return !strings.Contains(s, "docker-compose.override.yml") }) {
		t.Errorf("it does not say what to do: %q", got)
	}
}
