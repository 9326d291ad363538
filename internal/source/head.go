// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Head is what is checked out.
type Head struct {
	// Commit is the full SHA.
	Commit string
	// Branch is the short name of the branch; "" when HEAD is detached.
	Branch string
}

// Head reads what is checked out. A repository without a commit is an error.
func (r *Repo) Head(ctx context.Context) (Head, error) {
	if h, ok := r.keptHead(); ok {
		return h, nil
	}
	// Both by one process, if there is a commit and nothing else is called HEAD.
	out, err := r.git.text(ctx, "rev-parse", "HEAD^{commit}", "--symbolic-full-name", "HEAD")
	if commit, ref, ok := strings.Cut(out, "\n"); err == nil && ok && fullSHAText.MatchString(commit) {
		if branch, on := strings.CutPrefix(ref, "refs/heads/"); on || ref == "HEAD" {
			if !on {
				branch = ""
			}
			r.known.sawCommit(commit)
			return Head{Commit: commit, Branch: branch}, nil
		}
	}
	return r.headByParts(ctx)
}

// keptHead reads the branch that is checked out where git keeps it as a rule: in a file for HEAD and one for the branch. It
// reports false otherwise, and for a commit that git was not asked for yet, as a file can name anything.
func (r *Repo) keptHead() (Head, bool) {
	text, err := os.ReadFile(filepath.Join(r.gitDir, "HEAD"))
	ref, symbolic := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), "ref: ")
	branch, on := strings.CutPrefix(ref, "refs/heads/")
	if err != nil || !symbolic || !on || !filepath.IsLocal(filepath.FromSlash(branch)) {
		return Head{}, false
	}
	text, err = os.ReadFile(filepath.Join(r.commonDir, "refs", "heads", filepath.FromSlash(branch))) //nolint:gosec // inside the git directory
	commit := strings.TrimSuffix(string(text), "\n")
	if err != nil || !fullSHAText.MatchString(commit) || !r.known.has(commit) {
		return Head{}, false
	}
	return Head{Commit: commit, Branch: branch}, true
}

func (r *Repo) headByParts(ctx context.Context) (Head, error) {
	var h Head
	var err error
	if h.Commit, err = r.git.text(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err != nil {
		if exitCode(err) == 1 {
			return h, fmt.Errorf("%w: %s has no commit checked out; check out a branch first", ErrNotFound, r.top)
		}
		return h, err
	}
	ref, err := r.git.text(ctx, "symbolic-ref", "--quiet", "HEAD")
	if err != nil && exitCode(err) != 1 {
		return h, err
	}
	h.Branch = strings.TrimPrefix(ref, "refs/heads/")
	return h, nil
}

// MovedAt is when HEAD last changed, by the reflog; zero when unknown.
func (r *Repo) MovedAt(ctx context.Context) (time.Time, error) {
	// HEAD@{1700000000}; nothing when there is no reflog.
	moved, err := r.git.text(ctx, "log", "--walk-reflogs", "-1", "--date=unix", "--format=%gd", "HEAD")
	if err != nil {
		return time.Time{}, err
	}
	_, at, ok := strings.Cut(strings.TrimSuffix(moved, "}"), "@{")
	if !ok {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("git reflog: unexpected %q", moved)
	}
	return time.Unix(seconds, 0), nil
}
