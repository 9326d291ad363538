// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/sha1" //nolint:gosec // git's names of objects
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// largeFile is the size from which on a file is sought in the working tree: git
// takes longer to unpack it than all that is asked before it may be copied.
const largeFile = 1 << 20

// errLeftToGit: git may write other bytes than the commit has.
var errLeftToGit = errors.New("attributes or line ends may change files")

// mayTake reports whether files may be taken from the working tree at all.
func (r *Repo) mayTake() bool {
	// An older checkout-index does not always say that it could not write a file.
	return r.version.AtLeast(2, 30) && !r.partial()
}

// partial reports whether blobs may be missing from the clone. Their sizes must
// not be asked for then, nor may they be written one by one: each is fetched.
func (r *Repo) partial() bool {
	packs, err := os.ReadDir(filepath.Join(r.commonDir, "objects", "pack"))
	for _, d := range packs {
		if strings.HasSuffix(d.Name(), ".promisor") {
			return true
		}
	}
	return err != nil
}

// takeable are the large files of a tree of which the working tree has one of the
// same size. There are none in a commit with attributes.
func (r *Repo) takeable(tree []treeEntry) []treeEntry {
	if hasAttributes(tree) {
		return nil
	}
	var found []treeEntry
	for _, e := range tree {
		if e.size < largeFile || e.mode != modeFile && e.mode != modeExecutable {
			continue
		}
		if f, err := openTracked(r.realTop, e.path, e.size); err == nil {
			_ = f.Close()
			found = append(found, e)
		}
	}
	return found
}

func hasAttributes(tree []treeEntry) bool {
	for _, e := range tree {
		if path.Base(e.path) == ".gitattributes" {
			return true
		}
	}
	return false
}

// openTracked opens a regular file of that size below top. No link is followed on
// the way, and what is no file is not opened: those that the working tree is
// mounted to may have put anything there.
func openTracked(top, name string, size int64) (*os.File, error) {
	at, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(at) }()
	parts := strings.Split(name, "/")
	last := len(parts) - 1
	for _, part := range parts[:last] {
		next, err := unix.Openat(at, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		_ = unix.Close(at)
		at = next
	}
	var st unix.Stat_t
	if err := unix.Fstatat(at, parts[last], &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != size {
		return nil, unix.EINVAL
	}
	fd, err := unix.Openat(at, parts[last], unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil //nolint:gosec // a descriptor fits
}

// take writes the tree of a commit to dir: those of the given files that the
// working tree has as the commit has them are copied from there, all others
// written by git. With an error dir holds anything.
func (e *exporter) take(ctx context.Context, g git, commit string, tree, files []treeEntry, dir string) error {
	const copies = "copies"
	if err := os.Mkdir(filepath.Join(e.scratch, copies), 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(e.scratch)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	copied := make([]bool, len(files))
	inTime, cancel := context.WithCancel(ctx)
	var copying errgroup.Group
	defer func() { cancel(); _ = copying.Wait() }()
	copying.SetLimit(runtime.GOMAXPROCS(0) + 1)
	copying.Go(func() error {
		for i, f := range files {
			copying.Go(func() error {
				copied[i] = copyBlob(inTime, e.repo.realTop, f, filepath.Join(e.scratch, copies, strconv.Itoa(i))) == nil
				return nil
			})
		}
		return nil
	})
	apart := map[string]bool{}
	for _, f := range files {
		apart[f.path] = true
	}
	rest := slices.DeleteFunc(slices.Clone(tree), func(f treeEntry) bool { return apart[f.path] })
	index, none := e.newIndex(), e.newIndex()
	// Git begins before it is known whether it must do all: mostly it need not.
	asking, asked := errgroup.WithContext(ctx)
	asking.Go(func() error {
		c := call{args: []string{"read-tree", commit}, config: []string{"core.sparseCheckout=false", "core.splitIndex=false"}, env: inIndex(index)}
		if _, err := g.run(asked, c); err != nil {
			return err
		}
		return writeFiles(asked, g, rest, index)
	})
	asking.Go(func() error { return withoutAttributes(asked, g, tree, none) })
	asking.Go(func() error { return withoutLineEnds(asked, g) })
	if err := asking.Wait(); err != nil {
		return err
	}
	_ = copying.Wait()
	var missing []treeEntry
	for i, f := range files {
		if !copied[i] {
			missing = append(missing, f)
			continue
		}
		to := filepath.Join(filepath.Base(dir), f.path)
		if err := root.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := root.Rename(filepath.Join(copies, strconv.Itoa(i)), to); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return writeFiles(ctx, g, missing, index)
}

// withoutAttributes fails if git has an attribute for any file, from where ever
// (info/attributes, the user's, the system's). No file of that index is there: the
// commit itself has none.
func withoutAttributes(ctx context.Context, g git, tree []treeEntry, index string) error {
	out, err := g.run(ctx, call{args: []string{"check-attr", "-z", "-a", "--stdin"}, stdin: pathsOf(tree), env: inIndex(index)})
	if err == nil && len(out) > 0 {
		err = errLeftToGit
	}
	return err
}

// withoutLineEnds fails if git is set up to change line ends without attributes.
func withoutLineEnds(ctx context.Context, g git) error {
	out, err := g.run(ctx, call{args: []string{"config", "-z", "--get-regexp", `^core\.(autocrlf|eol)$`}})
	if exitCode(err) == 1 {
		return nil
	}
	for _, rec := range records(out) {
		if _, value, _ := strings.Cut(rec, "\n"); value != "false" {
			return errLeftToGit
		}
	}
	return err
}

// writeFiles writes files of an index, none of which is there.
func writeFiles(ctx context.Context, g git, files []treeEntry, index string) error {
	_, err := g.run(ctx, call{args: []string{"checkout-index", "-z", "--stdin"}, stdin: pathsOf(files), config: plainCheckout, env: inIndex(index)})
	return err
}

// pathsOf is what commands with -z and --stdin read.
func pathsOf(files []treeEntry) []byte {
	var paths []byte
	for _, f := range files {
		paths = append(append(paths, f.path...), 0)
	}
	return paths
}

func inIndex(index string) []string { return []string{"GIT_INDEX_FILE=" + index} }

// copyBlob copies a file of the working tree. It fails if what it wrote is not what
// the commit has: the file was edited, or somebody writes to it right now.
func copyBlob(ctx context.Context, top string, e treeEntry, dest string) (err error) {
	in, err := openTracked(top, e.path, e.size)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	perm := os.FileMode(0o644)
	if e.mode == modeExecutable {
		perm = 0o755
	}
	out, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm) //nolint:gosec // in our own directory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	sum := sha1.New() //nolint:gosec // as git names its objects
	if len(e.oid) == hex.EncodedLen(sha256.Size) {
		sum = sha256.New()
	}
	_, _ = fmt.Fprintf(sum, "blob %d\x00", e.size)
	buf := make([]byte, 256<<10)
	for {
		n, err := in.Read(buf)
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		_, _ = sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	if hex.EncodeToString(sum.Sum(nil)) != e.oid {
		return fmt.Errorf("%s is not as committed", e.path)
	}
	return nil
}
