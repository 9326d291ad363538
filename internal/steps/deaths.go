// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// watchDeaths closes died when all of d have ended.
func (s *run) watchDeaths(ctx context.Context, d *deaths, died chan<- struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	filter := docker.EventFilter{Types: []string{"container"}, Actions: []string{"kill", "die", "start"}, Containers: d.ids}
	// An engine that cannot be watched tells the end of a stop, which is waited for as well.
	_ = s.Docker.Watch(ctx, filter, func(ev docker.Event) {
		if d.see(ev) && ctx.Err() == nil {
			close(died)
			cancel()
		}
	})
}

// deaths tells from events of the engine which containers have ended for good. It says so of a process as soon as
// that has ended, and stops its container then: takes its network down, above all.
type deaths struct {
	ids []string

	mu sync.Mutex
	// stopped is when each was told to end. Before that somebody may send it a signal, or start it anew.
	stopped map[string]time.Time
	// killed were sent the signal since, and ended have ended by it.
	killed, ended map[string]bool
}

func deathsOf(ids []string) *deaths {
	return &deaths{ids: ids, stopped: map[string]time.Time{}, killed: map[string]bool{}, ended: map[string]bool{}}
}

// stop is called before a container is told to end.
func (d *deaths) stop(id string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped[id] = at
}

// see takes one event, and reports whether all have ended. A process that ended without being told to may be started again
// by its restart policy.
func (d *deaths) see(ev docker.Event) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, told := d.stopped[ev.ID]; !told || ev.Time.Before(at) {
		return false
	}
	switch ev.Action {
	case "kill":
		d.killed[ev.ID] = true
	case "die":
		d.ended[ev.ID] = d.killed[ev.ID]
	case "start":
		delete(d.ended, ev.ID)
	}
	return !slices.ContainsFunc(d.ids, func(id string) bool { return !d.ended[id] })
}
