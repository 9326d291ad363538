// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

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
	given map[string]givenID // by log file
}

type givenID struct {
	id string
	at time.Time
	// unwritten is the request that has it while that is not written; the log may have begun.
	unwritten types.UID
}

// next is an ID for the run of a request that starts now in a deployment directory: the one that it was
// given, if that could not be written.
func (r *runIDs) next(now time.Time, request types.UID, directory string, siblings []v1alpha1.UpdateRequest) string {
	if target, err := filepath.EvalSymlinks(directory); err == nil {
		directory = target // by whatever name an Application calls it
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for log, g := range r.given {
		if now.Sub(g.at).Abs() > givenFor {
			delete(r.given, log)
			continue
		}
		if request != "" && g.unwritten == request && log == updatelog.Path(directory, g.id) {
			return g.id
		}
	}
	id := newID(now, func(id string) bool {
		log := updatelog.Path(directory, id)
		_, given := r.given[log]
		return given || exists(log) || exists(filepath.Join(backup.Dir(directory), "backup_"+id)) ||
			slices.ContainsFunc(siblings, func(o v1alpha1.UpdateRequest) bool { return o.Status.ID == id })
	})
	if r.given == nil {
		r.given = map[string]givenID{}
	}
	r.given[updatelog.Path(directory, id)] = givenID{id, now, request}
	return id
}

// written says that what a request was given is in its status.
func (r *runIDs) written(request types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for log, g := range r.given {
		if g.unwritten == request {
			g.unwritten = ""
			r.given[log] = g
		}
	}
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
