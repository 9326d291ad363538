// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git's object names, no security by it
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// survey compares what moving from one commit to another changes with index
// and working tree.
type survey struct {
	findings []finding
	verdicts map[string]verdict
	index    indexState
}

// moved is the index when the move is made: what changes is as the target has it.
func (s survey) moved() indexState {
	index := s.index
	index.entries = maps.Clone(index.entries)
	for _, f := range s.findings {
		if f.target == (entry{}) {
			delete(index.entries, f.path)
		} else {
			index.entries[f.path] = f.target
		}
	}
	return index
}

// edits are all paths that would be lost, sorted.
func (s survey) edits() []string {
	var all []string
	for _, v := range s.verdicts {
		all = append(all, v.edits...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (s survey) paths() []string {
	paths := make([]string, 0, len(s.findings))
	for _, f := range s.findings {
		paths = append(paths, f.path)
	}
	return paths
}

// LocalEdits lists, sorted, the files in the working tree with content of
// somebody's own that moving it to the commit (a full SHA) would overwrite or
// remove: changed (staged or not), deleted or untracked, also ignored ones.
// Changes to files that are the same in HEAD and the commit, and files that
// have the commit's content already, are not among them. Traces of a move of
// ours that was killed half-way are no local edits.
func (r *Repo) LocalEdits(ctx context.Context, to string) ([]string, error) {
	if err := r.need(ctx, to); err != nil {
		return nil, err
	}
	h, err := r.Head(ctx)
	if err != nil {
		return nil, err
	}
	j, err := r.readJournal()
	if err != nil {
		return nil, err
	}
	var edits []string
	begun := map[string]bool{}
	if j != nil && (h.Commit == j.From || h.Commit == j.To) {
		s, err := r.survey(ctx, j.From, j.To, true)
		if err != nil {
			return nil, err
		}
		edits = s.edits()
		for _, p := range s.paths() {
			begun[p] = true
		}
	}
	s, err := r.survey(ctx, h.Commit, to, false)
	if err != nil {
		return nil, err
	}
	for p, v := range s.verdicts {
		if !begun[p] {
			edits = append(edits, v.edits...)
		}
	}
	slices.Sort(edits)
	return slices.Compact(edits), nil
}

func (r *Repo) survey(ctx context.Context, from, to string, interrupted bool) (survey, error) {
	s := survey{verdicts: map[string]verdict{}}
	changes, index, dirty, err := r.state(ctx, from, to)
	s.index = index
	if err != nil || len(changes) == 0 {
		return s, err
	}
	tracked := map[string]bool{}
	for _, c := range changes {
		if c.head != (entry{}) {
			tracked[c.path] = true
		}
	}
	var unhashed []int
	for _, c := range changes {
		f := finding{change: c, index: index.entries[c.path], unmerged: index.unmerged[c.path], hidden: index.skip[c.path]}
		state, isDirty := dirty[c.path]
		if f.index != (entry{}) && !isDirty && !index.marked[c.path] {
			f.clean = true
		} else {
			needsHash, err := r.look(ctx, &f)
			if err != nil {
				return s, err
			}
			f.edited = state.submoduleEdited
			if needsHash {
				unhashed = append(unhashed, len(s.findings))
			}
		}
		s.findings = append(s.findings, f)
	}
	if err := r.hash(ctx, s.findings, unhashed); err != nil {
		return s, err
	}
	for i, f := range s.findings {
		if interrupted && slices.Contains(unhashed, i) && f.entry != f.head && f.entry != f.target {
			for commit, e := range map[string]entry{from: f.head, to: f.target} {
				torn, err := r.torn(ctx, f.path, commit, e)
				if err != nil {
					return s, err
				}
				f.torn = f.torn || torn
			}
		}
		s.verdicts[f.path] = judge(f, tracked, interrupted)
	}
	return s, nil
}

// state reads what differs between two commits, the index, and which files differ
// from that.
func (r *Repo) state(ctx context.Context, from, to string) (changes []change, index indexState, dirty map[string]dirtyState, err error) {
	var all errgroup.Group
	all.Go(func() (err error) { changes, err = r.changed(ctx, from, to); return err })
	all.Go(func() error {
		out, err := r.git.run(ctx, call{args: []string{"ls-files", "-z", "-s", "-v"}})
		index = parseIndex(out)
		return err
	})
	all.Go(func() error {
		out, err := r.git.run(ctx, call{args: []string{"status", "--porcelain=v2", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=none"}})
		dirty = parseStatus(out)
		return err
	})
	return changes, index, dirty, all.Wait()
}

// changed are the files that differ between two commits.
func (r *Repo) changed(ctx context.Context, from, to string) ([]change, error) {
	if changes, ok := r.known.changed(from, to); ok {
		return changes, nil
	}
	out, err := r.git.run(ctx, call{args: []string{"diff-tree", "-r", "-z", "--raw", "--no-renames", from, to, "--"}})
	if err != nil {
		return nil, err
	}
	changes := parseDiff(out)
	r.known.keepChanged(from, to, changes)
	return changes, nil
}

// look fills in what is at the path, but for the object name of a regular
// file, and reports whether that is wanted.
func (r *Repo) look(ctx context.Context, f *finding) (needsHash bool, err error) {
	for _, dir := range parents(f.path) {
		info, err := os.Lstat(filepath.Join(r.top, dir))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !info.IsDir() {
			f.blocker = dir
			return false, nil
		}
	}
	full := filepath.Join(r.top, f.path)
	info, err := os.Lstat(full)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(full)
		if err != nil {
			return false, err
		}
		f.entry = entry{mode: modeLink, oid: blobName([]byte(target), len(f.head.oid+f.target.oid) > 80)}
	case info.IsDir():
		return false, r.lookDir(ctx, f, full)
	case info.Mode().IsRegular():
		f.entry.mode = modeFile
		if info.Mode()&0o100 != 0 {
			f.entry.mode = modeExecutable
		}
		return true, nil
	default: // a socket or a pipe: somebody's own
		f.entry.mode = info.Mode().Type().String()
	}
	return false, nil
}

// lookDir looks at a directory where a commit has a file or a submodule.
func (r *Repo) lookDir(ctx context.Context, f *finding, full string) error {
	if f.head.mode == modeSubmodule || f.target.mode == modeSubmodule {
		gitDir, err := gitDirOf(full)
		if err != nil {
			return err
		}
		if gitDir != "" {
			sub := git{bin: r.git.bin, dir: full, gitDir: gitDir, workTree: full}
			sha, err := sub.text(ctx, "rev-parse", "--verify", "HEAD")
			f.entry = entry{mode: modeSubmodule, oid: sha}
			return err
		}
	}
	f.isDir = true
	return filepath.WalkDir(full, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(r.top, path)
		f.files = append(f.files, filepath.ToSlash(rel))
		return err
	})
}

// hash finds the object names of the files with the given numbers, with git's
// own filters (line ends, LFS).
func (r *Repo) hash(ctx context.Context, findings []finding, which []int) error {
	if len(which) == 0 {
		return nil
	}
	fileMode, err := r.git.text(ctx, "config", "--bool", "--default=true", "core.fileMode")
	if err != nil {
		return err
	}
	var paths strings.Builder
	for _, i := range which {
		paths.WriteString(cQuote(findings[i].path) + "\n")
	}
	out, err := r.git.run(ctx, call{args: []string{"hash-object", "--stdin-paths"}, stdin: []byte(paths.String())})
	if err != nil {
		return err
	}
	names := strings.Fields(string(out))
	if len(names) != len(which) {
		return fmt.Errorf("git hash-object: %d names for %d files", len(names), len(which))
	}
	for n, i := range which {
		f := &findings[i]
		f.entry.oid = names[n]
		if fileMode == "true" {
			continue
		}
		// The file system does not keep the executable bit.
		for _, e := range []entry{f.head, f.target, f.index} {
			if e.oid == f.entry.oid && strings.HasPrefix(e.mode, "100") {
				f.entry.mode = e.mode
			}
		}
	}
	return nil
}

// torn reports whether a file is the beginning of the commit's, as checked out.
func (r *Repo) torn(ctx context.Context, path, commit string, e entry) (bool, error) {
	if !strings.HasPrefix(e.mode, "100") {
		return false, nil
	}
	want, err := r.git.run(ctx, call{args: []string{"cat-file", "--filters", commit + ":" + path}})
	if err != nil {
		return false, err
	}
	file, err := os.Open(filepath.Join(r.top, path))
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() > int64(len(want)) {
		return false, err
	}
	have := make([]byte, info.Size())
	if _, err := file.ReadAt(have, 0); err != nil && len(have) > 0 {
		return false, err
	}
	return bytes.HasPrefix(want, have), nil
}

// blobName is the object name of a blob with that content.
func blobName(content []byte, isSHA256 bool) string {
	data := append([]byte("blob "+strconv.Itoa(len(content))+"\x00"), content...)
	if isSHA256 {
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum(data) //nolint:gosec // git's object names
	return hex.EncodeToString(sum[:])
}

// cQuote writes a path as git reads it from a list of lines.
func cQuote(path string) string {
	if !strings.ContainsAny(path, "\n\"\\\r") {
		return path
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(path) {
		switch c := path[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
