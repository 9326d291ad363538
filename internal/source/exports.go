// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ExportsName is the file, beside exported trees, that says which of them are
// whole and which time each file was given. It is a cache: without it trees are
// exported anew, and builders take all of their files again.
const ExportsName = ".exports.json"

// exports is the content of ExportsName.
type exports struct {
	// Boot is the start of the machine in which the trees were written. They are
	// not brought to disk: what the machine lost when it went down is not used.
	Boot  string           `json:"boot"`
	Trees []string         `json:"trees"`
	Files map[string]stamp `json:"files"`
	// NothingToTake: the last tree had no file that a working tree that follows it
	// could give to the next one. Git is not kept waiting for the sizes then.
	NothingToTake bool `json:"nothingToTake,omitempty"`
}

// stamp is the time that a file was given when it first had its content.
type stamp struct {
	Content string    `json:"content"` // SHA-256
	Time    time.Time `json:"time"`
}

// exportsMutex guards the files called ExportsName.
var exportsMutex sync.Mutex

// bootID names the start of the machine; "" where it cannot be told.
var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
})

// readExports reads what is known of the trees in dir. What is damaged is
// unknown.
func readExports(dir string) exports {
	var e exports
	data, err := os.ReadFile(filepath.Join(dir, ExportsName)) //nolint:gosec // our own directory
	if err != nil || json.Unmarshal(data, &e) != nil {
		e = exports{}
	}
	if e.Boot != bootID() {
		e.Boot, e.Trees = bootID(), nil
	}
	return e
}

// write replaces what is known. It need not survive the machine going down.
func (e exports) write(dir string) error {
	e.Trees = slices.DeleteFunc(e.Trees, func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err != nil
	})
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, ExportsName+".tmp")
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, ExportsName))
}

// Exported reports whether dest is a complete export: all is in it and, unless
// it was written since the machine started, on disk.
func Exported(dest string) bool {
	info, err := os.Lstat(dest)
	if err != nil || !info.IsDir() {
		return false
	}
	return slices.Contains(knownBeside(dest).Trees, filepath.Base(dest))
}

// knownBeside is what is known of the trees that are where dest is.
func knownBeside(dest string) exports {
	exportsMutex.Lock()
	defer exportsMutex.Unlock()
	return readExports(filepath.Dir(dest))
}

// settle gives all below dir its modes and times, whatever the umask. A file
// keeps the time that known has for its path as long as its content stays the
// same. One that is new or changed gets the time at, to the second, and below
// that a number made from its content: whoever compares size and time, as
// builders do, tells two contents apart even where the seconds are the same.
// It returns what is known then, and whether any file is large.
func settle(dir string, at time.Time, known map[string]stamp) (now map[string]stamp, large bool, err error) {
	now = map[string]stamp{}
	var dirs []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, path)
			return os.Chmod(path, 0o755) //nolint:gosec // for containers to read
		case !d.Type().IsRegular():
			return setTime(path, at)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		s, err := stampOf(path, at, known[rel])
		if err != nil {
			return err
		}
		now[rel] = s
		info, err := d.Info()
		if err != nil {
			return err
		}
		large = large || info.Size() >= largeFile
		perm := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			perm = 0o755
		}
		if err := os.Chmod(path, perm); err != nil {
			return err
		}
		return setTime(path, s.Time)
	})
	if err != nil {
		return nil, false, err
	}
	for _, path := range slices.Backward(dirs) {
		if err := setTime(path, at); err != nil {
			return nil, false, err
		}
	}
	return now, large, nil
}

func stampOf(path string, at time.Time, before stamp) (stamp, error) {
	f, err := os.Open(path) //nolint:gosec // in our own directory
	if err != nil {
		return stamp{}, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return stamp{}, err
	}
	sum := h.Sum(nil)
	content := hex.EncodeToString(sum)
	if before.Content == content {
		return before, nil
	}
	fraction := binary.BigEndian.Uint64(sum) % uint64(time.Second)
	return stamp{Content: content, Time: at.UTC().Truncate(time.Second).Add(time.Duration(fraction))}, nil //nolint:gosec // below a second
}

func setTime(path string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
