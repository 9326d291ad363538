// SPDX-License-Identifier: Apache-2.0

// Package claim keeps the daemon and a restore by hand out of each other's way
// in a deployment directory, also when they know nothing of each other: a step
// of an update holds the directory shared, a restore alone. The claim is a file
// lock, which ends with the process, whatever becomes of it.
package claim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

const lockName = "lock"

// JournalPath is the file of a restore of an application (namespace/name) that did
// not come to its end. Applications may have a deployment directory together, and
// each has its own.
func JournalPath(deployDir, application string) string {
	return of(deployDir, "rollback-offline", application)
}

// of is a file of one application. No name that an API accepts has an underscore.
func of(deployDir, what, application string) string {
	return filepath.Join(deployDir, ".update", what+"_"+strings.ReplaceAll(application, "/", "_")+".json")
}

// ErrBusy says that the directory is claimed otherwise.
var ErrBusy = errors.New("the deployment directory is in use")

// Claim is held until Release.
type Claim struct{ f *os.File }

// Shared claims the directory for a step of an update. It does not wait.
func Shared(deployDir string) (*Claim, error) {
	return take(deployDir, unix.LOCK_SH, "a restore by hand (fairlead rollback-offline) works on it")
}

// Alone claims the directory for a restore. It does not wait.
func Alone(deployDir string) (*Claim, error) {
	return take(deployDir, unix.LOCK_EX, "a step of an update, or another restore, works on it")
}

func take(deployDir string, how int, busy string) (*Claim, error) {
	dir := filepath.Join(deployDir, ".update")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("claim %s: %w", deployDir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", deployDir, err)
	}
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%w: %s: %s", ErrBusy, deployDir, busy), f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return &Claim{f}, nil
}

// Release gives the directory up. The file stays: removing it would let two
// processes lock two different files of the same name.
func (c *Claim) Release() error { return c.f.Close() }

// Restored is the last restore of an application, by hand or by a request.
type Restored struct {
	// Backup that was restored, and when that began.
	Backup string    `json:"backup"`
	At     time.Time `json:"at"`
	// Request is the UID of the request that it is a step of; empty for one by
	// hand.
	Request string `json:"request,omitempty"`
}

// Since reports whether the restore came after a release that was recorded at t,
// which the API knows to the second: what runs is then not that release any more.
func (r *Restored) Since(t time.Time) bool {
	return r != nil && r.At.Truncate(time.Second).After(t)
}

// MarkRestored records a restore of an application (namespace/name): an update of
// it that was begun before must not go on, as what it planned with is not there any
// more.
func MarkRestored(deployDir, application string, r Restored) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(of(deployDir, "restored", application), append(data, '\n'), 0o600)
}

// LastRestored returns the last restore of an application (namespace/name), or nil.
func LastRestored(deployDir, application string) (*Restored, error) {
	path := of(deployDir, "restored", application)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r Restored
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged; remove it: %w", path, err)
	}
	return &r, nil
}
