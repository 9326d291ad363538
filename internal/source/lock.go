// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

const (
	lockName    = "fairlead.lock"
	journalName = "fairlead-journal.json"

	// foreignLockAge is the age from which a lock file of a git that is not
	// ours counts as left behind, if no git is seen at work.
	foreignLockAge = 10 * time.Minute
	// lockPatience is how long another git is waited for: most commands hold
	// their locks for milliseconds.
	lockPatience = 3 * time.Second
	lockPoll     = 50 * time.Millisecond
	// fileTime is how far the time of a file may lie before the moment at which it
	// was written: some file systems keep seconds, the kernel takes its last tick.
	fileTime = 2 * time.Second
)

// locked runs f while no other operation of ours changes the repository, in
// this process or another one. f hands hold to the git commands that change
// something: the lock then lasts until they have ended too, even if this
// process is killed, and whoever gets it knows that none of them runs.
func (r *Repo) locked(ctx context.Context, f func(hold *os.File) error) error {
	path := filepath.Join(r.commonDir, lockName)
	hold, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // inside the git directory
	if err != nil {
		return fmt.Errorf("lock %s: %w", r.top, err)
	}
	defer hold.Close()
	for {
		err := syscall.Flock(int(hold.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a descriptor fits
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		if err := pause(ctx, lockPoll); err != nil {
			return fmt.Errorf("wait for another operation on %s: %w", r.top, err)
		}
	}
	if err := r.clearLocks(ctx); err != nil {
		return err
	}
	err = f(hold)
	return errors.Join(err, r.restoreOwner())
}

// pause waits for outside state that gives no event.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// journal says which move was begun and not ended.
type journal struct {
	Since time.Time `json:"since"`
	From  string    `json:"from"`
	To    string    `json:"to"`
}

func (r *Repo) journalPath() string { return filepath.Join(r.gitDir, journalName) }

// readJournal returns nil when no move was interrupted.
func (r *Repo) readJournal() (*journal, error) {
	data, err := os.ReadFile(r.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil || !fullSHAText.MatchString(j.From) || !fullSHAText.MatchString(j.To) {
		return nil, fmt.Errorf("%s is damaged; see with git status that the working tree is whole, then remove the file", r.journalPath())
	}
	return &j, nil
}

func (r *Repo) writeJournal(j journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(r.journalPath(), data, 0o600)
}

func (r *Repo) endJournal() error {
	if err := os.Remove(r.journalPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(r.gitDir)
}

// clearLocks deals with git's own lock files. The caller has our lock, so no
// git of ours runs: what such a git left behind when it was killed is removed,
// what belongs to somebody else is waited for, and removed only when it is old
// and no git is at work.
func (r *Repo) clearLocks(ctx context.Context) error {
	began := r.now()
	for {
		path, info, err := r.lockFile()
		if err != nil || path == "" {
			return err
		}
		stale, err := r.isStale(path, info)
		if err != nil {
			return err
		}
		if stale {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if r.now().Sub(began) >= lockPatience {
			return &LockedError{Path: path, Age: r.now().Sub(info.ModTime())}
		}
		if err := pause(ctx, lockPoll); err != nil {
			return err
		}
	}
}

func (r *Repo) isStale(path string, info fs.FileInfo) (bool, error) {
	j, err := r.readJournal()
	if err != nil {
		return false, err
	}
	ours := strings.HasPrefix(path, filepath.Join(r.commonDir, refRoot)+string(filepath.Separator)) ||
		j != nil && !info.ModTime().Before(j.Since.Add(-fileTime))
	if !ours && r.now().Sub(info.ModTime()) < foreignLockAge {
		return false, nil
	}
	return !r.gitAtWork(), nil
}

// lockFile returns a lock file that would stop our commands, or "".
func (r *Repo) lockFile() (string, fs.FileInfo, error) {
	candidates := []string{
		filepath.Join(r.gitDir, "index.lock"),
		filepath.Join(r.gitDir, "HEAD.lock"),
		filepath.Join(r.commonDir, "shallow.lock"),
		filepath.Join(r.commonDir, "packed-refs.lock"),
	}
	if head, err := os.ReadFile(filepath.Join(r.gitDir, "HEAD")); err == nil {
		if ref, ok := strings.CutPrefix(strings.TrimSpace(string(head)), "ref: "); ok {
			candidates = append(candidates, filepath.Join(r.commonDir, ref+".lock"))
		}
	}
	err := filepath.WalkDir(filepath.Join(r.commonDir, refRoot), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".lock") {
			candidates = append(candidates, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	for _, path := range candidates {
		info, err := os.Lstat(path)
		if err == nil {
			return path, info, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, err
		}
	}
	return "", nil, nil
}

// gitAtWork reports whether a git process is seen whose current directory is
// in the working tree or the repository.
func (r *Repo) gitAtWork() bool {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return true
	}
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join("/proc", p.Name(), "comm"))
		if err != nil || !strings.HasPrefix(string(comm), "git") {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", p.Name(), "cwd"))
		if err == nil && (within(cwd, r.realTop) || within(cwd, r.commonDir)) {
			return true
		}
	}
	return false
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
