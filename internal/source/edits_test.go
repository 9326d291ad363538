// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	a, b, c, none := entry{"100644", "a"}, entry{"100644", "b"}, entry{"100644", "c"}, entry{}
	both := change{"p", a, b}
	added, removed := change{"d/p", none, b}, change{"p", a, none}
	edit := verdict{edits: []string{"p"}}
	tests := []struct {
		name        string
		f           finding
		tracked     []string
		interrupted bool
		want        verdict
	}{
		{"clean", finding{change: both, index: a, place: place{clean: true}}, nil, false, verdict{index: a}},
		{"edited", finding{change: both, index: a, place: place{entry: c}}, nil, false, edit},
		{"staged", finding{change: both, index: c, place: place{clean: true}}, nil, false, edit},
		{"staged, file as the target", finding{change: both, index: c, place: place{entry: b}}, nil, false, edit},
		{"already new", finding{change: both, index: a, place: place{entry: b}}, nil, false, verdict{index: b}},
		{"staged new, file old", finding{change: both, index: b, place: place{entry: a}}, nil, false, verdict{index: a}},
		{"mode changed", finding{change: both, index: a, place: place{entry: entry{"100755", "a"}}}, nil, false, edit},
		{"deleted", finding{change: both, index: a}, nil, false, edit},
		{"deleted, by the target too", finding{change: removed, index: a}, nil, false, verdict{}},
		{"deleted by a killed move", finding{change: both, index: a}, nil, true, verdict{index: a}},
		{"absent by skip-worktree", finding{change: both, index: a, hidden: true}, nil, false, verdict{index: a}},
		{"torn by a killed move", finding{change: both, index: a, place: place{entry: c, torn: true}}, nil, true, verdict{index: a, remove: true}},
		{"beginning of the target, no move", finding{change: both, index: a, place: place{entry: c, torn: true}}, nil, false, edit},
		{"edited after a killed move", finding{change: both, index: a, place: place{entry: c}}, nil, true, edit},
		{"conflict", finding{change: both, unmerged: true, place: place{entry: a}}, nil, true, edit},
		{"nothing in the way", finding{change: added}, nil, false, verdict{}},
		{"untracked in the way", finding{change: added, place: place{entry: c}}, nil, false, verdict{edits: []string{"d/p"}}},
		{"untracked, the same", finding{change: added, place: place{entry: b}}, nil, false, verdict{index: b}},
		{"untracked file for a parent", finding{change: added, place: place{blocker: "d"}}, nil, false, verdict{edits: []string{"d"}}},
		{"tracked file for a parent", finding{change: added, place: place{blocker: "d"}}, []string{"d"}, false, verdict{}},
		{"untracked directory in the way", finding{change: added, place: place{isDir: true, files: []string{"d/p/x", "d/p/y"}}}, []string{"d/p/y"}, false, verdict{edits: []string{"d/p/x"}}},
		{"empty directory in the way", finding{change: added, place: place{isDir: true}}, nil, false, verdict{}},
		{"edited submodule", finding{change: change{"p", entry{modeSubmodule, "a"}, entry{modeSubmodule, "b"}}, index: entry{modeSubmodule, "a"}, place: place{entry: entry{modeSubmodule, "a"}, edited: true}}, nil, false, edit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracked := map[string]bool{}
			for _, p := range tt.tracked {
				tracked[p] = true
			}
			got := judge(tt.f, tracked, tt.interrupted)
			if !slices.Equal(got.edits, tt.want.edits) || got.index != tt.want.index || got.remove != tt.want.remove {
				t.Errorf("verdict is %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestLocalEdits makes an edit, and sees that it is found, or else that it
// survives the move there and back.
func TestLocalEdits(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	write(t, up, ".gitignore", "*.ignored\n.env\n.update/\n")
	odd := "odd \"na\\me\n\t\xff é"
	from := put(t, up, "one", "same", "1", "changed", "1", "removed", "1", "dir/file", "1", "becomes-dir", "1", "was-dir/x", "1", "mode", "1", odd, "1", "link-to-be", "1")
	for _, p := range []string{"removed", "becomes-dir"} {
		sh(t, up, "rm", "-q", p)
	}
	sh(t, up, "rm", "-q", "-r", "was-dir")
	sh(t, up, "rm", "-q", "link-to-be")
	if err := os.Symlink("same", filepath.Join(up, "link-to-be")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(up, "mode"), 0o755); err != nil {
		t.Fatal(err)
	}
	to := put(t, up, "two", "changed", "2", "dir/file", "2", "added", "2", "new/deep/added", "2", "becomes-dir/x", "2", "was-dir", "2", odd, "2", "f.ignored", "2")

	in := func(f func(t *testing.T, dir string)) func(*testing.T, string) { return f }
	edit := func(path, content string) func(*testing.T, string) {
		return in(func(t *testing.T, dir string) { write(t, dir, path, content) })
	}
	git := func(args ...string) func(*testing.T, string) {
		return in(func(t *testing.T, dir string) { sh(t, dir, args...) })
	}
	remove := func(path string) func(*testing.T, string) {
		return in(func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		})
	}
	type steps []func(*testing.T, string)
	tests := []struct {
		name string
		do   steps
		want []string
		// keep are files with content that must be there after the move.
		keep map[string]string
	}{
		{name: "nothing"},
		{"unrelated edits", steps{edit("same", "mine"), edit("untracked", "mine"), edit(".env", "mine"), edit(".update/log", "mine")}, nil,
			map[string]string{"same": "mine", "untracked": "mine", ".env": "mine", ".update/log": "mine"}},
		{"unrelated staged", steps{edit("same", "mine"), git("add", "same")}, nil, map[string]string{"same": "mine"}},
		{"unrelated deletion", steps{remove("same")}, nil, nil},
		{"edited", steps{edit("changed", "mine")}, []string{"changed"}, nil},
		{"staged", steps{edit("changed", "mine"), git("add", "changed")}, []string{"changed"}, nil},
		{"staged, file put back", steps{edit("changed", "mine"), git("add", "changed"), edit("changed", "1")}, []string{"changed"}, nil},
		{"deleted", steps{remove("changed")}, []string{"changed"}, nil},
		{"deleted and staged", steps{git("rm", "-q", "changed")}, []string{"changed"}, nil},
		{"untracked by index only", steps{git("rm", "-q", "--cached", "changed")}, []string{"changed"}, nil},
		{"edited, removed by target", steps{edit("removed", "mine")}, []string{"removed"}, nil},
		{"deleted as the target does", steps{remove("removed")}, nil, nil},
		{"edited as the target does", steps{edit("changed", "2")}, nil, nil},
		{"edited and staged as the target does", steps{edit("changed", "2"), git("add", "changed")}, nil, nil},
		{"touched only", steps{edit("changed", "1")}, nil, nil},
		{"untracked in the way", steps{edit("added", "mine")}, []string{"added"}, nil},
		{"untracked, same content", steps{edit("added", "2")}, nil, nil},
		{"ignored in the way", steps{edit("f.ignored", "mine")}, []string{"f.ignored"}, nil},
		{"untracked file for a directory", steps{edit("new", "mine")}, []string{"new"}, nil},
		{"untracked directory for a file", steps{edit("added/x", "mine"), edit("added/y.ignored", "mine")}, []string{"added/x", "added/y.ignored"}, nil},
		{"untracked beside new files", steps{edit("new/deep/mine", "mine")}, nil, map[string]string{"new/deep/mine": "mine"}},
		{"untracked in a directory that becomes a file", steps{edit("was-dir/mine", "mine")}, []string{"was-dir/mine"}, nil},
		{"edited file that becomes a directory", steps{edit("becomes-dir", "mine")}, []string{"becomes-dir"}, nil},
		{"edited file that becomes a link", steps{edit("link-to-be", "mine")}, []string{"link-to-be"}, nil},
		{"mode changed otherwise", steps{in(func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "changed"), 0o755); err != nil {
				t.Fatal(err)
			}
		})}, []string{"changed"}, nil},
		{"odd name", steps{edit(odd, "mine")}, []string{odd}, nil},
		{"odd name as the target", steps{edit(odd, "2")}, nil, nil},
		{"hidden by assume-unchanged", steps{git("update-index", "--assume-unchanged", "changed"), edit("changed", "mine")}, []string{"changed"}, nil},
		{"hidden by skip-worktree", steps{git("update-index", "--skip-worktree", "changed"), edit("changed", "mine")}, []string{"changed"}, nil},
		{"replaced by a link", steps{remove("changed"), in(func(t *testing.T, dir string) {
			if err := os.Symlink("same", filepath.Join(dir, "changed")); err != nil {
				t.Fatal(err)
			}
		})}, []string{"changed"}, nil},
		{"directory replaced by a link", steps{remove("dir"), in(func(t *testing.T, dir string) {
			write(t, dir, ".update/file", "mine")
			if err := os.Symlink(".update", filepath.Join(dir, "dir")); err != nil {
				t.Fatal(err)
			}
		})}, []string{"dir"}, nil},
		{"several", steps{edit("changed", "mine"), edit("added", "mine"), edit("dir/file", "mine")}, []string{"added", "changed", "dir/file"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := clone(t, up)
			sh(t, dir, "reset", "-q", "--hard", from)
			for _, do := range tt.do {
				do(t, dir)
			}
			r := open(t, dir, Options{})
			got, err := r.LocalEdits(t.Context(), to)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Fatalf("local edits are %q, %v; want %q", got, err, tt.want)
			}
			before := snapshot(t, dir)
			status := sh(t, dir, "status", "--porcelain")
			err = r.MoveTo(t.Context(), to)
			if len(tt.want) > 0 {
				var edits *LocalEditsError
				if !errors.As(err, &edits) || !slices.Equal(edits.Paths, tt.want) {
					t.Errorf("move gave %v", err)
				}
				if after := snapshot(t, dir); after != before || sh(t, dir, "status", "--porcelain") != status || head(t, r).Commit != from {
					t.Errorf("a refused move changed\n%s\nto\n%s", before, after)
				}
				if exists(r.journalPath()) {
					t.Error("a refused move left its journal")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if h := head(t, r); h.Commit != to || h.Branch != "main" {
				t.Errorf("head is %+v", h)
			}
			changed := sh(t, dir, "diff", "--name-only", "HEAD")
			if want := strings.TrimSpace(map[bool]string{true: "same"}[strings.HasPrefix(tt.name, "unrelated")]); changed != want {
				t.Errorf("after the move git sees changes in %q", changed)
			}
			for name, content := range tt.keep {
				if got := read(t, dir, name); got != content {
					t.Errorf("%s is %q, want %q", name, got, content)
				}
			}
			moveTo(t, r, from)
			for name, content := range tt.keep {
				if got := read(t, dir, name); got != content {
					t.Errorf("%s is %q after the way back, want %q", name, got, content)
				}
			}
			noLocks(t, dir)
		})
	}
}

// snapshot is all files of a working tree with content and mode.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.Name() == ".git" {
				return filepath.SkipDir
			}
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, err := os.Readlink(path)
		if err != nil {
			content = read(t, filepath.Dir(path), filepath.Base(path))
		}
		rel, err := filepath.Rel(dir, path)
		b.WriteString(info.Mode().String() + " " + rel + " = " + content + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEdited(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "app/same", "1", "app/touched", "1", "app/changed", "1", "app/staged", "1", "app/gone", "1", "changed", "1", "a*", "1")
	dir := clone(t, up)
	// Of the same size as it was, and newer than the index.
	write(t, dir, "app/touched", "1")
	for _, p := range []string{"app/changed", "app/staged", "changed", "app/new"} {
		write(t, dir, p, "2")
	}
	sh(t, dir, "add", "app/staged")
	if err := os.Remove(filepath.Join(dir, "app/gone")); err != nil {
		t.Fatal(err)
	}
	r := open(t, filepath.Join(dir, "app"), Options{})
	for _, tt := range []struct{ ask, want []string }{
		{nil, nil},
		{[]string{"app/same", "app/touched", "app/new", "nowhere", "a*"}, nil},
		{[]string{"app/same", "app/changed", "app/staged", "app/gone"}, []string{"app/changed", "app/gone", "app/staged"}},
	} {
		if got, err := r.Edited(t.Context(), tt.ask...); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("of %q: %q, %v; want %q", tt.ask, got, err, tt.want)
		}
	}
}
