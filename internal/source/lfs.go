// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

// lfsRemote is the name, in the configuration of single commands, of a remote
// that the clone does not have.
const lfsRemote = "fairlead-lfs"

// lfsInstalled reports whether there is a git-lfs, now: it may be installed
// while this process runs.
func lfsInstalled() bool {
	_, err := exec.LookPath("git-lfs")
	return err == nil
}

// lfsFilters is what `git lfs install` sets up, for users who did not run that,
// and for those who let it leave out the content. What the repository or the
// user excludes from downloads is wanted here: nobody adds it later.
func lfsFilters() []string {
	if !lfsInstalled() {
		return nil
	}
	return []string{
		"filter.lfs.smudge=git-lfs smudge -- %f", "filter.lfs.clean=git-lfs clean -- %f",
		"filter.lfs.process=git-lfs filter-process", "filter.lfs.required=true",
		"lfs.fetchinclude=", "lfs.fetchexclude=",
	}
}

// dressForContent prepares a command that writes files of the repository of g:
// its filters may have to fetch content, from Git LFS or of a partial clone.
func (r *Repo) dressForContent(ctx context.Context, c *call, g git, url string) (func(), error) {
	if lfsInstalled() && !g.hasRemote && url != "" {
		clean, _ := splitUserinfo(url)
		c.config = append(c.config, "remote."+lfsRemote+".url="+clean, "remote.lfsdefault="+lfsRemote)
		// That of the checked-out branch goes before.
		if branch, err := g.text(ctx, "symbolic-ref", "--quiet", "--short", "HEAD"); err == nil {
			c.config = append(c.config, "branch."+branch+".remote="+lfsRemote)
		}
	}
	cred := r.credFor(url)
	return g.dress(ctx, c, url, cred, lfsInstalled() || mayBeSSH(url, cred)) // Git LFS may have a server of its own
}

// contentError is classify for commands that write files, whose filters may
// fail too.
func contentError(err error, url string) error {
	var g *gitError
	if !errors.As(err, &g) {
		return err
	}
	if failure.IsNoSpace(err) {
		return err
	}
	if strings.Contains(g.stderr, "git-lfs: not found") || strings.Contains(g.stderr, "git-lfs: command not found") {
		return fmt.Errorf("%w: install git-lfs on this machine: %w", ErrLFS, err)
	}
	if remote := classify(err, url); errors.As(remote, new(*RemoteError)) {
		return remote
	}
	if strings.Contains(g.stderr, "git-lfs") || strings.Contains(g.stderr, "filter lfs") || strings.Contains(g.stderr, "smudge filter") {
		return fmt.Errorf("%w: see that the LFS store has what the commit names (git lfs push --all), that git-lfs works, and that the credentials may read it: %w", ErrLFS, err)
	}
	return err
}

var lfsPointer = []byte("version https://git-lfs.github.com/spec/v1\n")

// isPointer reports whether there is a regular file at path, and it is a pointer
// of Git LFS.
func isPointer(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1024 || info.Size() < int64(len(lfsPointer)) {
		return false, err
	}
	data, err := os.ReadFile(path) //nolint:gosec // in a working tree, and its content goes nowhere
	return bytes.HasPrefix(data, lfsPointer), err
}

