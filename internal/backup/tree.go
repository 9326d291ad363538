// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/plural"
)

// treeWriter archives files and directories of this host while they may be
// written. Owners are numeric; modes, times to the nanosecond, symbolic and hard
// links, named pipes and extended attributes are kept. Directories are walked
// through open handles, so that nobody can lead the walk elsewhere by swapping
// a directory for a link.
type treeWriter struct {
	ctx     context.Context
	tw      *tar.Writer
	exclude map[string]bool // entry names
	links   map[inode]string
	buf     []byte

	entries, sockets, vanished int64
}

type inode struct{ dev, ino uint64 }

func newTreeWriter(ctx context.Context, w io.Writer) *treeWriter {
	return &treeWriter{ctx: ctx, tw: tar.NewWriter(w), exclude: map[string]bool{}, links: map[inode]string{}, buf: make([]byte, 128<<10)}
}

// addDir archives the content of dir; its entries begin with "./".
func (t *treeWriter) addDir(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return t.add(root, ".", ".")
}

// addFile archives one file or directory as the entry name.
func (t *treeWriter) addFile(file, name string) error {
	root, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return t.add(root, filepath.Base(file), name)
}

func (t *treeWriter) close() error { return t.tw.Close() }

// notes say what is not in the archive as it was on the disk.
func (t *treeWriter) notes() []string {
	var notes []string
	if t.sockets > 0 {
		notes = append(notes, plural.Of(t.sockets, "socket")+" left out")
	}
	if t.vanished > 0 {
		notes = append(notes, plural.Of(t.vanished, "file")+" removed by the application during the copy")
	}
	return notes
}

// add archives base, which lies directly in root, as the entry name.
func (t *treeWriter) add(root *os.Root, base, name string) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if t.exclude[path.Clean(name)] {
		return nil
	}
	info, err := root.Lstat(base)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return t.directory(root, base, name, info)
	case mode.IsRegular():
		return t.file(root, base, name, info)
	case mode&fs.ModeSymlink != 0:
		target, err := root.Readlink(base)
		if err != nil {
			return err
		}
		return t.header(info, name, target, nil)
	case mode&fs.ModeSocket != 0:
		t.sockets++
		return nil
	default: // named pipes and devices are headers without content
		return t.header(info, name, "", nil)
	}
}

func (t *treeWriter) directory(root *os.Root, base, name string, info fs.FileInfo) error {
	sub, err := root.OpenRoot(base)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }()
	dir, err := sub.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := sameFile(dir, info); err != nil {
		return err
	}
	if err := t.header(info, name+"/", "", dir); err != nil {
		return err
	}
	children, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(children)
	for _, child := range children {
		err := t.add(sub, child, name+"/"+child)
		if errors.Is(err, fs.ErrNotExist) {
			t.vanished++
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *treeWriter) file(root *os.Root, base, name string, info fs.FileInfo) error {
	f, err := root.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := sameFile(f, info); err != nil {
		return err
	}
	if info, err = f.Stat(); err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	id := inode{}
	if ok && st.Nlink > 1 {
		id = inode{uint64(st.Dev), st.Ino} //nolint:unconvert // differs between platforms
		if first, seen := t.links[id]; seen {
			return t.link(info, name, first)
		}
	}
	if err := t.header(info, name, "", f); err != nil {
		return err
	}
	if err := t.content(f, info.Size(), name); err != nil {
		return err
	}
	if id != (inode{}) {
		t.links[id] = name
	}
	return nil
}

// content copies exactly as many bytes as the header promised. A file that grows
// is cut there, as at an instant during the copy; one that shrinks tears the
// archive.
func (t *treeWriter) content(f *os.File, size int64, name string) error {
	n, err := io.CopyBuffer(writerOnly{t.tw}, contextReader{t.ctx, io.LimitReader(f, size)}, t.buf)
	if err != nil {
		return err
	}
	if n < size {
		return &TornError{What: name, Err: fmt.Errorf("the file shrank from %d to %d bytes while it was read", size, n)}
	}
	return nil
}

// writerOnly hides ReadFrom, which would not use the buffer.
type writerOnly struct{ io.Writer }

func (t *treeWriter) link(info fs.FileInfo, name, first string) error {
	h, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	numeric(h, name)
	h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
	t.entries++
	return t.tw.WriteHeader(h)
}

// header writes an entry's header; f, if any, is asked for extended attributes.
func (t *treeWriter) header(info fs.FileInfo, name, target string, f *os.File) error {
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	numeric(h, name)
	if f != nil {
		attrs, err := extendedAttributes(f)
		if err != nil {
			return fmt.Errorf("%s: extended attributes: %w", name, err)
		}
		h.PAXRecords = attrs
	}
	t.entries++
	return t.tw.WriteHeader(h)
}

func numeric(h *tar.Header, name string) {
	h.Name, h.Format = name, tar.FormatPAX
	h.Uname, h.Gname = "", ""
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{} // say nothing of the data and cannot be restored
}

// sameFile makes sure that what was opened is what was looked at.
func sameFile(f *os.File, info fs.FileInfo) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, opened) {
		return &TornError{What: f.Name(), Err: errors.New("it was replaced while it was read")}
	}
	return nil
}

// extendedAttributes of an open file as PAX records; none where the file
// system has no such thing.
func extendedAttributes(f *os.File) (map[string]string, error) {
	fd := int(f.Fd())
	buf := make([]byte, 4096)
	n, err := unix.Flistxattr(fd, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 1<<16) // the kernel's limit
		n, err = unix.Flistxattr(fd, buf)
	}
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil, nil
	}
	if err != nil || n == 0 {
		return nil, err
	}
	records := map[string]string{}
	for _, attr := range bytes.Split(bytes.TrimRight(buf[:n], "\x00"), []byte{0}) {
		name := string(attr)
		value := make([]byte, 1<<16)
		n, err := unix.Fgetxattr(fd, name, value)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) || strings.Contains(name, "=") {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		records["SCHILY.xattr."+name] = string(value[:n])
	}
	return records, nil
}

// allocated is what a file takes of the disk: holes compress to nothing.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return min(info.Size(), st.Blocks*512)
	}
	return info.Size()
}

// treeSize sums up the files below path, as an estimate: what cannot be read
// counts nothing.
func treeSize(ctx context.Context, root string, exclude map[string]bool) (int64, error) {
	var total int64
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return ctxErr
		}
		if err != nil {
			return nil //nolint:nilerr // vanished or unreadable: the copy itself reports it
		}
		if rel, relErr := filepath.Rel(root, p); relErr == nil && exclude[rel] {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if info, infoErr := d.Info(); infoErr == nil && info.Mode().IsRegular() {
			total += allocated(info)
		}
		return nil
	})
	return total, err
}
