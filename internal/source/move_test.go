// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMoveToBranches(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	one := put(t, up, "one", "a", "1")
	two := put(t, up, "two", "a", "2")
	sh(t, up, "checkout", "-q", "-b", "side", one)
	side := put(t, up, "side", "a", "3")
	sh(t, up, "checkout", "-q", "main")
	dir := clone(t, up)
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	for _, step := range []struct {
		to, branch, main string
	}{
		{two, "main", two},
		{one, "main", one},
		{two, "main", two},
		{side, "", two}, // diverged: the branch stays where it was
		{one, "", two},
		{one, "", two},
	} {
		moveTo(t, r, step.to)
		h := head(t, r)
		if main := sh(t, dir, "rev-parse", "refs/heads/main"); h.Commit != step.to || h.Branch != step.branch || main != step.main {
			t.Errorf("after the move to %.7s HEAD is %+v and main %.7s", step.to, h, main)
		}
		if s := sh(t, dir, "status", "--porcelain"); s != "" {
			t.Errorf("after the move to %.7s status is %s", step.to, s)
		}
	}
	if err := r.MoveTo(t.Context(), strings.Repeat("0", 40)); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing commit: %v", err)
	}
	if err := r.MoveTo(t.Context(), "main"); !errors.Is(err, ErrInvalidRevision) {
		t.Errorf("name for a SHA: %v", err)
	}
}

// A branch that was rewritten at the remote is still the one that is followed,
// and the clone is back on it after going back.
func TestMoveToKeepsTheBranchInMind(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	one := put(t, up, "one", "a", "1")
	two := put(t, up, "two", "a", "2")
	dir := clone(t, up)
	r := open(t, dir, Options{})
	sh(t, up, "reset", "-q", "--hard", one)
	rewritten := put(t, up, "rewritten", "a", "3")
	fetch(t, r, "")
	moveTo(t, r, rewritten)
	if h := head(t, r); h.Branch != "" || h.Commit != rewritten {
		t.Errorf("HEAD is %+v", h)
	}
	next := put(t, up, "next", "a", "4")
	fetch(t, r, "")
	c, err := r.Resolve(t.Context(), "")
	if err != nil || c.SHA != next {
		t.Errorf("the newest commit is %.7s (%v), want %.7s", c.SHA, err, next)
	}
	moveTo(t, r, two)
	if h := head(t, r); h.Branch != "main" || h.Commit != two {
		t.Errorf("HEAD is %+v after going back", h)
	}
	if s := sh(t, dir, "status", "--porcelain"); s != "" {
		t.Errorf("status is %s", s)
	}
}

