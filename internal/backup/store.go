// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

// Broken is a directory with the name of a backup that is none, or is damaged.
// It is never removed by itself.
type Broken struct {
	// ID is the directory's name, Path where it is.
	ID, Path string
	// Err says what is wrong.
	Err error
}

// List returns the whole backups in dir, newest first, and the broken ones. It
// compares the sizes of the files with the manifests; checksums are Verify's
// work. A directory that does not exist holds no backups.
func List(dir string) ([]Manifest, []Broken, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list the backups: %w", err)
	}
	var (
		whole  []Manifest
		broken []Broken
	)
	for _, e := range entries {
		if checkID(e.Name()) != nil {
			continue
		}
		m, err := Open(dir, e.Name())
		if err != nil {
			broken = append(broken, Broken{ID: e.Name(), Path: filepath.Join(dir, e.Name()), Err: err})
			continue
		}
		whole = append(whole, *m)
	}
	slices.SortFunc(whole, newestFirst)
	return whole, broken, nil
}

// Open reads the manifest of a whole backup and compares the sizes of its
// files. The error is ErrNotFound or ErrCorrupt where one of them is the cause.
func Open(dir, id string) (*Manifest, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, id)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w in %s", id, ErrNotFound, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the backup: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: %w: not a directory", path, ErrCorrupt)
	}
	data, err := os.ReadFile(filepath.Join(path, ManifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: it has no %s, so it was not made by Fairlead or is not whole", path, ErrCorrupt, ManifestName)
	}
	if err != nil {
		return nil, fmt.Errorf("open the backup: %w", err)
	}
	m, err := decodeManifest(id, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, a := range m.Artifacts {
		info, err := os.Lstat(filepath.Join(path, a.File))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%s: %w: %s is missing", path, ErrCorrupt, a.File)
		case err != nil:
			return nil, fmt.Errorf("open the backup: %w", err)
		case !info.Mode().IsRegular() || info.Size() != a.Bytes:
			return nil, fmt.Errorf("%s: %w: %s has %d bytes instead of %d", path, ErrCorrupt, a.File, info.Size(), a.Bytes)
		}
	}
	return m, nil
}

// Remove deletes a backup. It is renamed first, so that a crash in between does
// not leave a backup with holes; Sweep removes what is left. One that does not exist
// is ErrNotFound.
func Remove(dir, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	trash := filepath.Join(dir, trashPrefix+id)
	if err := os.RemoveAll(trash); err != nil {
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	err := os.Rename(filepath.Join(dir, id), trash)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w in %s", id, ErrNotFound, dir)
	}
	if err == nil {
		err = atomicfile.SyncDir(dir)
	}
	if err == nil {
		err = os.RemoveAll(trash)
	}
	if err != nil {
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	return nil
}

// lock is held on a partial directory by the process that fills it. It ends
// with the process, whatever becomes of it.
type lock struct{ f *os.File }

// lockDir takes the lock or returns ErrBusy.
func lockDir(path string) (*lock, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	l := &lock{f}
	// Whoever held the lock before may have renamed or removed the directory.
	held, err1 := f.Stat()
	there, err2 := os.Lstat(path)
	if err1 != nil || err2 != nil || !os.SameFile(held, there) {
		l.release()
		return nil, ErrBusy
	}
	return l, nil
}

func (l *lock) release() { _ = l.f.Close() }

// leftovers returns the IDs of the partial directories and the names of the
// trash directories in dir.
func leftovers(dir string) (partial, trash []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if id, ok := partialID(e.Name()); ok {
			partial = append(partial, id)
		} else if id, ok := strings.CutPrefix(e.Name(), trashPrefix); ok && checkID(id) == nil {
			trash = append(trash, e.Name())
		}
	}
	return partial, trash, nil
}
