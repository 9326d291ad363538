// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

func TestRunID(t *testing.T) {
	withID := func(ids ...string) (out []v1alpha1.UpdateRequest) {
		for _, id := range ids {
			out = append(out, request("x-"+id, 1, func(ur *v1alpha1.UpdateRequest) { ur.Status.ID = id }))
		}
		return out
	}
	log := func(id string) func(dir string) string {
		return func(dir string) string { return updatelog.Path(dir, id) }
	}
	for name, tt := range map[string]struct {
		now      time.Time
		siblings []v1alpha1.UpdateRequest
		file     func(dir string) string // that is there
		want     string
	}{
		"free":                           {epoch, nil, nil, "20260301_120000"},
		"in UTC":                         {epoch.In(time.FixedZone("CET", 3600)), nil, nil, "20260301_120000"},
		"taken":                          {epoch, withID("20260301_120000"), nil, "20260301_120001"},
		"twice taken":                    {epoch, withID("20260301_120001", "20260301_120000"), nil, "20260301_120002"},
		"over midnight":                  {epoch.Add(12*time.Hour - time.Second), withID("20260301_235959"), nil, "20260302_000000"},
		"by a request that is gone":      {epoch, nil, log("20260301_120000"), "20260301_120001"},
		"by a backup, the log is pruned": {epoch, nil, func(dir string) string { return filepath.Join(backup.Dir(dir), "backup_20260301_120000") }, "20260301_120001"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.file != nil {
				if err := os.MkdirAll(tt.file(dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if got := (&runIDs{}).next(tt.now, "", dir, tt.siblings); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Applications that have a deployment directory together, by whatever name, do not share a log or a backup, also where
// a dry run of one begins within the second, and the instant, in which another begins.
func TestRunIDsOfOneDirectory(t *testing.T) {
	base := t.TempDir()
	dir, other, link := filepath.Join(base, "shop"), filepath.Join(base, "other"), filepath.Join(base, "link")
	for _, d := range []string{dir, other} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	var ids runIDs
	var mu sync.Mutex
	var all sync.WaitGroup
	given := map[string]int{}
	for i, d := range []string{dir, link, dir, link, dir} {
		all.Go(func() {
			id := ids.next(epoch, types.UID(strconv.Itoa(i)), d, nil)
			mu.Lock()
			defer mu.Unlock()
			given[id]++
		})
	}
	all.Wait()
	if len(given) != 5 {
		t.Errorf("five runs have the IDs %v", given)
	}
	if got := ids.next(epoch, "x", other, nil); got != "20260301_120000" {
		t.Errorf("a run in another directory has the ID %s", got)
	}
	ids.next(epoch.Add(2*givenFor), "y", other, nil)
	if len(ids.given) != 1 {
		t.Errorf("%d IDs are remembered", len(ids.given))
	}
}

// The log of a run may have begun when its ID cannot be written: there is to be one of it.
func TestAnIDThatWasNotWrittenIsGivenAgain(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	var ids runIDs
	first := ids.next(epoch, "a", dir, nil)
	if err := os.MkdirAll(updatelog.Path(dir, first), 0o700); err != nil {
		t.Fatal(err)
	}
	later := epoch.Add(time.Minute)
	if got := ids.next(later, "a", dir, nil); got != first {
		t.Errorf("it has %s after %s", got, first)
	}
	if got := ids.next(epoch, "b", dir, nil); got == first {
		t.Errorf("another request has %s too", got)
	}
	if got := ids.next(later, "a", other, nil); got == first {
		t.Errorf("in another directory it has %s of an earlier time", got)
	}
	ids.written("a")
	if got := ids.next(later, "a", dir, nil); got == first {
		t.Errorf("it has %s again, though that was written, and somebody took it away", got)
	}
}
