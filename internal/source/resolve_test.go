// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckRev(t *testing.T) {
	for _, good := range []string{"main", "feature/x", "v1.2.3", "abc1234", "refs/heads/main", "release-1", "ünï", "a.b", "user@host", "#12"} {
		if err := checkRev(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"-x", "--upload-pack=x", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", `a\b`, "a..b", "a@{1}", "@", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.",
		"a\nb", "a\x00b", strings.Repeat("a", 300),
	} {
		if err := checkRev(bad); !errors.Is(err, ErrInvalidRevision) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestResolve(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	one := put(t, up, "one\n\nThe body\nof it.", "a", "1")
	sh(t, up, "tag", "light")
	sh(t, up, "tag", "-a", "-m", "annotated", "v1")
	tagObject := sh(t, up, "rev-parse", "v1")
	two := put(t, up, "two", "a", "2")
	sh(t, up, "branch", "feature/x")
	sh(t, up, "tag", "both", one)
	sh(t, up, "branch", "both", two)
	three := put(t, up, "three", "a", "3")
	dir := clone(t, up)
	// Local names lead nowhere.
	sh(t, dir, "branch", "local")
	sh(t, dir, "branch", two[:7], one)
	sh(t, dir, "tag", "localtag")
	four := put(t, up, "four", "a", "4")
	r := open(t, dir, Options{})
	before := sh(t, dir, "for-each-ref", "refs/heads", "refs/tags", "refs/remotes")
	fetch(t, r, "")
	if after := sh(t, dir, "for-each-ref", "refs/heads", "refs/tags", "refs/remotes"); after != before {
		t.Errorf("the user's refs changed from\n%s\nto\n%s", before, after)
	}
	for rev, want := range map[string]string{
		"main": four, "": four, "refs/heads/main": four, "feature/x": two, "light": one, "v1": one, "refs/tags/v1": one,
		"both": two, "refs/tags/both": one, one: one, strings.ToUpper(one): one, two[:7]: two, three[:4]: three, tagObject: one, tagObject[:8]: one,
	} {
		c, err := r.Resolve(t.Context(), rev)
		if err != nil || c.SHA != want {
			t.Errorf("Resolve(%q) = %s, %v; want %s", rev, c.SHA, err, want)
		}
	}
	for rev, want := range map[string]error{
		"local": ErrNotFound, "localtag": ErrNotFound, "nope": ErrNotFound, strings.Repeat("ab", 20): ErrNotFound, "abc": ErrNotFound,
		"HEAD": ErrNotFound, "--all": ErrInvalidRevision, "main~1": ErrInvalidRevision,
	} {
		if c, err := r.Resolve(t.Context(), rev); !errors.Is(err, want) {
			t.Errorf("Resolve(%q) = %s, %v; want %v", rev, c.SHA, err, want)
		}
	}
	c, err := r.Resolve(t.Context(), one)
	want := Commit{
		SHA: one, Short: one[:7], Subject: "one", Body: "The body\nof it.", Author: "Ada", AuthorEmail: "ada@example.com",
		Time: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC), tree: sh(t, dir, "rev-parse", one+"^{tree}"),
	}
	if err != nil || c != want {
		t.Errorf("commit is %+v, %v; want %+v", c, err, want)
	}
	r = open(t, dir, Options{DefaultRef: "v1"})
	if c, err := r.Resolve(t.Context(), ""); err != nil || c.SHA != one {
		t.Errorf("default ref: %v, %v", c, err)
	}
}

func TestAmbiguousShortSHA(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	base := put(t, up, "base", "a", "1")
	tree := sh(t, up, "rev-parse", "HEAD^{tree}")
	// A few hundred commits share four digits sooner or later.
	var script strings.Builder
	const n = 600
	for i := range n {
		message := fmt.Sprintf("number %d", i)
		fmt.Fprintf(&script, "commit refs/heads/number/%d\ncommitter A <a@b> 1700000000 +0000\ndata %d\n%s\nfrom %s\n", i, len(message), message, base)
	}
	cmd := exec.CommandContext(t.Context(), "git", "fast-import", "--quiet")
	cmd.Dir, cmd.Stdin = up, strings.NewReader(script.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fast-import: %v\n%s", err, out)
	}
	seen := map[string][]string{}
	for _, sha := range strings.Fields(sh(t, up, "for-each-ref", "--format=%(objectname)", "refs/heads/")) {
		seen[sha[:4]] = append(seen[sha[:4]], sha)
	}
	for prefix, shas := range seen {
		if len(shas) < 2 {
			continue
		}
		r := open(t, up, Options{})
		_, err := r.Resolve(t.Context(), prefix)
		var ambiguous *AmbiguousError
		if !errors.As(err, &ambiguous) || len(ambiguous.Candidates) != len(shas) {
			t.Fatalf("error is %v", err)
		}
		for _, sha := range shas {
			if !strings.Contains(err.Error(), sha) {
				t.Errorf("%s is not named in %q", sha, err)
			}
		}
		if c, err := r.Resolve(t.Context(), shas[0][:12]); err != nil || c.SHA != shas[0] {
			t.Errorf("longer prefix: %v, %v", c, err)
		}
		return
	}
	t.Fatalf("no two of %d commits on tree %s begin alike", n, tree)
}

func TestChanges(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	one := put(t, up, "one", "a", "1")
	two := put(t, up, "two", "a", "2")
	three := put(t, up, "three", "a", "3")
	// A file that is named like a commit confuses nobody.
	write(t, up, three, "")
	sh(t, up, "checkout", "-q", "-b", "side", one)
	side := put(t, up, "side", "b", "1")
	r := open(t, up, Options{})
	tests := []struct {
		name, from, to string
		limit          int
		want           Direction
		total          int
		subjects       string
	}{
		{"same", two, two, 0, Same, 0, ""},
		{"forward", one, three, 0, Forward, 2, "three two"},
		{"limited", one, three, 1, Forward, 2, "three"},
		{"backward", three, one, 0, Backward, 2, "three two"},
		{"diverged", three, side, 0, Diverged, 1, "side"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := r.Changes(t.Context(), tt.from, tt.to, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			var subjects []string
			for _, commit := range c.Commits {
				subjects = append(subjects, commit.Subject)
			}
			if c.Direction != tt.want || c.Total != tt.total || strings.Join(subjects, " ") != tt.subjects || c.Truncated {
				t.Errorf("got %s, %d, %v", c.Direction, c.Total, subjects)
			}
		})
	}
	if _, err := r.Changes(t.Context(), one, strings.Repeat("0", 40), 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing commit: %v", err)
	}
	if _, err := r.Changes(t.Context(), "main", one, 0); !errors.Is(err, ErrInvalidRevision) {
		t.Errorf("name for a SHA: %v", err)
	}
}

func TestUnpushedCommits(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	dir := clone(t, up)
	two := put(t, up, "two", "a", "2")
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	unpushed := func() string {
		t.Helper()
		commits, err := r.UnpushedCommits(t.Context(), two)
		if err != nil {
			t.Fatal(err)
		}
		var subjects []string
		for _, c := range commits {
			subjects = append(subjects, c.Subject)
		}
		return strings.Join(subjects, " ")
	}
	if got := unpushed(); got != "" {
		t.Errorf("nothing is unpushed, got %q", got)
	}
	// What was cloned and then force-pushed away is nobody's work either.
	cloned := clone(t, up)
	sh(t, up, "commit", "-q", "--amend", "-m", "two again")
	again := sh(t, up, "rev-parse", "HEAD")
	other := open(t, cloned, Options{})
	fetch(t, other, "main")
	if commits, err := other.UnpushedCommits(t.Context(), again); err != nil || len(commits) > 0 {
		t.Errorf("a cloned commit is unpushed: %v, %v", commits, err)
	}
	put(t, dir, "mine", "b", "1")
	put(t, dir, "mine-too", "b", "2")
	if got := unpushed(); got != "mine-too mine" {
		t.Errorf("unpushed are %q", got)
	}
	// What was deployed and then force-pushed away is nobody's work.
	sh(t, dir, "reset", "-q", "--hard", "HEAD~2")
	moveTo(t, r, two)
	sh(t, up, "commit", "-q", "--amend", "-m", "rewritten")
	fetch(t, r, "main")
	if got := unpushed(); got != "" {
		t.Errorf("a deployed commit is unpushed: %q", got)
	}
}

// What was found out about a commit is not asked again, and what was not there is.
func TestKnownCommits(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	sha := put(t, up, "one", "a", "1")
	r := open(t, up, Options{})
	missing := strings.Repeat("a", 40)
	if _, err := r.Resolve(t.Context(), missing); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	first, err := r.Resolve(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	two := put(t, up, "two", "a", "2")
	if ok, err := r.has(t.Context(), two); err != nil || !ok {
		t.Errorf("a commit that came later is not seen: %t, %v", ok, err)
	}
	digest, err := r.TreeDigest(t.Context(), sha, "a")
	if err != nil {
		t.Fatal(err)
	}
	r.git.bin = filepath.Join(t.TempDir(), "no-git")
	if ok, err := r.has(t.Context(), sha); err != nil || !ok {
		t.Errorf("has: %t, %v", ok, err)
	}
	if again, err := r.commit(t.Context(), sha); err != nil || again != first {
		t.Errorf("commit: %+v, %v", again, err)
	}
	if again, err := r.TreeDigest(t.Context(), sha, "./a"); err != nil || again != digest {
		t.Errorf("digest: %q, %v", again, err)
	}
}
