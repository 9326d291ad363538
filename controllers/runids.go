// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// givenFor is for how long an ID counts as taken though no file is called by it yet.
const givenFor = time.Hour

// runIDs gives out the IDs of runs, by which backups and log files are called. Several
// Applications, also in several namespaces, may have one deployment directory: there no two
// runs have the same, nor one that a run had whose request is gone. The zero value is ready for use.
type runIDs struct {
	mu    sync.Mutex
	given map[string]time.Time // by log file
}

// next is an ID for a run that starts now in a deployment directory.
func (r *runIDs) next(now time.Time, directory string, siblings []v1alpha1.UpdateRequest) string {
	if target, err := filepath.EvalSymlinks(directory); err == nil {
		directory = target // by whatever name an Application calls it
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for log, at := range r.given {
		if now.Sub(at).Abs() > givenFor {
			delete(r.given, log)
		}
	}
	id := newID(now, func(id string) bool {
		log := updatelog.Path(directory, id)
		_, given := r.given[log]
		return given || exists(log) || exists(filepath.Join(backup.Dir(directory), "backup_"+id)) ||
			slices.ContainsFunc(siblings, func(o v1alpha1.UpdateRequest) bool { return o.Status.ID == id })
	})
	if r.given == nil {
		r.given = map[string]time.Time{}
	}
	r.given[updatelog.Path(directory, id)] = now
	return id
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// newID is the time of the start, moved on by seconds while it is taken.
func newID(now time.Time, taken func(id string) bool) string {
	for t := now; ; t = t.Add(time.Second) {
		if id := t.UTC().Format("20060102_150405"); !taken(id) {
			return id
		}
	}
}