// TestMoveToAfterCrash puts the clone into each state that a killed move can
// leave, and sees that a move to either commit, or a third, makes it whole.
func TestMoveToAfterCrash(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	const old, fresh = "old content\n", "new content, and longer\n"
	from := put(t, up, "one", "f", old, "gone", "1", "g", "1")
	sh(t, up, "rm", "-q", "gone")
	to := put(t, up, "two", "f", fresh, "added/x", fresh, "g", "2")
	third := put(t, up, "three", "f", "third", "g", "3")
	dir := clone(t, up)
	r := open(t, dir, Options{})
	type state struct{ name, f, added, gone string }
	const absent = "\x00"
	states := []state{
		{"nothing yet", old, absent, "1"},
		{"file removed", absent, absent, "1"},
		{"file begun", "new con", absent, absent},
		{"file empty", "", absent, absent},
		{"one file done", fresh, absent, absent},
		{"other begun", fresh, "n", absent},
		{"all done", fresh, fresh, absent},
		{"on the way back", "old", fresh, "1"},
	}
	set := func(name, content string) {
		if content == absent {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			return
		}
		write(t, dir, name, content)
	}
	for _, s := range states {
		for _, index := range []string{from, to} {
			for _, at := range []string{from, to} {
				for name, target := range map[string]string{"from": from, "to": to, "third": third} {
					if name == "third" && (index == at || s.f == s.added) {
						continue // as from or to first, which are shown
					}
					sh(t, dir, "reset", "-q", "--hard", from)
					set("f", s.f)
					set("added/x", s.added)
					set("gone", s.gone)
					sh(t, dir, "read-tree", index)
					sh(t, dir, "update-ref", "HEAD", at)
					if err := r.writeJournal(journal{Since: time.Now(), From: from, To: to}); err != nil {
						t.Fatal(err)
					}
					write(t, dir, ".git/index.lock", "")
					title := fmt.Sprintf("%s, index %.4s, HEAD %.4s, then %s", s.name, index, at, name)
					if edits, err := r.LocalEdits(t.Context(), target); err != nil || len(edits) > 0 {
						t.Errorf("%s: local edits %q, %v", title, edits, err)
					}
					if err := r.MoveTo(t.Context(), target); err != nil {
						t.Errorf("%s: %v", title, err)
						continue
					}
					if got := sh(t, dir, "status", "--porcelain"); got != "" || head(t, r).Commit != target || exists(r.journalPath()) {
						t.Errorf("%s: status %q, HEAD %+v", title, got, head(t, r))
					}
				}
			}
		}
	}
	// What a person wrote after the crash is theirs.
	sh(t, dir, "reset", "-q", "--hard", from)
	write(t, dir, "f", "mine")
	if err := r.writeJournal(journal{Since: time.Now(), From: from, To: to}); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{from, to, third} {
		var edits *LocalEditsError
		if err := r.MoveTo(t.Context(), target); !errors.As(err, &edits) || strings.Join(edits.Paths, " ") != "f" {
			t.Errorf("edited after the crash: %v", err)
		}
	}
	// Who went on by hand has settled it.
	put(t, dir, "by hand", "f", "mine")
	moveTo(t, r, third)
	if exists(r.journalPath()) {
		t.Error("the journal is still there")
	}
}

func TestMoveToWithGitKilled(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	one := put(t, up, "one", "a", "1", ".gitattributes", "*.slow filter=slow\n")
	dir := clone(t, up)
	sha := put(t, up, "two", "a", "2", "b.slow", "content", "c", "2")
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	// The filter kills the git that runs it, half-way through the checkout.
	sh(t, dir, "config", "filter.slow.smudge", "kill -9 $PPID")
	if err := r.MoveTo(t.Context(), sha); err == nil {
		t.Fatal("git survived")
	}
	if !exists(filepath.Join(dir, ".git/index.lock")) {
		t.Fatal("git left no lock, the test shows nothing")
	}
	// The way back does not need what the way there failed at.
	moveTo(t, r, one)
	if s := sh(t, dir, "status", "--porcelain"); s != "" || head(t, r).Commit != one {
		t.Errorf("status is %q", s)
	}
	if err := r.MoveTo(t.Context(), sha); err == nil {
		t.Fatal("git survived")
	}
	sh(t, dir, "config", "filter.slow.smudge", "cat")
	moveTo(t, r, sha)
	if s := sh(t, dir, "status", "--porcelain"); s != "" || read(t, dir, "b.slow") != "content" {
		t.Errorf("status is %q", s)
	}
	noLocks(t, dir)
}

