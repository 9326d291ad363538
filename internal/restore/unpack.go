// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names in the directory that is restored, while it is.
const (
	stageName = ".fairlead-restore"
	oldPrefix = ".fairlead-replaced-"
)

// Unpack makes the content of the archive the content of the directory dir: what
// is there and not in the archive goes, but for the names in keep, which are not
// touched. dir itself stays the same directory.
//
// Everything is unpacked beside the old content first, and synced; an archive
// that cannot be read or a full disk leave the old content as it is. Then the
// two are swapped name by name. When Unpack is cut off there, running it again
// gives the content of the archive, and nothing old is removed before that. The
// result says what could not be restored, as extended attributes that the kernel
// refuses.
func Unpack(ctx context.Context, dir string, archive io.Reader, keep []string) (notes []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	if err := root.RemoveAll(stageName); err != nil {
		return nil, err
	}
	if err := root.Mkdir(stageName, 0o700); err != nil {
		return nil, err
	}
	swapped := false
	defer func() {
		if !swapped {
			err = errors.Join(err, root.RemoveAll(stageName))
		}
	}()
	stage, err := root.OpenRoot(stageName)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stage.Close() }()
	u := unpacker{ctx: ctx, stage: stage}
	if err := u.all(archive); err != nil {
		return nil, err
	}
	if err := syncFilesystem(stage); err != nil {
		return nil, err
	}
	swapped = true
	if err := swap(root, stage, keep); err != nil {
		return nil, fmt.Errorf("the new content is in %s, part of the old one in %s: mend the cause and run it again: %w",
			path.Join(dir, stageName), path.Join(dir, oldPrefix+"N"), err)
	}
	return u.notes(), u.dress(root, ".", u.self)
}

// swap moves the old content aside, the new one in, and removes the old one.
func swap(root, stage *os.Root, keep []string) error {
	here, err := names(root)
	if err != nil {
		return err
	}
	n := 0
	for slices.Contains(here, oldPrefix+strconv.Itoa(n)) {
		n++
	}
	old := oldPrefix + strconv.Itoa(n)
	if err := root.Mkdir(old, 0o700); err != nil {
		return err
	}
	for _, name := range here {
		if name == stageName || strings.HasPrefix(name, oldPrefix) || slices.Contains(keep, name) {
			continue
		}
		if err := root.Rename(name, path.Join(old, name)); err != nil {
			return err
		}
	}
	fresh, err := names(stage)
	if err != nil {
		return err
	}
	for _, name := range fresh {
		if slices.Contains(keep, name) {
			continue
		}
		if err := root.Rename(path.Join(stageName, name), name); err != nil {
			return err
		}
	}
	if err := syncFilesystem(root); err != nil {
		return err
	}
	for i := range n + 1 {
		if err := root.RemoveAll(oldPrefix + strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return root.RemoveAll(stageName)
}

func names(root *os.Root) ([]string, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	return dir.Readdirnames(-1)
}

func syncFilesystem(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return unix.Syncfs(int(dir.Fd()))
}

// unpacker writes the entries of an archive. The stage is a root that no entry
// leads out of, whatever links are in the archive.
type unpacker struct {
	ctx   context.Context
	stage *os.Root
	// self is the entry of the directory itself.
	self *tar.Header
	// dirs get their times and modes when all is in them.
	dirs    []*tar.Header
	refused map[string]int
}

func (u *unpacker) all(archive io.Reader) error {
	tr := tar.NewReader(archive)
	for {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("the archive cannot be read: %w", err)
		}
		h.Name = path.Clean(strings.TrimPrefix(h.Name, "/"))
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	// The rest proves that the stream is whole (gzip checks it at its end).
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return fmt.Errorf("the archive cannot be read: %w", err)
	}
	for _, h := range slices.Backward(u.dirs) {
		if err := u.dress(u.stage, h.Name, h); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return nil
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Name == "." {
		u.self = h
		return nil
	}
	if err := u.stage.MkdirAll(path.Dir(h.Name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.stage.Mkdir(h.Name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		u.dirs = append(u.dirs, h)
		return nil
	case tar.TypeReg:
		return u.file(h, content)
	case tar.TypeLink:
		return u.stage.Link(path.Clean(strings.TrimPrefix(h.Linkname, "/")), h.Name)
	case tar.TypeSymlink:
		if err := u.stage.Symlink(h.Linkname, h.Name); err != nil {
			return err
		}
		return u.stage.Lchown(h.Name, h.Uid, h.Gid)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		return u.special(h)
	}
	return fmt.Errorf("entries of the type %q are not known", h.Typeflag)
}

func (u *unpacker) file(h *tar.Header, content io.Reader) error {
	f, err := u.stage.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return u.dress(u.stage, h.Name, h)
}

func (u *unpacker) special(h *tar.Header) error {
	parent, err := u.stage.Open(path.Dir(h.Name))
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	kind := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}[h.Typeflag]
	dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)) //nolint:gosec // device numbers fit
	err = unix.Mknodat(int(parent.Fd()), path.Base(h.Name), kind|0o600, int(dev))
	if errors.Is(err, unix.EPERM) {
		u.refuse("device files")
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(u.stage.Lchown(h.Name, h.Uid, h.Gid), u.stage.Chmod(h.Name, modeOf(h)))
}

// dress gives what is at name the owner, mode, extended attributes and time of
// an entry; nil leaves it as it is. The owner comes first: a change of it takes
// capabilities and set-user-ID bits away.
func (u *unpacker) dress(root *os.Root, name string, h *tar.Header) error {
	if h == nil {
		return nil
	}
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		err := unix.Fsetxattr(int(f.Fd()), attr, []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
			u.refuse("the extended attribute " + attr)
		} else if err != nil {
			return fmt.Errorf("extended attribute %s: %w", attr, err)
		}
	}
	if err := root.Chmod(name, modeOf(h)); err != nil {
		return err
	}
	return root.Chtimes(name, time.Time{}, h.ModTime)
}

// modeOf keeps the set-user-ID, set-group-ID and sticky bits.
func modeOf(h *tar.Header) fs.FileMode {
	return h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}

func (u *unpacker) refuse(what string) {
	if u.refused == nil {
		u.refused = map[string]int{}
	}
	u.refused[what]++
}

func (u *unpacker) notes() []string {
	var out []string
	for what, n := range u.refused {
		out = append(out, fmt.Sprintf("%s could not be restored for %d files: the kernel or the file system refuses it", what, n))
	}
	slices.Sort(out)
	return out
}
