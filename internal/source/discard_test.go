// SPDX-License-Identifier: Apache-2.0

package source

import (
	"os"
	"path/filepath"
	"testing"
)

// Edits of every kind that are in the way of a move are given up, and nothing
// else is: not even a file whose name looks like a pattern.
func TestDiscard(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	one := put(t, up, "one", "changed", "1", "staged", "1", "gone", "1", "[a]*", "1", "also", "1", "untouched", "1", "sub/new", "1", "sub/old", "1")
	two := put(t, up, "two", "changed", "2", "staged", "2", "gone", "2", "[a]*", "2", "also", "2")
	dir := clone(t, up)
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	sh(t, dir, "rm", "-q", "sub/new")
	sh(t, dir, "-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "-m", "mine")
	mine := head(t, r).Commit
	write(t, dir, "changed", "edit")
	write(t, dir, "staged", "edit")
	sh(t, dir, "add", "staged")
	if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "[a]*", "edit")
	write(t, dir, "untouched", "edit")
	write(t, dir, "sub/new", "untracked")

	edits, err := r.LocalEdits(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	if len(edits) != 5 {
		t.Fatalf("in the way: %q", edits)
	}
	ref, err := r.Keep(t.Context(), "backup_1", mine)
	if err != nil || sh(t, dir, "rev-parse", ref) != mine {
		t.Errorf("kept as %q: %v", ref, err)
	}
	if err := r.Discard(t.Context(), edits); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"changed": "2", "staged": "2", "gone": "2", "[a]*": "2", "also": "2", "untouched": "edit"} {
		if got := read(t, dir, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	moveTo(t, r, one)
	if s := sh(t, dir, "status", "--porcelain"); s != " M untouched" && s != "M untouched" {
		t.Errorf("status: %q", s)
	}
	moveTo(t, r, two)
	if err := r.Discard(t.Context(), nil); err != nil {
		t.Error(err)
	}
	noLocks(t, dir)
}
