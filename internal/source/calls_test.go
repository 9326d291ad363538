// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// counted has the git processes that this package starts noted from now on; those that git
// starts by itself are not among them. The function that it returns tells the commands, in
// their order, since it was called last.
func counted(t *testing.T) func() []string {
	t.Helper()
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	// What is configured for a single command goes before it.
	script := "#!/bin/sh\nfor a; do\n  case $skip$a in\n    -c) skip=1 ;;\n    1*) skip= ;;\n    *) break ;;\n  esac\n  n=$((n+1))\ndone\n" +
		"i=0; c=; for a; do i=$((i+1)); [ $i -gt ${n:-0} ] && c=\"$c $a\"; done\n" +
		fmt.Sprintf("echo \"$c\" >>'%s'\nexec '%s' \"$@\"\n", log, program)
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	seen := 0
	return func() []string {
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Split(strings.TrimSpace(string(data)), "\n")
		since := all[seen:]
		seen = len(all)
		return since
	}
}

// What an update asks of git, one thing after another, is a good part of what it takes.
func TestCallsOfAnUpdate(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	old := put(t, up, "one", "docker-compose.yml", "services: {}\n", "web/a", "1")
	dir := clone(t, up)
	fresh := put(t, up, "two", "web/a", "2", "web/b", "1")
	calls := counted(t)
	if _, err := InstalledVersion(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, _, err := OpenAtHead(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	calls()
	atMost := func(n int, what string) {
		t.Helper()
		got := calls()
		if len(got) > n {
			t.Errorf("%s started %d git processes, want at most %d:\n%s", what, len(got), n, strings.Join(got, "\n"))
		}
		if what != "the fetch" && slices.ContainsFunc(got, func(c string) bool { return strings.HasPrefix(c, " config") }) {
			t.Errorf("%s asked for the ssh program again", what)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	c, err := r.Fetch(t.Context(), fresh)
	must(err)
	if c.SHA != fresh || c.Subject != "two" {
		t.Errorf("fetched %+v", c)
	}
	atMost(4, "the fetch") // is it here; fetch; what is it; log
	if in, err := r.Contained(t.Context(), fresh); err != nil || !in {
		t.Errorf("contained: %v, %v", in, err)
	}
	atMost(1, "whether a branch has it")
	must(r.Export(t.Context(), fresh, filepath.Join(t.TempDir(), "tree")))
	atMost(2, "the export")
	if edits, err := r.LocalEdits(t.Context(), fresh); err != nil || len(edits) > 0 {
		t.Errorf("local edits: %q, %v", edits, err)
	}
	atMost(3, "looking for local edits")
	if lost, err := r.UnpushedCommits(t.Context(), fresh); err != nil || len(lost) > 0 {
		t.Errorf("unpushed: %v, %v", lost, err)
	}
	atMost(1, "looking for commits that would be lost")
	if list, err := r.Changes(t.Context(), old, fresh, 10); err != nil || list.Direction != Forward || list.Total != 1 {
		t.Errorf("changes: %+v, %v", list, err)
	}
	atMost(1, "the list of changes")
	if d, err := r.TreeDigest(t.Context(), fresh, ""); err != nil || d != "040000:"+sh(t, up, "rev-parse", fresh+"^{tree}") {
		t.Errorf("digest of all files: %q, %v", d, err)
	}
	calls() // what the test itself asked
	if _, err := r.TreeDigest(t.Context(), fresh, "."); err != nil {
		t.Error(err)
	}
	atMost(0, "the digest of all files")
	if c, err := r.Describe(t.Context(), fresh); err != nil || c.Subject != "two" {
		t.Errorf("described: %+v, %v", c, err)
	}
	atMost(0, "what is known of a commit")
	moveTo(t, r, fresh)
	atMost(4, "the move") // index and edits, at the same time; the files; the branch
	if h := head(t, r); h.Commit != fresh || h.Branch != "main" || read(t, dir, "web/b") != "1" {
		t.Errorf("HEAD is %+v", h)
	}
}

// A file that was touched, not changed, is not in the way.
func TestMoveOverTouchedFiles(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1", "b", "1")
	dir := clone(t, up)
	fresh := put(t, up, "two", "a", "2")
	r := open(t, dir, Options{})
	fetch(t, r, fresh)
	for _, name := range []string{"a", "b"} {
		if err := os.Chtimes(filepath.Join(dir, name), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	moveTo(t, r, fresh)
	if read(t, dir, "a") != "2" || head(t, r).Commit != fresh {
		t.Errorf("a is %q at %+v", read(t, dir, "a"), head(t, r))
	}
	if s := sh(t, dir, "status", "--porcelain"); s != "" {
		t.Errorf("status is %s", s)
	}
}

// fakeSSH writes an ssh program in a directory that runs on this host what the server would run: its last argument.
func fakeSSH(t *testing.T, bin string) string {
	t.Helper()
	path := filepath.Join(bin, "ssh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nfor last; do :; done\nexec sh -c \"$last\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// The ssh program of a clone is that of its submodules, wherever it came from itself.
func TestSubmoduleOverSSH(t *testing.T) {
	sandbox(t)
	sub, up := newRepo(t), newRepo(t)
	put(t, sub, "sub", "b", "1")
	put(t, up, "one", "a", "1")
	dir := clone(t, up)
	sh(t, dir, "config", "core.sshCommand", fakeSSH(t, t.TempDir()))
	sh(t, up, "submodule", "--quiet", "add", sub, "lib")
	sh(t, up, "config", "-f", ".gitmodules", "submodule.lib.url", "ssh://host"+sub)
	fresh := commitAll(t, up, "with submodule")
	r := open(t, dir, Options{})
	fetch(t, r, fresh)
	moveTo(t, r, fresh)
	if got := read(t, dir, "lib/b"); got != "1" {
		t.Errorf("the submodule has %q", got)
	}
}

// The ssh program is remembered only for as long as it works.
func TestCorrectedSSHCommandIsHeeded(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	dir := clone(t, up)
	bin := t.TempDir()
	good := fakeSSH(t, bin)
	sh(t, dir, "config", "core.sshCommand", good)
	sh(t, dir, "config", "ssh.variant", "ssh")
	r := open(t, dir, Options{URL: "ssh://host" + up})
	fetch(t, r, "main")
	sh(t, dir, "config", "core.sshCommand", filepath.Join(bin, "none"))
	fetch(t, r, "main") // what worked is remembered
	if err := os.Rename(good, good+"-moved"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch(t.Context(), "main"); err == nil {
		t.Fatal("fetched without an ssh program")
	}
	sh(t, dir, "config", "core.sshCommand", good+"-moved")
	fetch(t, r, "main")
}
