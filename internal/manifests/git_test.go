// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// What is read into memory is bounded as a whole, by the sizes that Git lists.
func TestSizeOfAllFiles(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	dir := filepath.Join(t.TempDir(), "upstream")
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args[0], err, out)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	git("init", "--quiet", "--initial-branch=main")
	comment := "#" + strings.Repeat("x", MaxFileSize-2) + "\n"
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(comment), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	most := MaxSize / len(comment)
	for i := range most {
		write(fmt.Sprintf("%d.yaml", i))
	}
	write("README") // counts for nothing
	git("add", "--all")
	git("commit", "--quiet", "--message", "as much as there may be")
	g := &Git{Dir: t.TempDir()}
	ms := &v1alpha1.ManifestSource{}
	ms.Namespace, ms.Name, ms.Spec.URL = "ns", "all", dir
	if got, err := g.Read(t.Context(), ms); err != nil || len(got.Files) != most {
		t.Fatalf("%d files, %v", len(got.Files), err)
	}
	write("more.yaml")
	git("add", "--all")
	git("commit", "--quiet", "--message", "too much")
	if _, err := g.Read(t.Context(), ms); err == nil || !strings.Contains(err.Error(), "spec.path") {
		t.Errorf("too much: %v", err)
	}
}
