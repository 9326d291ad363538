// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{
		"git version 2.39.5\n":              {2, 39, 5},
		"git version 2.39.5 (Apple Git-15)": {2, 39, 5},
		"git version 2.20.1.windows.1":      {2, 20, 1},
		"git version 3.0":                   {3, 0, 0},
	} {
		if got, err := parseVersion(text); err != nil || got != want {
			t.Errorf("parseVersion(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	if _, err := parseVersion("gibberish"); !errors.Is(err, ErrGitMissing) {
		t.Errorf("error is %v", err)
	}
	for v, want := range map[Version]bool{{2, 20, 0}: true, {2, 19, 9}: false, {3, 0, 0}: true, {1, 99, 0}: false} {
		if v.AtLeast(2, 20) != want {
			t.Errorf("%v.AtLeast(2, 20) is %v", v, !want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	sandbox(t)
	if _, err := Open(t.Context(), t.TempDir(), Options{}); !errors.Is(err, ErrNotRepository) {
		t.Errorf("plain directory: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, ErrNotRepository) {
		t.Errorf("missing directory: %v", err)
	}
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	r := open(t, up, Options{})
	if _, err := r.Fetch(t.Context(), "main"); !errors.Is(err, ErrNoRemote) {
		t.Errorf("no remote: %v", err)
	}
	if c, err := r.Resolve(t.Context(), "main"); err != nil || c.Subject != "one" {
		t.Errorf("local branch without a remote: %v, %v", c, err)
	}
	token := &Credentials{Password: "s3cret"}
	for url, want := range map[string]error{"git@example.com:a/b.git": ErrCredentials, "ssh://git@example.com/a": ErrCredentials, "https://example.com/a": nil, "--upload-pack=x": ErrNoRemote, "ext::sh": ErrNoRemote} {
		if _, err := Open(t.Context(), up, Options{URL: url, Credentials: token}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", url, err, want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Open(t.Context(), up, Options{}); !errors.Is(err, ErrGitMissing) {
		t.Errorf("no git: %v", err)
	}
	if _, err := InstalledVersion(t.Context()); !errors.Is(err, ErrGitMissing) {
		t.Errorf("no git: %v", err)
	}
}

// Opened with what is checked out, it is the same repository, and refused for the same reasons.
func TestOpenAtHead(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	sha := put(t, up, "one", "a", "1")
	dir := clone(t, up)
	r, h, err := OpenAtHead(t.Context(), dir, Options{DefaultRef: "main"})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Head{Commit: sha, Branch: "main"}); h != want {
		t.Errorf("head is %+v, want %+v", h, want)
	}
	if other := open(t, dir, Options{DefaultRef: "main"}); r.URL() != other.URL() || r.Top() != other.Top() || r.defaultRef != other.defaultRef {
		t.Errorf("it is of %s in %s, not of %s in %s", r.URL(), r.Top(), other.URL(), other.Top())
	}
	fresh := put(t, up, "two", "a", "2")
	if c, err := r.Fetch(t.Context(), fresh); err != nil || c.Subject != "two" {
		t.Errorf("fetched %+v, %v", c, err)
	}
	for what, tt := range map[string]struct {
		dir  string
		opts Options
		want error
	}{
		"no repository": {t.TempDir(), Options{}, ErrNotRepository},
		"no commit":     {newRepo(t), Options{}, ErrNotFound},
		"no URL":        {dir, Options{URL: "--upload-pack=x"}, ErrNoRemote},
	} {
		if _, _, err := OpenAtHead(t.Context(), tt.dir, tt.opts); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", what, err, tt.want)
		}
	}
}

func TestOldGitIsRefused(t *testing.T) {
	sandbox(t)
	bin := t.TempDir()
	write(t, bin, "git", "#!/bin/sh\necho git version 2.19.2\n")
	if err := os.Chmod(filepath.Join(bin, "git"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if _, err := Open(t.Context(), t.TempDir(), Options{}); !errors.Is(err, ErrGitMissing) || !strings.Contains(err.Error(), "2.19.2") {
		t.Errorf("error is %v", err)
	}
}

func TestHead(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	r := open(t, up, Options{})
	if _, err := r.Head(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("unborn branch: %v", err)
	}
	sha := put(t, up, "one", "a", "1")
	want := Head{Commit: sha, Branch: "main"}
	if h := head(t, r); h != want {
		t.Errorf("head is %+v, want %+v", h, want)
	}
	// Known once, it is read from the files that git keeps it in, whatever changes there.
	calls := counted(t)
	again, _, err := OpenAtHead(t.Context(), up, Options{})
	if err != nil {
		t.Fatal(err)
	}
	calls()
	unasked := func(what string, asked int, want Head) {
		t.Helper()
		if h := head(t, again); h != want {
			t.Errorf("%s, head is %+v, want %+v", what, h, want)
		}
		sh(t, up, "version") // so that there is a call at all
		if n := len(calls()) - 1; n != asked {
			t.Errorf("%s: %d git processes, want %d", what, n, asked)
		}
	}
	unasked("asked again", 0, want)
	second := put(t, up, "two", "a", "2")
	calls()
	unasked("after a commit by hand", 1, Head{Commit: second, Branch: "main"})
	sh(t, up, "checkout", "-q", "-b", "a/b", sha)
	calls()
	unasked("on another branch", 0, Head{Commit: sha, Branch: "a/b"})
	sh(t, up, "pack-refs", "--all")
	calls()
	unasked("with branches in one file", 1, Head{Commit: sha, Branch: "a/b"})
	write(t, filepath.Join(up, ".git", "refs", "heads", "a"), "b", strings.Repeat("1", 40)+"\n")
	calls()
	if _, err := again.Head(t.Context()); err == nil {
		t.Error("a commit that is not there was taken")
	}
	sh(t, up, "update-ref", "-d", "refs/heads/a/b")
	sh(t, up, "symbolic-ref", "HEAD", "refs/heads/main")
	sh(t, up, "reset", "-q", "--hard", sha)
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	if moved, err := r.MovedAt(t.Context()); err != nil || !moved.Equal(at) {
		t.Errorf("moved at %v, %v; want %v", moved, err, at)
	}
	// What else is called HEAD, or like the branch, is never taken for it.
	sh(t, up, "tag", "main")
	sh(t, up, "update-ref", "refs/tags/HEAD", sha)
	if h := head(t, r); h != want {
		t.Errorf("beside tags of those names, head is %+v, want %+v", h, want)
	}
	sh(t, up, "update-ref", "-d", "refs/tags/HEAD")
	sh(t, up, "checkout", "-q", "--detach")
	if h := head(t, r); h.Branch != "" || h.Commit != sha {
		t.Errorf("detached head is %+v", h)
	}
	if err := os.RemoveAll(filepath.Join(up, ".git", "logs")); err != nil {
		t.Fatal(err)
	}
	if moved, err := r.MovedAt(t.Context()); err != nil || !moved.IsZero() {
		t.Errorf("without a reflog moved at %v, %v", moved, err)
	}
}

func TestPrefix(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "deploy/prod/compose.yaml", "x")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(up, "deploy"), link); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{up: "", filepath.Join(up, "deploy/prod"): "deploy/prod", link: "deploy"} {
		if got := open(t, dir, Options{}).Prefix(); got != want {
			t.Errorf("prefix of %s is %q, want %q", dir, got, want)
		}
	}
}

func TestLinkedWorkingTree(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	dir := clone(t, up)
	linked := filepath.Join(t.TempDir(), "linked")
	sh(t, dir, "worktree", "add", "-q", "-b", "deploy", linked)
	sha := put(t, up, "two", "a", "2")
	r := open(t, linked, Options{})
	fetch(t, r, "main")
	moveTo(t, r, sha)
	if err := r.Exclude(t.Context(), "/.update/"); err != nil {
		t.Fatal(err)
	}
	if read(t, linked, "a") != "2" || read(t, dir, "a") != "1" || head(t, r).Branch != "deploy" {
		t.Error("the wrong working tree moved")
	}
	write(t, linked, ".update/x", "")
	if got := sh(t, linked, "status", "--porcelain"); got != "" {
		t.Errorf("status: %s", got)
	}
}

func TestExclude(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	write(t, up, ".git/info/exclude", "*.tmp")
	r := open(t, up, Options{})
	for range 2 {
		if err := r.Exclude(t.Context(), "/.update/", "/.env"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := read(t, up, ".git/info/exclude"), "*.tmp\n/.update/\n/.env\n"; got != want {
		t.Errorf("exclude is %q, want %q", got, want)
	}
	if err := r.Exclude(t.Context(), "a\nb"); err == nil {
		t.Error("a pattern of two lines was taken")
	}
	if err := os.RemoveAll(filepath.Join(up, ".git/info")); err != nil {
		t.Fatal(err)
	}
	if err := r.Exclude(t.Context(), "/.update/"); err != nil || read(t, up, ".git/info/exclude") != "/.update/\n" {
		t.Errorf("without info directory: %v", err)
	}
}

// A repository of another user needs no safe.directory, and stays usable for
// its owner when root has worked in it. Run by another user than root, it
// shows just the first for a repository of that user.
func TestForeignOwner(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	dir := clone(t, up)
	sha := put(t, up, "two", "a", "2", "new/b", "3")
	write(t, os.Getenv("HOME"), ".gitconfig", "")
	owner := os.Geteuid()
	if owner == 0 {
		owner = 12345
		chownAll(t, dir, owner)
	}
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	moveTo(t, r, sha)
	if err := r.Exclude(t.Context(), "/.update/"); err != nil {
		t.Fatal(err)
	}
	if err := r.Export(t.Context(), sha, filepath.Join(t.TempDir(), "out")); err != nil {
		t.Fatal(err)
	}
	ownedBy(t, dir, owner)
}

func TestHooksNeverRun(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	dir := clone(t, up)
	for _, hook := range []string{"post-checkout", "reference-transaction", "post-merge", "post-index-change", "fsmonitor"} {
		write(t, dir, ".git/hooks/"+hook, "#!/bin/sh\necho "+hook+" >> ../ran || echo x >> ran\n")
		if err := os.Chmod(filepath.Join(dir, ".git/hooks", hook), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, dir, "config", "core.fsmonitor", ".git/hooks/fsmonitor")
	sha := put(t, up, "two", "a", "2")
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	moveTo(t, r, sha)
	if exists(filepath.Join(dir, "ran")) || exists(filepath.Join(filepath.Dir(dir), "ran")) {
		t.Error("a hook ran")
	}
}

func TestMaintainKeepsWhereHeadWas(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	first := put(t, up, "one", "a", "1")
	dir := clone(t, up)
	sh(t, up, "commit", "-q", "--amend", "-m", "rewritten")
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	c, err := r.Resolve(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	moveTo(t, r, c.SHA)
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	moveTo(t, r, first)
}

func TestLinkedDirectory(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "app/a", "1", "gone/b", "1")
	place := clone(t, up)
	link := filepath.Join(t.TempDir(), "opt", "shop")
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(place, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ dir, top, prefix string }{
		{link, link, ""},
		{link + "/", link, ""},
		{filepath.Join(link, "app"), link, "app"},
		{place, place, ""},
	} {
		if r := open(t, tt.dir, Options{}); r.Top() != tt.top || r.Prefix() != tt.prefix {
			t.Errorf("opened %s: top %s, prefix %q; want %s, %q", tt.dir, r.Top(), r.Prefix(), tt.top, tt.prefix)
		}
	}
	// A link into the working tree hides where its top is.
	inside := filepath.Join(t.TempDir(), "inside")
	if err := os.Symlink(filepath.Join(place, "app"), inside); err != nil {
		t.Fatal(err)
	}
	if r := open(t, inside, Options{}); r.Top() != place || r.Prefix() != "app" {
		t.Errorf("opened %s: top %s, prefix %q", inside, r.Top(), r.Prefix())
	}
	// All that an update does works through the link.
	want := put(t, up, "two", "app/a", "2", "app/new", "1")
	r := open(t, link, Options{})
	fetch(t, r, "main")
	tree := filepath.Join(link, ".update", "tree")
	if err := os.MkdirAll(filepath.Dir(tree), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.Export(t.Context(), want, tree); err != nil || read(t, tree, "app/new") != "1" {
		t.Errorf("export: %v", err)
	}
	moveTo(t, r, want)
	if got := head(t, r).Commit; got != want || read(t, place, "app/a") != "2" {
		t.Errorf("moved to %s, want %s", got, want)
	}
	write(t, place, "app/a", "mine")
	last := put(t, up, "three", "app/a", "3")
	fetch(t, r, "main")
	var edits *LocalEditsError
	if err := r.MoveTo(t.Context(), last); !errors.As(err, &edits) {
		t.Errorf("edits behind a link: %v", err)
	}
}

func TestParseRemotes(t *testing.T) {
	got := parseRemotes("origin\thttps://example.com/a b.git (fetch) [blob:none]\norigin\tssh://push.example.com/a (push)\nother\t/srv/o (push)\n")
	if len(got) != 2 || got["origin"] != "https://example.com/a b.git" || got["other"] != "" {
		t.Errorf("got %q", got)
	}
}
