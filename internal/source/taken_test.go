// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// text is a large text with short lines.
func text(word string) string { return strings.Repeat(word+"\n", largeFile/len(word)) }

// exported tells mode, time and content of all that was exported, by path.
func exported(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, _ := os.Readlink(path)
		if d.Type().IsRegular() {
			content = fmt.Sprintf("%d bytes %x", info.Size(), sha256.Sum256([]byte(read(t, dir, strings.TrimPrefix(path, dir)))))
		}
		found[strings.TrimPrefix(path, dir)] = fmt.Sprint(info.Mode(), info.ModTime().UnixNano(), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// How the files of an export came there, by the git processes that it took.
const (
	taken   = "read-tree, checkout-index"
	partly  = "read-tree, checkout-index, checkout-index"
	byGit   = "read-tree -m -u"
	doubted = "asked, read-tree -m -u"
)

func way(calls []string) string {
	var names []string
	asked := false
	for _, c := range calls {
		f := strings.Fields(c)
		switch {
		// The answer of one ends the other, which may not have begun.
		case f[0] == "check-attr" && slices.Contains(f, "-a"), strings.Contains(c, "autocrlf"):
			asked = true
		case f[0] == "read-tree" && f[1] == "-m":
			if names = []string{byGit}; asked {
				names = []string{doubted}
			}
		case f[0] == "read-tree", f[0] == "checkout-index":
			names = append(names, f[0])
		}
	}
	return strings.Join(names, ", ")
}

// Wherever its files come from, an export is as git alone would write it.
func TestExportWithTheWorkingTree(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	write(t, up, "bin/app", text("app"))
	if err := os.Chmod(filepath.Join(up, "bin/app"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("bin/app", filepath.Join(up, "link")); err != nil {
		t.Fatal(err)
	}
	put(t, up, "one", "data/é \n.txt", text("data"), "small", "1\n")
	calls := counted(t)
	if _, err := InstalledVersion(t.Context()); err != nil {
		t.Fatal(err)
	}

	edit := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { write(t, dir, name, content) }
	}
	instead := func(name string, do func(path string) error) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			if err := os.Rename(path, path+".moved"); err != nil {
				t.Fatal(err)
			}
			if err := do(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	config := func(key, value string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { sh(t, dir, "config", key, value) }
	}
	for name, tt := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    string
		// differs: git itself writes other bytes than the commit has.
		differs bool
	}{
		"as committed":             {nil, taken, false},
		"edited, of the same size": {edit("bin/app", text("App")), partly, false},
		"edited, of another size":  {edit("bin/app", text("longer")), taken, false},
		"edited, both":             {func(t *testing.T, dir string) { write(t, dir, "bin/app", "1"); write(t, dir, "data/é \n.txt", "1") }, byGit, false},
		"touched, other modes": {func(t *testing.T, dir string) {
			for name, mode := range map[string]fs.FileMode{"bin/app": 0o600, "data/é \n.txt": 0o777} {
				path := filepath.Join(dir, name)
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
					t.Fatal(err)
				}
			}
		}, taken, false},
		"a link":                  {instead("bin/app", func(path string) error { return os.Symlink("app.moved", path) }), taken, false},
		"a directory":             {instead("bin/app", func(path string) error { return os.Mkdir(path, 0o755) }), taken, false},
		"a link to its directory": {instead("bin", func(path string) error { return os.Symlink("bin.moved", path) }), taken, false},
		"line ends set to LF":     {config("core.autocrlf", "false"), taken, false},
		"line ends set":           {config("core.autocrlf", "true"), doubted, true},
		"line ends set for input": {config("core.autocrlf", "input"), doubted, false},
		"line ends of text":       {config("core.eol", "crlf"), doubted, false},
		"attributes here":         {edit(".git/info/attributes", "*.txt eol=crlf\n"), doubted, true},
		"attributes of others":    {edit(".git/info/attributes", "small eol=crlf\n"), doubted, false},
		"attributes of the user": {func(t *testing.T, dir string) {
			write(t, dir, ".git/users", "app ident\n")
			sh(t, dir, "config", "core.attributesFile", filepath.Join(dir, ".git/users"))
		}, doubted, false},
		"split index": {config("core.splitIndex", "true"), taken, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := clone(t, up)
			sha := sh(t, dir, "rev-parse", "HEAD")
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			r := open(t, dir, Options{})
			e := func(dest string) string {
				calls()
				if err := r.Export(t.Context(), sha, dest); err != nil {
					t.Fatal(err)
				}
				return way(calls())
			}
			one, two := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")
			before := snapshot(t, dir)
			if got := e(one); got != tt.want {
				t.Errorf("exported by %q, want %q", got, tt.want)
			}
			if snapshot(t, dir) != before {
				t.Error("the working tree changed")
			}
			for _, name := range []string{"bin", "data"} {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			if got := e(two); got != byGit {
				t.Errorf("without files exported by %q", got)
			}
			got, want := exported(t, one), exported(t, two)
			if !maps.Equal(got, want) {
				t.Errorf("exported\n%q, git alone\n%q", got, want)
			}
			if differs := read(t, one, "data/é \n.txt") != text("data"); differs != tt.differs {
				t.Errorf("the text differs from the commit: %t", differs)
			}
		})
	}
}

func TestExportLeftToGit(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	sh(t, up, "config", "uploadpack.allowFilter", "true")
	plain := put(t, up, "plain", "app.txt", text("app"))
	attributes := put(t, up, "attributes", "deep/er/.gitattributes", "*.png -text\n")
	calls := counted(t)
	for name, tt := range map[string]struct {
		commit string
		clone  []string
	}{
		"attributes in the commit": {attributes, nil},
		"partial clone":            {plain, []string{"--filter=blob:none"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, clone(t, "file://"+up, tt.clone...), Options{})
			calls()
			dest := export(t, r, tt.commit)
			got := calls()
			if w := way(got); w != byGit {
				t.Errorf("exported by %q", w)
			}
			// Each size of what is not here would be fetched by itself.
			if sizes := strings.Contains(strings.Join(got, "\n"), " -l "); sizes != (tt.clone == nil) {
				t.Errorf("sizes were asked for: %t", sizes)
			}
			if read(t, dest, "app.txt") != text("app") {
				t.Error("another content")
			}
		})
	}
}

// Where the last tree had nothing to take, sizes are not waited for.
func TestExportAfterSmallTree(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	small := put(t, up, "small", "a", "1")
	large := put(t, up, "large", "app", text("app"))
	next := put(t, up, "next", "a", "2")
	calls := counted(t)
	r := open(t, up, Options{})
	parent := t.TempDir()
	for _, tt := range []struct{ name, commit, want string }{
		{"first", small, byGit + " -l"}, {"after small", small, byGit}, {"large after small", large, byGit}, {"large after large", next, taken + " -l"},
	} {
		calls()
		if err := r.Export(t.Context(), tt.commit, filepath.Join(parent, tt.name)); err != nil {
			t.Fatal(err)
		}
		c := calls()
		got := way(c)
		if strings.Contains(strings.Join(c, "\n"), " -l ") {
			got += " -l"
		}
		if got != tt.want {
			t.Errorf("%s: exported by %q, want %q", tt.name, got, tt.want)
		}
	}
}

// An export has files of its own.
func TestExportIsIndependent(t *testing.T) {
	sandbox(t)
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			up := filepath.Join(t.TempDir(), "up")
			if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", "--object-format="+format, up).CombinedOutput(); err != nil {
				t.Fatalf("the tests of this file need git 2.30 or later, which knows %s: %s", format, out)
			}
			sha := put(t, up, "one", "app", text("app"))
			calls := counted(t)
			r := open(t, up, Options{})
			calls()
			dest := export(t, r, sha)
			if got := way(calls()); got != taken {
				t.Errorf("exported by %q", got)
			}
			f, err := os.OpenFile(filepath.Join(up, "app"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("written by the application"); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if read(t, dest, "app") != text("app") {
				t.Error("it changed with the working tree")
			}
		})
	}
}

