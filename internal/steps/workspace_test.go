// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/source"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
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

// A directory whose name was mistyped is not made: it would be in the way of the clone.
func TestMissingDeploymentDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shpo")
	s := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		a.Spec.Compose.Directory = dir
		ur.Status.LogFile = updatelog.Path(dir, "20240102_030405")
	})
	s.Step = v1alpha1.StepPreflight
	r := &Runner{Deps: Deps{Clock: clock.RealClock{}}}
	err := r.Run(t.Context(), s.Work, &written{})
	if terminal := failure.AsTerminal(err); terminal == nil || !strings.Contains(terminal.Message, dir+" does not exist") {
		t.Errorf("it ends with %v", err)
	}
	if err := r.Summarize(s.Request); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a summary: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there now: %v", err)
	}
}
