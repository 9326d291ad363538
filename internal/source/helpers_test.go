// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// sandbox keeps the configuration of the machine out of the test.
func sandbox(t testing.TB) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("GIT_SSH_COMMAND", "")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "Ada")
		t.Setenv("GIT_"+who+"_EMAIL", "ada@example.com")
		t.Setenv("GIT_"+who+"_DATE", "2024-05-06T07:08:09Z")
	}
	write(t, home, ".gitconfig", "[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n[safe]\n\tdirectory = *\n")
}

// sh runs git in dir and returns its output without the last line end.
func sh(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// newRepo makes a repository with branch main and no commit.
func newRepo(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "upstream")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sh(t, dir, "init", "-q")
	sh(t, dir, "symbolic-ref", "HEAD", "refs/heads/main")
	return dir
}

// commitAll commits everything in dir and returns the SHA.
func commitAll(t testing.TB, dir, message string) string {
	t.Helper()
	sh(t, dir, "add", "-A", "-f")
	sh(t, dir, "commit", "-q", "--allow-empty", "-m", message)
	return sh(t, dir, "rev-parse", "HEAD")
}

// put commits files, name and content in turn, and returns the SHA.
func put(t testing.TB, dir, message string, files ...string) string {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		write(t, dir, files[i], files[i+1])
	}
	return commitAll(t, dir, message)
}

func clone(t testing.TB, upstream string, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	sh(t, filepath.Dir(dir), append(append([]string{"clone", "-q"}, args...), upstream, dir)...)
	return dir
}

func open(t testing.TB, dir string, opts Options) *Repo {
	t.Helper()
	r, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fetch(t *testing.T, r *Repo, ref string) {
	t.Helper()
	if _, err := r.Fetch(t.Context(), ref); err != nil {
		t.Fatalf("fetch %q: %v", ref, err)
	}
}

func moveTo(t *testing.T, r *Repo, sha string) {
	t.Helper()
	if err := r.MoveTo(t.Context(), sha); err != nil {
		t.Fatalf("move to %s: %v", sha, err)
	}
}

func head(t *testing.T, r *Repo) Head {
	t.Helper()
	h, err := r.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// noLocks fails when git left a lock file.
func noLocks(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".lock") && filepath.Base(path) != lockName {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// chownAll gives all in dir to the user.
func chownAll(t *testing.T, dir string, owner int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, owner, owner))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ownedBy fails when something in dir belongs to somebody else.
func ownedBy(t *testing.T, dir string, owner int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != owner {
			err = fmt.Errorf("%s belongs to %d, want %d", path, uid, owner)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
