// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"path"
	"slices"
	"strings"
)

// entry is what a tree, the index or the working tree has at a path. The zero
// entry is nothing.
type entry struct {
	// mode is git's, in octal: 100644, 100755, 120000 (link), 160000 (submodule).
	mode string
	// oid is the object name of the content as it would be committed.
	oid string
}

const (
	modeFile       = "100644"
	modeExecutable = "100755"
	modeLink       = "120000"
	modeSubmodule  = "160000"
)

// change is a path that differs between two commits.
type change struct {
	path         string
	head, target entry
}

// place is what is found in the working tree at a path.
type place struct {
	entry
	// clean: git says that it is as in the index.
	clean bool
	// blocker is a parent of the path that is no directory.
	blocker string
	// isDir: there is a directory that is no submodule; files are those below
	// it, as paths from the top.
	isDir bool
	files []string
	// edited: a submodule with changes inside.
	edited bool
	// torn: the content is the beginning of the target's, as a git that was
	// killed while writing leaves it.
	torn bool
}

// finding is what a change meets in index and working tree.
type finding struct {
	change
	index entry
	// unmerged: the index has the stages of a conflict.
	unmerged bool
	// hidden: marked skip-worktree, a file that is absent is meant to be.
	hidden bool
	place
}

// verdict is what is to be done about a path before git moves.
type verdict struct {
	// edits are paths whose content would be lost.
	edits []string
	// index is what the index must hold, so that git sees what is there for
	// what it is: the old content or already the new one.
	index entry
	// remove: a torn file, to be written again.
	remove bool
}

// judge decides whether moving over the path loses anything. tracked are the
// paths of the commit that is left that differ from the target. interrupted: an
// earlier move between the same commits did not end, so that a file may be
// missing or torn.
func judge(f finding, tracked map[string]bool, interrupted bool) verdict {
	edit := verdict{edits: []string{f.path}}
	known := func(e entry) bool { return e == f.head || e == f.target }
	if f.unmerged || !known(f.index) {
		return edit
	}
	if f.clean {
		return verdict{index: f.index}
	}
	at := f.entry
	switch {
	case f.blocker != "":
		// Nothing of ours is lost; a tracked blocker is judged by itself.
		if f.target != (entry{}) && !tracked[f.blocker] {
			return verdict{edits: []string{f.blocker}}
		}
	case f.isDir:
		if lost := lostBelow(f, tracked); len(lost) > 0 {
			return verdict{edits: lost}
		}
	case f.edited:
		return edit
	}
	switch {
	case at == f.target:
		return verdict{index: f.target}
	case at == f.head:
		return verdict{index: f.head}
	case at == (entry{}) && (interrupted || f.hidden || f.isDir || f.blocker != ""):
		// isDir and blocker: whatever took the place of the file was found to
		// lose nothing above.
		return verdict{index: f.head}
	case f.torn && interrupted:
		return verdict{index: f.head, remove: true}
	}
	return edit
}

// lostBelow lists the files in a directory that stands where the target has a
// file or a submodule, as far as the move does not remove them anyway.
func lostBelow(f finding, tracked map[string]bool) []string {
	if f.target == (entry{}) {
		return nil
	}
	var lost []string
	for _, p := range f.files {
		if !tracked[p] {
			lost = append(lost, p)
		}
	}
	return lost
}

// parseDiff reads `git diff-tree -r -z --raw`.
func parseDiff(out []byte) []change {
	var changes []change
	fields := records(out)
	for pair := range slices.Chunk(fields, 2) {
		meta := strings.Fields(strings.TrimPrefix(pair[0], ":"))
		if len(pair) != 2 || len(meta) != 5 {
			continue
		}
		changes = append(changes, change{path: pair[1], head: newEntry(meta[0], meta[2]), target: newEntry(meta[1], meta[3])})
	}
	return changes
}

func newEntry(mode, oid string) entry {
	if strings.Trim(mode, "0") == "" {
		return entry{}
	}
	return entry{mode: mode, oid: oid}
}

// indexState is the index by path.
type indexState struct {
	entries  map[string]entry
	unmerged map[string]bool
	// skip: skip-worktree. marked: skip-worktree or assume-unchanged, for
	// which git does not look at the file.
	skip, marked map[string]bool
}

// parseIndex reads `git ls-files -z -s -v`: "H 100644 oid 0\tpath".
func parseIndex(out []byte) indexState {
	s := indexState{entries: map[string]entry{}, unmerged: map[string]bool{}, skip: map[string]bool{}, marked: map[string]bool{}}
	for _, rec := range records(out) {
		meta, p, ok := strings.Cut(rec, "\t")
		f := strings.Fields(meta)
		if !ok || len(f) != 4 {
			continue
		}
		if f[3] != "0" {
			s.unmerged[p] = true
			continue
		}
		s.entries[p] = newEntry(f[1], f[2])
		if f[0] == "S" || f[0] == "s" {
			s.skip[p] = true
		}
		if f[0] != "H" {
			s.marked[p] = true
		}
	}
	return s
}

// dirtyState is what `git status` says of a tracked path.
type dirtyState struct {
	// submoduleEdited: new content inside a submodule, committed or not.
	submoduleEdited bool
}

// Edited are those of the tracked files, by their paths relative to Top, that are not as
// HEAD has them: changed, deleted or replaced, staged or not. Files that Git was told not
// to look at (skip-worktree, assume-unchanged) are not among them.
func (r *Repo) Edited(ctx context.Context, paths ...string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	args := []string{"diff", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--ignore-submodules=all", "HEAD", "--"}
	out, err := r.git.run(ctx, call{args: append(args, paths...)})
	return records(out), err
}

// parseStatus reads `git status --porcelain=v2 -z --no-renames` and returns the
// paths whose working tree differs from the index.
func parseStatus(out []byte) map[string]dirtyState {
	dirty := map[string]dirtyState{}
	for _, rec := range records(out) {
		var p string
		f := strings.SplitN(rec, " ", 9)
		switch {
		case len(f) == 9 && f[0] == "1":
			p = f[8]
		case strings.HasPrefix(rec, "u "):
			if u := strings.SplitN(rec, " ", 11); len(u) == 11 {
				dirty[u[10]] = dirtyState{}
			}
			continue
		default:
			continue
		}
		if len(f[1]) == 2 && f[1][1] != '.' {
			dirty[p] = dirtyState{submoduleEdited: len(f[2]) == 4 && f[2][2] == 'M'}
		}
	}
	return dirty
}

// parents lists the directories above p, the highest first.
func parents(p string) []string {
	var up []string
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		up = append(up, d)
	}
	slices.Reverse(up)
	return up
}
