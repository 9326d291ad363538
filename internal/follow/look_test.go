// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// git runs git in dir, apart from the settings of whoever runs the test.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func push(t *testing.T, upstream, subject string) string {
	t.Helper()
	git(t, upstream, "commit", "-q", "--allow-empty", "-m", subject)
	return git(t, upstream, "rev-parse", "HEAD")
}

// fakeEnricher stands for a host that tells more than Git.
type fakeEnricher struct {
	head    string
	changes []v1alpha1.Change
	err     error
}

func (f fakeEnricher) Head(context.Context, *v1alpha1.Application, string) (string, bool, error) {
	return f.head, f.head != "", f.err
}

func (f fakeEnricher) Enrich(context.Context, *v1alpha1.Application, string, string) ([]v1alpha1.Change, int, error) {
	return f.changes, len(f.changes), f.err
}

func TestLook(t *testing.T) {
	root := t.TempDir()
	upstream, dir := filepath.Join(root, "upstream"), filepath.Join(root, "app")
	git(t, root, "init", "-q", "--initial-branch=main", upstream)
	first := push(t, upstream, "first")
	git(t, root, "clone", "-q", upstream, dir)
	second := push(t, upstream, "second")
	third := push(t, upstream, "third")
	git(t, upstream, "tag", "v1.0.0", first)
	git(t, upstream, "tag", "v1.1.0", second)

	look := func(g *GitLooker, running string, busy bool, change ...func(*v1alpha1.UpdateSpec)) (Answer, error) {
		t.Helper()
		app := application("shop")
		app.Spec.Compose.Directory, app.Status.Commit = dir, running
		for _, c := range change {
			c(&app.Spec.Update)
		}
		return g.Look(t.Context(), app, Answer{}, busy)
	}
	want := func(what string, a Answer, err error, ref, commit string, behind int32, older bool) {
		t.Helper()
		if err != nil || a.Ref != ref || a.Commit != commit || a.Behind != behind || len(a.Changes) != int(behind) || a.Older != older || a.Generation != 1 {
			t.Errorf("%s: %+v, %v", what, a, err)
		}
	}
	plain := &GitLooker{}
	// While an update runs, nothing is fetched.
	if _, err := look(plain, first, true); !errors.Is(err, ErrBusy) {
		t.Errorf("busy: %v", err)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "cat-file", "-e", third).CombinedOutput(); err == nil {
		t.Errorf("it was fetched: %s", out)
	}
	a, err := look(plain, third, true)
	want("busy, and up to date", a, err, "refs/heads/main", third, 0, false)
	a, err = look(plain, first, false)
	want("the checked-out branch", a, err, "refs/heads/main", third, 2, false)
	if a.Changes[0].Subject != "third" || a.Changes[1].Commit != second || a.Changes[0].Author != "Ada" {
		t.Errorf("the changes are %+v", a.Changes)
	}
	a, err = look(plain, third, false)
	want("up to date", a, err, "refs/heads/main", third, 0, false)
	a, err = look(plain, "", false)
	want("nothing runs", a, err, "refs/heads/main", third, 0, false)
	a, err = look(plain, third, false, func(u *v1alpha1.UpdateSpec) { u.Semver = "1.x" })
	want("ahead of the tag", a, err, "refs/tags/v1.1.0", second, 0, true)
	a, err = look(plain, strings.Repeat("ab", 20), false)
	want("what runs is not known to Git", a, err, "refs/heads/main", third, 0, false)
	if _, err = look(plain, first, false, func(u *v1alpha1.UpdateSpec) { u.Branch = "nowhere" }); err == nil ||
		reason(err) != v1alpha1.ReasonNothingToFollow || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Errorf("a branch that is not there: %v", err)
	}
	// A tag of that name does not do for a branch.
	if _, err = look(plain, first, false, func(u *v1alpha1.UpdateSpec) { u.Branch = "v1.0.0" }); err == nil {
		t.Error("a tag is taken for a branch")
	}

	// An enricher is asked first, and does no harm when it fails.
	listed := []v1alpha1.Change{{Commit: second, Subject: "as listed elsewhere"}}
	a, err = look(&GitLooker{Enricher: fakeEnricher{head: second, changes: listed}}, first, false)
	want("enriched", a, err, "refs/heads/main", second, 1, false)
	if a.Changes[0].Subject != "as listed elsewhere" {
		t.Errorf("the changes are %+v", a.Changes)
	}
	a, err = look(&GitLooker{Enricher: fakeEnricher{head: second, changes: listed, err: errors.New("rate limit")}}, first, false)
	want("not enriched", a, err, "refs/heads/main", third, 2, false)

	if err := os.Rename(upstream, upstream+".away"); err != nil {
		t.Fatal(err)
	}
	_, err1 := look(plain, first, false)
	_, err2 := look(plain, first, false)
	if err1 == nil || err1.Error() != err2.Error() {
		t.Errorf("the words for one cause differ: %v, %v", err1, err2)
	}
}
