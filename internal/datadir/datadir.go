// SPDX-License-Identifier: Apache-2.0

// Package datadir owns the daemon's data directory: its layout, its permissions
// and the lock that keeps a second daemon out.
package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// Holder describes the process that holds a data directory.
type Holder struct {
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Command string    `json:"command"`
}

// InUseError says that another process holds the data directory.
type InUseError struct {
	Path string
	// Holder is nil when the other process has not written its name yet.
	Holder *Holder
}

// Error names the holder and what to do.
func (e *InUseError) Error() string {
	who := "another process"
	if e.Holder != nil {
		who = fmt.Sprintf("process %d (%s), running since %s", e.Holder.PID, e.Holder.Command, e.Holder.Since.Format(time.RFC3339))
	}
	return fmt.Sprintf("data directory %s is in use by %s: stop it first, or choose another directory with --data-dir", e.Path, who)
}

// Dir is a data directory that this process holds until Close.
type Dir struct {
	path string
	lock *os.File
}

// Open creates path if it is missing, makes it accessible to its owner only,
// and takes its lock without waiting. If another process holds it the error is
// an *InUseError. A directory that is open to others and holds files that are
// not ours is refused, so that a mistyped path is never locked away from its
// owners.
func Open(path string, now time.Time) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", advised(err))
	}
	if err := restrict(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", advised(err))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &InUseError{Path: path, Holder: readHolder(f)}
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	d := &Dir{path: path, lock: f}
	if err := d.writeHolder(now); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", path, err), f.Close())
	}
	return d, nil
}

// Path is the absolute path of the directory.
func (d *Dir) Path() string { return d.path }

// Join is the path of a file under the directory.
func (d *Dir) Join(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Close gives the directory up. The lock file stays: removing it would let two
// processes lock two different files of the same name.
func (d *Dir) Close() error {
	return errors.Join(d.lock.Truncate(0), d.lock.Close())
}

func (d *Dir) writeHolder(now time.Time) error {
	command := filepath.Base(os.Args[0])
	if len(os.Args) > 1 {
		command += " " + os.Args[1]
	}
	data, err := json.Marshal(Holder{PID: os.Getpid(), Since: now.UTC().Truncate(time.Second), Command: command})
	if err != nil {
		return err
	}
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	_, err = d.lock.WriteAt(data, 0)
	return err
}

func readHolder(f *os.File) *Holder {
	data, err := io.ReadAll(f)
	if err != nil {
		return nil
	}
	var h Holder
	if json.Unmarshal(data, &h) != nil || h.PID == 0 {
		return nil
	}
	return &h
}

// advised adds what to do where the user may not write.
func advised(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; run the daemon as root (with sudo), or choose another directory with --data-dir", err)
}

func restrict(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if len(entries) > 0 {
		if _, err := os.Lstat(filepath.Join(path, lockName)); err != nil {
			return fmt.Errorf("data directory %s is readable by other users and holds files that are not Fairlead's: "+
				"choose an empty or new directory with --data-dir, or run `chmod 700 %s` if it is the right one", path, path)
		}
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// HeldBy tells whether a process holds the data directory path, and which one:
// the holder is nil when it has not written its name. It takes nothing.
func HeldBy(path string) (holder *Holder, held bool, err error) {
	f, err := os.Open(filepath.Join(path, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("data directory: %w", err)
	}
	defer func() { _ = f.Close() }()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return readHolder(f), true, nil
	}
	return nil, false, err
}
