// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

// MoveTo makes the commit (a full SHA that is here) the checked-out one:
// tracked files and HEAD follow, untracked and ignored files stay, and so do
// local changes to files that are the same in both. If a file with local
// changes is in the way, nothing is changed and the error is a
// *LocalEditsError. The checked-out branch moves along when the commit is in
// its history or the branch is in the commit's; otherwise HEAD is detached and
// the branch stays. Submodules that are in use, and new ones, follow too.
//
// MoveTo may be called again after it failed or was killed at any point: it
// finishes what was begun, also when it is then called with another commit.
// Pointers of Git LFS that the clone has in the place of files become those files.
// Other errors: ErrLocked, ErrLFS, *RemoteError (for content of submodules and
// LFS that is not here yet).
func (r *Repo) MoveTo(ctx context.Context, commit string) error {
	if err := r.need(ctx, commit); err != nil {
		return err
	}
	return r.locked(ctx, func(hold *os.File) error {
		j, err := r.readJournal()
		if err != nil {
			return err
		}
		if j != nil {
			if err := r.recover(ctx, hold, *j, commit); err != nil {
				return err
			}
		}
		h, err := r.Head(ctx)
		if err != nil {
			return err
		}
		if h.Commit == commit {
			if err := r.completeContent(ctx, hold, r.git, r.url); err != nil {
				return err
			}
			return r.setRef(ctx, hold, refMoved, commit)
		}
		return r.carry(ctx, hold, h, h.Commit, commit, false)
	})
}

// recover ends an interrupted move: forward when it is the one that is wanted
// now, back otherwise, since what stopped it may be what is wrong with its target.
func (r *Repo) recover(ctx context.Context, hold *os.File, j journal, wanted string) error {
	h, err := r.Head(ctx)
	switch {
	case err != nil:
		return err
	case h.Commit != j.From && h.Commit != j.To:
		return r.endJournal() // somebody has gone on from there by hand
	case wanted == j.To:
		return r.carry(ctx, hold, h, j.From, j.To, true)
	}
	return r.carry(ctx, hold, h, j.To, j.From, true)
}

// carry moves everything from one commit to another, while h is checked out.
// interrupted: what is there may already be, file by file, at either of them.
func (r *Repo) carry(ctx context.Context, hold *os.File, h Head, from, to string, interrupted bool) error {
	s, err := r.survey(ctx, from, to, interrupted)
	if err != nil {
		return err
	}
	if edits := s.edits(); len(edits) > 0 {
		return &LocalEditsError{Dir: r.top, Paths: edits}
	}
	j := journal{Since: r.now(), From: from, To: to}
	if !interrupted {
		if err := r.writeJournal(j); err != nil {
			return err
		}
	}
	if err := r.moveFiles(ctx, hold, s, j); err != nil {
		if !interrupted && errors.As(err, new(*LocalEditsError)) {
			// Git looks before it writes: nothing was begun.
			return errors.Join(err, r.endJournal())
		}
		return err
	}
	if err := r.moveHead(ctx, hold, h, j.To); err != nil {
		return err
	}
	index := s.moved()
	if _, has := index.entries[".gitmodules"]; has {
		if err := r.moveSubmodules(ctx, hold, s, j.To); err != nil {
			return err
		}
	}
	if err := r.restoreTreeOwner(s.paths()); err != nil {
		return err
	}
	if err := r.completeIndexed(ctx, hold, r.git, r.url, index); err != nil {
		return err
	}
	return r.endJournal()
}

