// SPDX-License-Identifier: Apache-2.0

package source

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What a commit did not change keeps its time, and no two contents of a file
// have the same one, though commits of one second may.
func TestExportTimes(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	commits := []string{
		put(t, up, "one", "same", "s", "other", "1"),
		put(t, up, "two", "other", "2"),
		put(t, up, "three", "other", "3", "new", "n"),
	}
	parent := t.TempDir()
	r := open(t, up, Options{})
	export := func(commit string) map[string]time.Time {
		t.Helper()
		dest := filepath.Join(parent, "tree-"+commit)
		if err := os.RemoveAll(dest); err != nil {
			t.Fatal(err)
		}
		if err := r.Export(t.Context(), commit, dest); err != nil {
			t.Fatal(err)
		}
		times := map[string]time.Time{}
		for _, name := range []string{"same", "other", "new"} {
			if info, err := os.Stat(filepath.Join(dest, name)); err == nil {
				times[name] = info.ModTime()
			}
		}
		return times
	}
	one, two, three := export(commits[0]), export(commits[1]), export(commits[2])
	if !one["same"].Equal(two["same"]) || !two["same"].Equal(three["same"]) {
		t.Errorf("the same file is of %v, %v and %v", one["same"], two["same"], three["same"])
	}
	if one["other"].Equal(two["other"]) || two["other"].Equal(three["other"]) || one["other"].Equal(three["other"]) {
		t.Errorf("three contents are of %v, %v and %v", one["other"], two["other"], three["other"])
	}
	if back := export(commits[1]); !back["other"].Equal(two["other"]) || !back["same"].Equal(two["same"]) {
		t.Errorf("the same commit is of %v and %v", two, back)
	}
}

// A tree of before the machine's start may not be on disk, and is not used.
func TestExportOfAnotherStart(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	sha := put(t, up, "one", "a", "1")
	r := open(t, up, Options{})
	for name, text := range map[string]string{
		"another start": `{"boot":"another","trees":["tree"],"files":{}}`, "damaged": `{"boot`, "empty": "", "unknown": `{"boot":"` + bootID() + `","trees":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			write(t, parent, "tree/a", "\x00")
			write(t, parent, "tree/b", "left over")
			write(t, parent, ExportsName, text)
			dest := filepath.Join(parent, "tree")
			if Exported(dest) {
				t.Fatal("taken for whole")
			}
			if err := r.Export(t.Context(), sha, dest); err != nil {
				t.Fatal(err)
			}
			if !Exported(dest) || read(t, dest, "a") != "1" || exists(filepath.Join(dest, "b")) {
				t.Errorf("it holds %q, b is there: %v", read(t, dest, "a"), exists(filepath.Join(dest, "b")))
			}
		})
	}
}