// checkPointers sees to it that no file of Git LFS was left as its pointer in
// the export to dir, whose index is the given one.
func checkPointers(ctx context.Context, g git, index, dir string) error {
	var pointers []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		is, err := isPointer(path)
		if err != nil || !is {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		pointers = append(pointers, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return err
	}
	left, err := ofLFS(ctx, g, pointers, "GIT_INDEX_FILE="+index)
	if err != nil {
		return err
	}
	return pointersLeft(left)
}

// ofLFS keeps of the paths those that the attributes give to Git LFS. The others
// are as they are on purpose.
func ofLFS(ctx context.Context, g git, paths []string, env ...string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	out, err := g.run(ctx, call{
		args:  []string{"check-attr", "-z", "--stdin", "filter"},
		stdin: []byte(strings.Join(paths, "\x00") + "\x00"),
		env:   env,
	})
	if err != nil {
		return nil, err
	}
	var kept []string
	for f := range slices.Chunk(records(out), 3) {
		if len(f) == 3 && f[2] == "lfs" {
			kept = append(kept, f[0])
		}
	}
	return kept, nil
}

func pointersLeft(paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	const most = 10
	shown, more := paths, ""
	if len(shown) > most {
		shown, more = shown[:most], fmt.Sprintf(" and %d more", len(paths)-most)
	}
	advice := "install git-lfs on this machine"
	if lfsInstalled() {
		advice = "git-lfs is installed and left them out: see with `git lfs env` in the clone what keeps it from fetching them"
	}
	return fmt.Errorf("%w: only pointers are there of %s%s, which are kept in Git LFS; %s", ErrLFS, strings.Join(shown, ", "), more, advice)
}

// completeContent puts the content in the place of pointers of Git LFS in the
// working tree of g and its submodules. A clone that was made without git-lfs has
// such, and a move does not write files that are the same in both commits.
func (r *Repo) completeContent(ctx context.Context, hold *os.File, g git, url string) error {
	out, err := g.run(ctx, call{args: []string{"ls-files", "-z", "-s", "-v"}})
	if err != nil {
		return err
	}
	return r.completeIndexed(ctx, hold, g, url, parseIndex(out))
}

// completeIndexed is completeContent for a working tree with that index.
func (r *Repo) completeIndexed(ctx context.Context, hold *os.File, g git, url string, index indexState) error {
	if usesLFS(g, index) {
		if err := r.replacePointers(ctx, hold, g, index, url); err != nil {
			return err
		}
	}
	for path, e := range index.entries {
		if e.mode != modeSubmodule {
			continue
		}
		dir := filepath.Join(g.workTree, path)
		gitDir, err := gitDirOf(dir)
		if err != nil {
			return err
		}
		if gitDir == "" {
			continue // not in use
		}
		sub := git{bin: g.bin, dir: dir, gitDir: gitDir, workTree: dir, hasRemote: true}
		url, err := sub.text(ctx, "remote", "get-url", "origin")
		if err != nil && exitCode(err) < 0 {
			return err
		}
		if err := r.completeContent(ctx, hold, sub, url); err != nil {
			return fmt.Errorf("submodule %s: %w", path, err)
		}
	}
	return nil
}

// usesLFS reports whether attributes in the working tree name Git LFS.
func usesLFS(g git, index indexState) bool {
	files := []string{filepath.Join(g.gitDir, "info", "attributes")}
	for path := range index.entries {
		if filepath.Base(path) == ".gitattributes" {
			files = append(files, filepath.Join(g.workTree, path))
		}
	}
	return slices.ContainsFunc(files, func(file string) bool {
		data, err := os.ReadFile(file) //nolint:gosec // of the repository, and its content goes nowhere
		return err == nil && bytes.Contains(data, []byte("filter=lfs"))
	})
}

func (r *Repo) replacePointers(ctx context.Context, hold *os.File, g git, index indexState, url string) error {
	pointers, err := pointersOf(ctx, g, index)
	if err != nil || len(pointers) == 0 {
		return err
	}
	if !lfsInstalled() {
		return pointersLeft(pointers)
	}
	// Beside the working tree first: a file is always there, as the one or the other.
	temp, err := os.MkdirTemp(g.gitDir, "fairlead-lfs-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	c := call{
		args:  []string{"checkout-index", "--prefix=" + temp + "/", "-z", "--stdin"},
		stdin: []byte(strings.Join(pointers, "\x00") + "\x00"), hold: hold,
	}
	done, err := r.dressForContent(ctx, &c, g, url)
	if err != nil {
		return err
	}
	defer done()
	if _, err := g.run(ctx, c); err != nil {
		return contentError(err, url)
	}
	for _, path := range pointers {
		full := filepath.Join(g.workTree, path)
		if is, err := isPointer(filepath.Join(temp, path)); err != nil {
			return err
		} else if is {
			return pointersLeft([]string{path})
		}
		if err := os.Rename(filepath.Join(temp, path), full); err != nil {
			return err
		}
	}
	// A refresh would take another size than the index has for another content.
	note := call{args: []string{"update-index", "-q", "-z", "--stdin"}, stdin: c.stdin, hold: hold}
	if _, err := g.run(ctx, note); err != nil {
		return locking(err)
	}
	paths := make([]string, 0, len(pointers))
	for _, path := range pointers {
		rel, err := filepath.Rel(r.top, filepath.Join(g.workTree, path))
		if err != nil {
			return err
		}
		paths = append(paths, filepath.ToSlash(rel))
	}
	return r.restoreTreeOwner(paths)
}

// pointersOf lists the files of Git LFS in the working tree that are pointers, as
// the index has them.
func pointersOf(ctx context.Context, g git, index indexState) ([]string, error) {
	var found []string
	for path, e := range index.entries {
		if !strings.HasPrefix(e.mode, "100") || index.unmerged[path] {
			continue
		}
		is, err := isPointer(filepath.Join(g.workTree, path))
		if err != nil {
			return nil, err
		}
		if is {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	found, err := ofLFS(ctx, g, found)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	// A pointer that somebody wrote by hand is an edit, and stays.
	out, err := g.run(ctx, call{args: []string{"diff-files", "--name-only", "-z"}})
	if err != nil {
		return nil, err
	}
	edited := records(out)
	return slices.DeleteFunc(found, func(p string) bool { return slices.Contains(edited, p) }), nil
}