// moveFiles brings index and working tree to the target.
func (r *Repo) moveFiles(ctx context.Context, hold *os.File, s survey, j journal) error {
	var fixes strings.Builder
	for _, f := range s.findings {
		v := s.verdicts[f.path]
		if v.remove {
			if err := os.Remove(filepath.Join(r.top, f.path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if v.index != f.index {
			e := v.index
			if e == (entry{}) {
				e = entry{mode: "0", oid: strings.Repeat("0", len(f.index.oid))}
			}
			fmt.Fprintf(&fixes, "%s %s\t%s\x00", e.mode, e.oid, f.path)
		}
	}
	if fixes.Len() > 0 {
		_, err := r.git.run(ctx, call{args: []string{"update-index", "-z", "--index-info"}, stdin: []byte(fixes.String()), hold: hold})
		if err != nil {
			return locking(err)
		}
	}
	refresh := func() error {
		_, err := r.git.run(ctx, call{args: []string{"update-index", "-q", "--refresh"}, hold: hold})
		if exitCode(err) == 1 {
			return nil // there are files with local changes, which may well be
		}
		return locking(err)
	}
	if fixes.Len() > 0 {
		if err := refresh(); err != nil {
			return err
		}
	}
	c := call{args: []string{"read-tree", "-m", "-u", j.From, j.To}, hold: hold}
	done, err := r.dressForContent(ctx, &c, r.git, r.url)
	if err != nil {
		return err
	}
	defer done()
	_, err = r.git.run(ctx, c)
	if len(inTheWay(err)) > 0 && fixes.Len() == 0 {
		// Files with another time than in the index are in the way until it is refreshed. Git
		// looks before it writes: nothing was begun.
		if err := refresh(); err != nil {
			return err
		}
		_, err = r.git.run(ctx, c)
	}
	if err != nil {
		if paths := inTheWay(err); len(paths) > 0 {
			return &LocalEditsError{Dir: r.top, Paths: paths}
		}
		return locking(contentError(err, r.url))
	}
	if fixes.Len() == 0 {
		return nil // git knows the files that it wrote
	}
	return refresh()
}

var inTheWayText = regexp.MustCompile(`(?m)^error: (?:Entry|Untracked working tree file|Updating the following director\w+ would lose untracked files in (?:it|them):\n\t)\s*'?([^'\n]+?)'?(?: not uptodate| would be| overlaps|$)`)

// inTheWay reads from git's refusal which files were changed since we looked.
func inTheWay(err error) []string {
	var g *gitError
	if !errors.As(err, &g) {
		return nil
	}
	var paths []string
	for _, m := range inTheWayText.FindAllStringSubmatch(g.stderr, -1) {
		paths = append(paths, m[1])
	}
	return paths
}

func locking(err error) error {
	var g *gitError
	if errors.As(err, &g) && lockText.MatchString(g.stderr) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return err
}

// moveHead moves the branch, or detaches HEAD, which is h, and remembers where it is.
func (r *Repo) moveHead(ctx context.Context, hold *os.File, h Head, commit string) error {
	refs := []string{fmt.Sprintf("update %s %s\n", refMoved, commit)}
	if h.Commit != commit {
		along := true
		if h.Branch != "" {
			var err error
			if along, err = r.related(ctx, h.Commit, commit); err != nil {
				return err
			}
			if !along {
				if err := r.rememberBranch(h.Branch); err != nil {
					return err
				}
				h.Branch = ""
			}
		}
		head := fmt.Sprintf("update HEAD %s %s\n", commit, h.Commit)
		if !along {
			head = "option no-deref\n" + head
		}
		refs = append(refs, head)
	}
	update := call{args: []string{"update-ref", "-m", "fairlead: moving to " + commit, "--stdin"}, stdin: []byte(strings.Join(refs, "")), hold: hold}
	if _, err := r.git.run(ctx, update); err != nil {
		return locking(err)
	}
	if h.Branch == "" {
		return r.attach(ctx, hold, commit)
	}
	return nil
}

// attach puts a detached HEAD back on the branch from which a move of ours took
// it, if that is at the commit, as after going back.
func (r *Repo) attach(ctx context.Context, hold *os.File, commit string) error {
	branch, err := r.rememberedBranch()
	if err != nil || branch == "" {
		return err
	}
	ref := "refs/heads/" + branch
	at, err := r.git.text(ctx, "rev-parse", "--verify", "--quiet", ref)
	if exitCode(err) > 0 {
		return nil // somebody removed it
	}
	if err != nil || at != commit {
		return err
	}
	_, err = r.git.run(ctx, call{args: []string{"symbolic-ref", "-m", "fairlead: back on " + branch, "HEAD", ref}, hold: hold})
	return locking(err)
}

// branchName is the file that names the branch from which a move of ours
// detached HEAD: it is what is followed as long as no other is checked out.
const branchName = "fairlead-branch"

func (r *Repo) rememberBranch(branch string) error {
	return atomicfile.WriteFile(filepath.Join(r.gitDir, branchName), []byte(branch+"\n"), 0o600)
}

// rememberedBranch returns "" when no move of ours detached HEAD.
func (r *Repo) rememberedBranch() (string, error) {
	data, err := os.ReadFile(filepath.Join(r.gitDir, branchName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// moveSubmodules updates the submodules that are in use, and initialises those
// that the move added.
func (r *Repo) moveSubmodules(ctx context.Context, hold *os.File, s survey, commit string) error {
	update := func(args ...string) error {
		c := call{args: append([]string{"submodule", "--quiet", "update"}, args...), hold: hold}
		// Each submodule has a remote of its own.
		done, err := r.git.dress(ctx, &c, r.url, r.credFor(r.url), true)
		if err != nil {
			return err
		}
		defer done()
		if _, err = r.git.run(ctx, c); err != nil {
			return fmt.Errorf("the working tree is at %s, its submodules are not: %w", commit, contentError(err, r.url))
		}
		return nil
	}
	added := []string{"--init", "--recursive", "--"}
	for _, f := range s.findings {
		if f.target.mode == modeSubmodule && f.head.mode != modeSubmodule {
			added = append(added, f.path)
		}
	}
	if len(added) > 3 {
		if err := update(added...); err != nil {
			return err
		}
	}
	return update("--recursive")
}
