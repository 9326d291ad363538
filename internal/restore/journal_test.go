// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

const safety = "backup_20240101_000000"

// attempt is one at the restore of the backup of shop, in dir.
func attempt(t *testing.T, dir, request string) *work {
	t.Helper()
	log, err := updatelog.Open(filepath.Join(dir, "restore.log"), updatelog.WithCopy(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	manifest := shop().Manifest
	return &work{
		Runner: &Runner{Out: io.Discard}, o: Options{Directory: dir}, manifest: &manifest, log: log,
		app: application(dir, &manifest, Options{}), request: request, stopped: map[string]docker.RestartPolicy{},
	}
}

// cutOff leaves the journal of an attempt that saved what was there.
func cutOff(t *testing.T, touched bool) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".update"), 0o750); err != nil {
		t.Fatal(err)
	}
	w := attempt(t, dir, "")
	w.journal, w.touched = journal{Backup: w.manifest.ID, Safety: safety}, touched
	if err := w.writeJournal(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What was saved by an attempt that overwrote nothing is not what an attempt of
// later overwrites.
func TestSafetyBackupOfEarlierAttempt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		touched bool
		request string
		id      string
		want    string
	}{
		"by hand, overwritten":                {touched: true, want: safety},
		"by hand, nothing overwritten":        {},
		"the same request goes on":            {request: "u1", id: safety, want: safety},
		"a request after an attempt by hand":  {request: "u1", id: "backup_20240202_000000"},
		"another request, it was overwritten": {touched: true, request: "u1", id: "backup_20240202_000000", want: safety},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := attempt(t, cutOff(t, test.touched), test.request)
			w.safetyID = test.id
			if err := w.readJournal(); err != nil {
				t.Fatal(err)
			}
			if w.journal.Safety != test.want || w.touched != test.touched || w.journal.Backup != w.manifest.ID {
				t.Errorf("it goes on with %+v, touched %v", w.journal, w.touched)
			}
		})
	}
}

// An attempt that overwrote nothing is over when it fails; one that did goes on.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for _, touched := range []bool{false, true} {
		w := attempt(t, cutOff(t, touched), "")
		w.journal, w.touched = journal{Backup: w.manifest.ID, Safety: safety}, touched
		err := w.explain(context.Background(), errors.New("the engine refused"))
		if _, stat := os.Stat(w.journalPath()); errors.Is(stat, os.ErrNotExist) == touched {
			t.Errorf("touched %v: the journal: %v", touched, stat)
		}
		if again := strings.Contains(err.Error(), "makes its own"); again == touched || strings.Contains(err.Error(), "it goes on") != touched {
			t.Errorf("touched %v: the operator reads %v", touched, err)
		}
	}
}