func TestExportOfAnotherCommitThanIsThere(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	one := put(t, up, "one", "kept", text("kept"), "gone", text("gone"), "x", text("file"), "y/in", text("in"))
	for _, name := range []string{"gone", "x", "y"} {
		if err := os.RemoveAll(filepath.Join(up, name)); err != nil {
			t.Fatal(err)
		}
	}
	two := put(t, up, "two", "x/in", text("file"), "y", text("in"), "new", text("new"))
	files := map[string][]string{one: {"gone", "kept", "x", "y/in"}, two: {"kept", "new", "x/in", "y"}}
	content := map[string]string{"gone": "gone", "kept": "kept", "new": "new", "x": "file", "x/in": "file", "y": "in", "y/in": "in"}
	for there, commit := range map[string]string{one: two, two: one} {
		dir := clone(t, up)
		sh(t, dir, "checkout", "-q", there)
		dest := export(t, open(t, dir, Options{}), commit)
		var found []string
		for name := range exported(t, dest) {
			if name = strings.TrimPrefix(name, "/"); content[name] != "" && !isDir(filepath.Join(dest, name)) {
				found = append(found, name)
				if read(t, dest, name) != text(content[name]) {
					t.Errorf("%s has another content", name)
				}
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, files[commit]) {
			t.Errorf("found %q, want %q", found, files[commit])
		}
	}
}

func TestExportTakesNothingFromSubmodules(t *testing.T) {
	sandbox(t)
	sub, up := newRepo(t), newRepo(t)
	put(t, sub, "sub", "large", text("sub"))
	sh(t, up, "submodule", "--quiet", "add", sub, "lib")
	sha := put(t, up, "one", "app", text("app"))
	calls := counted(t)
	r := open(t, up, Options{})
	calls()
	dest := export(t, r, sha)
	if got := strings.Join(calls(), "\n"); strings.Count(got, "checkout-index") != 1 || strings.Count(got, "read-tree -m") != 1 {
		t.Errorf("exported by\n%s", got)
	}
	if read(t, dest, "app") != text("app") || read(t, dest, "lib/large") != text("sub") {
		t.Error("another content")
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// A tree may have been made by hand.
func TestExportRefusesNames(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", text("a"))
	blob := sh(t, up, "rev-parse", "HEAD:a")
	write(t, up, ".git/app", text("a"))
	mktree := func(entry string) string {
		cmd := exec.CommandContext(t.Context(), "git", "mktree")
		cmd.Dir, cmd.Stdin = up, strings.NewReader(entry+"\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	sha := sh(t, up, "commit-tree", "-m", "bad", mktree("040000 tree "+mktree("100644 blob "+blob+"\tapp")+"\t.git"))
	dest := filepath.Join(t.TempDir(), "out")
	if err := open(t, up, Options{}).Export(t.Context(), sha, dest); err == nil || !strings.Contains(err.Error(), ".git") || exists(dest) {
		t.Errorf("error is %v, and it is there: %t", err, exists(dest))
	}
}

func TestCopyBlob(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "in/file", "hello\n")
	if err := os.Symlink("in", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", filepath.Join(dir, "in/link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	const oid = "ce013625030ba8dba906f756967f9e9ca394464a"
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx  context.Context
		path string
		size int64
		oid  string
		want bool
	}{
		"the same":        {t.Context(), "in/file", 6, oid, true},
		"another content": {t.Context(), "in/file", 6, strings.Repeat("0", 40), false},
		"another size":    {t.Context(), "in/file", 5, oid, false},
		"link":            {t.Context(), "in/link", 6, oid, false},
		"link on the way": {t.Context(), "link/file", 6, oid, false},
		"file on the way": {t.Context(), "in/file/file", 6, oid, false},
		"pipe":            {t.Context(), "pipe", 0, oid, false},
		"nothing":         {t.Context(), "in/none", 6, oid, false},
		"directory":       {t.Context(), "in", 6, oid, false},
		"cancelled":       {ended, "in/file", 6, oid, false},
	} {
		err := copyBlob(tt.ctx, dir, treeEntry{path: tt.path, size: tt.size, entry: entry{mode: modeFile, oid: tt.oid}}, filepath.Join(dir, name))
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
