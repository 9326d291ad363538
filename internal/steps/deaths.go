// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/pidfd"
)

// watchDeaths closes died when all of d have ended.
func (s *run) watchDeaths(ctx context.Context, d *deaths, died chan<- struct{}) {
	defer d.close()
	var both sync.WaitGroup
	defer both.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := func(all bool) {
		if all {
			d.once.Do(func() { close(died) })
			cancel()
		}
	}
	// Where processes cannot be watched, the engine tells of their end: by an event, and by the end of a stop.
	both.Go(func() { _ = pidfd.Await(ctx, d.inits, func(id string) { over(d.left(id)) }) })
	filter := docker.EventFilter{Types: []string{"container"}, Actions: []string{"kill", "die", "start"}, Containers: d.ids}
	_ = s.Docker.Watch(ctx, filter, func(ev docker.Event) { over(d.see(ev)) })
}

// deaths tells which containers have ended for good: those whose process ended by the signal that the engine
// was asked to send. The kernel tells the end of the process itself. The engine tells it when it has put the process away, and
// stops the container then: takes its network down, above all.
type deaths struct {
	ids []string
	// inits are their processes, as far as those can be watched.
	inits map[string]*pidfd.Init
	once  sync.Once

	mu sync.Mutex
	// stopped is when each was told to end. Before that somebody may send it a signal, or start it anew.
	stopped map[string]time.Time
	// killed were sent the signal since, and ended have ended by it.
	killed, ended map[string]bool
	// alive are the inits that the signal is for, and gone those of them that have ended.
	alive, gone map[string]bool
}

func deathsOf(containers []docker.Container) *deaths {
	d := &deaths{
		inits: map[string]*pidfd.Init{}, stopped: map[string]time.Time{},
		killed: map[string]bool{}, ended: map[string]bool{}, alive: map[string]bool{}, gone: map[string]bool{},
	}
	for _, c := range containers {
		d.ids = append(d.ids, c.ID)
		if p, err := pidfd.OpenInit(c.Pid, c.ID); err == nil {
			d.inits[c.ID] = p
		}
	}
	return d
}

func (d *deaths) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.inits {
		p.Close()
	}
	d.inits = nil
}

// stop is called before a container is told to end.
func (d *deaths) stop(id string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped[id] = at
	// One that has ended by now did so by itself, and may be started again by its restart policy.
	d.alive[id] = d.inits[id] != nil && !d.gone[id] && !d.inits[id].Ended()
}

// left takes the end of an init, and reports whether all containers have ended.
func (d *deaths) left(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone[id] = true
	return d.over()
}

// see takes one event, and reports whether all have ended. A process that ended without being told to may be started again
// by its restart policy.
func (d *deaths) see(ev docker.Event) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ev.Resync { // a start may have been missed
		for id := range d.gone {
			d.alive[id] = false
		}
	}
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
		d.alive[ev.ID] = false // it has another one
	}
	return d.over()
}

func (d *deaths) over() bool {
	for _, id := range d.ids {
		if !d.ended[id] && !(d.killed[id] && d.alive[id] && d.gone[id]) {
			return false
		}
	}
	return true
}
