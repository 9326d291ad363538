// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"io"
	"os"
	"syscall"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

// filesystem is what changes the backups directory while a backup is made.
type filesystem interface {
	// Mkdir makes one directory.
	Mkdir(path string, perm os.FileMode) error
	// Create makes or truncates a file of mode 0600.
	Create(path string) (syncFile, error)
	// WriteFile writes a small file atomically and durably.
	WriteFile(path string, data []byte) error
	Rename(from, to string) error
	Remove(path string) error
	RemoveAll(path string) error
	// SyncDir makes what happened in a directory durable.
	SyncDir(path string) error
	// Free returns the bytes that may still be written below path.
	Free(path string) (int64, error)
}

type syncFile interface {
	io.WriteCloser
	Sync() error
}

// disk is the real filesystem.
type disk struct{}

func (disk) Mkdir(path string, perm os.FileMode) error { return os.Mkdir(path, perm) }
func (disk) Create(path string) (syncFile, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
}
func (disk) WriteFile(path string, data []byte) error { return atomicfile.WriteFile(path, data, 0o600) }
func (disk) Rename(from, to string) error             { return os.Rename(from, to) }
func (disk) Remove(path string) error                 { return os.Remove(path) }
func (disk) RemoveAll(path string) error              { return os.RemoveAll(path) }
func (disk) SyncDir(path string) error                { return atomicfile.SyncDir(path) }
func (disk) Free(path string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}
