// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Export writes the whole tree of the commit (a full SHA that is here) to dest,
// as a checkout would: with executable bits, links, line ends and filters (LFS)
// as the commit's attributes say, and submodules at every depth, fetched if need
// be. There is no .git in it and export-ignore has no meaning. Modes are 0755 and
// 0644 whatever the umask. The time of a file is that of the commit with which it
// came into an export to this parent as it is now, so that what a commit did not
// change looks unchanged. Working tree and index of the clone are not touched; a
// large file that the working tree has just as the commit has it is copied from
// there, which is faster than unpacking it.
//
// dest must not be Exported already (fs.ErrExist); its parent is made. It appears
// only when it is whole. What is at dest otherwise, as the machine went down, and
// what an earlier Export to it left when it was killed, are removed. Of several at
// once in this process one works and the others wait for it, and then find dest
// Exported; no two processes may work on one dest. Errors besides: ErrNotFound,
// ErrLFS, *RemoteError.
func (r *Repo) Export(ctx context.Context, commit, dest string) (err error) {
	if err := r.need(ctx, commit); err != nil {
		return err
	}
	if Exported(dest) {
		return fmt.Errorf("export to %s: %w", dest, fs.ErrExist)
	}
	c, err := r.commit(ctx, commit)
	if err != nil {
		return err
	}
	parent := filepath.Dir(dest)
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // what is in it is for containers to read
		return err
	}
	done, err := underWay.begin(ctx, dest)
	if err != nil {
		return err
	}
	defer done()
	if Exported(dest) {
		return fmt.Errorf("export to %s: %w", dest, fs.ErrExist)
	}
	prefix := "." + filepath.Base(dest) + ".tmp-"
	if err := removeLeft(parent, prefix); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	scratch, err := filepath.EvalSymlinks(temp)
	if err != nil {
		return err
	}
	tree := filepath.Join(scratch, "tree")
	e := exporter{repo: r, scratch: scratch, seek: r.mayTake() && !knownBeside(dest).NothingToTake}
	err = e.checkout(ctx, r.git, r.url, commit, tree, 0)
	if err := errors.Join(err, r.restoreLFSOwner()); err != nil {
		return fmt.Errorf("export %s: %w", c.Short, err)
	}
	if err := publish(tree, dest, c.Time, e.attributes); err != nil {
		return err
	}
	return os.RemoveAll(temp)
}

// exporting are the exports of this process that are under way, by where they go.
type exporting struct {
	mu     sync.Mutex
	byDest map[string]chan struct{} // closed at the end
}

var underWay = exporting{byDest: map[string]chan struct{}{}}

// begin waits until no other export to dest, whose parent exists, is under way. The
// one who got it calls done.
func (e *exporting) begin(ctx context.Context, dest string) (done func(), err error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dest))
	if err != nil {
		return nil, err
	}
	key := filepath.Join(parent, filepath.Base(dest))
	for {
		e.mu.Lock()
		other, busy := e.byDest[key]
		if !busy {
			ended := make(chan struct{})
			e.byDest[key] = ended
			e.mu.Unlock()
			return func() {
				e.mu.Lock()
				delete(e.byDest, key)
				e.mu.Unlock()
				close(ended)
			}, nil
		}
		e.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// publish gives a tree that is whole, of a commit with or without attributes, the
// name dest.
func publish(tree, dest string, at time.Time, attributes bool) error {
	exportsMutex.Lock()
	defer exportsMutex.Unlock()
	parent, name := filepath.Split(dest)
	known := readExports(parent)
	files, large, err := settle(tree, at, known.Files)
	if err != nil {
		return err
	}
	if known.Boot == "" {
		if err := syncFileSystem(tree); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dest); err != nil {
		return err
	}
	if err := os.Rename(tree, dest); err != nil {
		return err
	}
	known.Files, known.NothingToTake = files, attributes || !large
	if !slices.Contains(known.Trees, name) {
		known.Trees = append(known.Trees, name)
	}
	return known.write(parent)
}

// removeLeft removes the temporary directories of exports that were killed.
func removeLeft(parent, prefix string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, d := range entries {
		if strings.HasPrefix(d.Name(), prefix) {
			if err := os.RemoveAll(filepath.Join(parent, d.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// exporter checks out one commit and its submodules.
type exporter struct {
	repo *Repo
	// scratch is for the index files.
	scratch string
	indexes int
	// seek: the working tree may have large files of the commit.
	seek bool
	// attributes: the commit has some.
	attributes bool
}

// newIndex is the path of another index.
func (e *exporter) newIndex() string {
	e.indexes++
	return filepath.Join(e.scratch, fmt.Sprintf("index-%d", e.indexes))
}

// plainCheckout: all files are written, and links as such.
var plainCheckout = []string{"core.sparseCheckout=false", "core.symlinks=true"}

// checkout writes the tree of commit, out of the repository of g, to dir.
func (e *exporter) checkout(ctx context.Context, g git, url, commit, dir string, depth int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for containers to read
		return err
	}
	// With an index and a working tree of its own, git takes the attributes
	// from the commit and touches nothing else.
	g.dir, g.workTree = dir, dir
	var subs []submodule
	var unlisted error
	list := func(tree []treeEntry) {
		if depth == 0 {
			e.attributes = hasAttributes(tree)
		}
		subs, unlisted = submodulesOf(ctx, g, commit, tree)
	}
	var listing sync.WaitGroup
	var err error
	if depth == 0 && e.seek {
		tree, unlisted := treeOf(ctx, g, commit, "-l")
		if unlisted != nil {
			return unlisted
		}
		listing.Go(func() { list(tree) })
		err = e.write(ctx, g, url, commit, dir, tree, e.repo.takeable(tree))
	} else {
		listing.Go(func() {
			var tree []treeEntry
			if tree, unlisted = treeOf(ctx, g, commit); unlisted == nil {
				list(tree)
			}
		})
		err = e.writeByGit(ctx, g, url, commit, dir)
	}
	listing.Wait()
	if err == nil {
		err = unlisted
	}
	if err != nil {
		return err
	}
	return e.submodules(ctx, g, url, commit, subs, dir, depth)
}

// write writes a tree, of which the working tree may have the given files.
func (e *exporter) write(ctx context.Context, g git, url, commit, dir string, tree, files []treeEntry) error {
	if len(files) == 0 {
		return e.writeByGit(ctx, g, url, commit, dir)
	}
	if err := e.take(ctx, g, commit, tree, files, dir); err == nil || ctx.Err() != nil {
		return err
	}
	// If git cannot either, it says why.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // for containers to read
		return err
	}
	return e.writeByGit(ctx, g, url, commit, dir)
}

func (e *exporter) writeByGit(ctx context.Context, g git, url, commit, dir string) error {
	index := e.newIndex()
	c := call{args: []string{"read-tree", "-m", "-u", commit}, config: slices.Clone(plainCheckout), env: inIndex(index)}
	done, err := e.repo.dressForContent(ctx, &c, g, url)
	if err != nil {
		return err
	}
	defer done()
	if _, err := g.run(ctx, c); err != nil {
		return contentError(err, url)
	}
	return checkPointers(ctx, g, index, dir)
}

// syncFileSystem brings all that was written near path to disk at once, which
// for thousands of files is much faster than one after another.
func syncFileSystem(path string) error {
	f, err := os.Open(path) //nolint:gosec // our own directory
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close()) //nolint:gosec // a descriptor fits
}