func TestMoveToCancelled(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	one := put(t, up, "one", "a", "1", ".gitattributes", "*.slow filter=slow\n")
	dir := clone(t, up)
	sha := put(t, up, "two", "a", "2", "b.slow", "content", "c", "2")
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	fifo := filepath.Join(t.TempDir(), "started")
	sh(t, dir, "config", "filter.slow.smudge", "echo > "+fifo+"; exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.MoveTo(ctx, sha) }()
	for !exists(fifo) {
		if err := pause(t.Context(), 5*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	// Git was given the time to put away its locks.
	noLocks(t, dir)
	sh(t, dir, "config", "filter.slow.smudge", "cat")
	// Back, as a rollback does.
	moveTo(t, r, one)
	if s := sh(t, dir, "status", "--porcelain"); s != "" || head(t, r).Commit != one {
		t.Errorf("status is %q", s)
	}
	moveTo(t, r, sha)
	noLocks(t, dir)
}

func TestForeignLocks(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	dir := clone(t, up)
	sha := put(t, up, "two", "a", "2")
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	lock := filepath.Join(dir, ".git/index.lock")
	write(t, dir, ".git/index.lock", "")
	// The clock runs a second each time that it is looked at.
	now := time.Now()
	r.now = func() time.Time { now = now.Add(time.Second); return now }
	err := r.MoveTo(t.Context(), sha)
	var locked *LockedError
	if !errors.As(err, &locked) || !errors.Is(err, ErrLocked) || locked.Path != lock || !exists(lock) {
		t.Fatalf("error is %v", err)
	}
	now = now.Add(foreignLockAge)
	moveTo(t, r, sha)
	// A lock in our own refs is nobody else's.
	r.now = time.Now
	write(t, dir, ".git/refs/fairlead/heads/main.lock", "")
	fetch(t, r, "main")
	noLocks(t, dir)
}

func TestLockExcludesAndEnds(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	a, b := open(t, up, Options{}), open(t, up, Options{})
	err := a.locked(t.Context(), func(*os.File) error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*lockPoll)
		defer cancel()
		err := b.locked(ctx, func(*os.File) error { return errors.New("two at once") })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Exclude(t.Context(), "/x"); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
}

func TestMoveToSubmodules(t *testing.T) {
	sandbox(t)
	sub := newRepo(t)
	put(t, sub, "sub one", "s", "1")
	up := newRepo(t)
	without := put(t, up, "without", "a", "1")
	sh(t, up, "submodule", "--quiet", "add", sub, "lib")
	one := commitAll(t, up, "with submodule")
	subTwo := put(t, sub, "sub two", "s", "2")
	sh(t, filepath.Join(up, "lib"), "fetch", "-q")
	sh(t, filepath.Join(up, "lib"), "checkout", "-q", subTwo)
	two := commitAll(t, up, "submodule moved")
	dir := clone(t, up)
	sh(t, dir, "reset", "-q", "--hard", without)
	r := open(t, dir, Options{})
	for _, step := range []struct{ to, want string }{{one, "1"}, {two, "2"}, {one, "1"}} {
		moveTo(t, r, step.to)
		if got := read(t, dir, "lib/s"); got != step.want {
			t.Errorf("submodule has %q, want %q", got, step.want)
		}
		if s := sh(t, dir, "status", "--porcelain"); s != "" {
			t.Errorf("status is %s", s)
		}
	}
	write(t, dir, "lib/s", "mine")
	if edits, err := r.LocalEdits(t.Context(), two); err != nil || strings.Join(edits, " ") != "lib" {
		t.Errorf("edit in a submodule: %q, %v", edits, err)
	}
	if err := r.MoveTo(t.Context(), two); !errors.As(err, new(*LocalEditsError)) || read(t, dir, "lib/s") != "mine" {
		t.Errorf("move over an edit in a submodule: %v", err)
	}
	sh(t, filepath.Join(dir, "lib"), "checkout", "-q", "s")
	moveTo(t, r, without)
	// A submodule that nobody initialised is left alone.
	bare := clone(t, up)
	sh(t, bare, "reset", "-q", "--hard", one)
	moveTo(t, open(t, bare, Options{}), two)
	if exists(filepath.Join(bare, "lib/s")) {
		t.Error("an unused submodule was initialised")
	}
}

// The kernel gives files the time of its last tick, which may lie some
// milliseconds before a time that was asked for earlier, in another second.
func TestLockOfAMoveAtTheTurnOfASecond(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	from := put(t, up, "one", "f", "1")
	to := put(t, up, "two", "f", "2")
	dir := clone(t, up)
	sh(t, dir, "reset", "-q", "--hard", from)
	r := open(t, dir, Options{})
	turn := time.Now().Truncate(time.Second)
	if err := r.writeJournal(journal{Since: turn.Add(500 * time.Microsecond), From: from, To: to}); err != nil {
		t.Fatal(err)
	}
	write(t, dir, ".git/index.lock", "")
	tick := turn.Add(-1500 * time.Microsecond)
	if err := os.Chtimes(filepath.Join(dir, ".git/index.lock"), tick, tick); err != nil {
		t.Fatal(err)
	}
	if err := r.MoveTo(t.Context(), to); err != nil {
		t.Error(err)
	}
}
