// SPDX-License-Identifier: Apache-2.0

//go:build crash

package crash

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/fairlead-dev/fairlead/test/harness"
)

// watcher counts, by the engine's events, how many containers of each service
// run at once.
type watcher struct {
	list func(context.Context) (map[string]string, error)

	mu      sync.Mutex
	running map[string]string // container -> service
	seen    map[string]*extremes
	lost    error // ended the events
}

// extremes of the number of running containers, and how often one was started.
type extremes struct{ least, most, starts int }

func watch(t *testing.T, project string) *watcher {
	t.Helper()
	engine := harness.Engine(t)
	ours := filters.NewArgs(filters.Arg("label", "com.docker.compose.project="+project))
	w := &watcher{running: map[string]string{}, seen: map[string]*extremes{}}
	w.list = func(ctx context.Context) (map[string]string, error) {
		list, err := engine.ContainerList(ctx, container.ListOptions{Filters: ours})
		out := map[string]string{}
		for _, c := range list {
			out[c.ID] = c.Labels["com.docker.compose.service"]
		}
		return out, err
	}
	only := ours.Clone()
	for _, e := range []string{"start", "die"} {
		only.Add("event", e)
	}
	only.Add("type", "container")
	messages, errs := engine.Events(t.Context(), events.ListOptions{Filters: only})
	go func() {
		for {
			select {
			case m := <-messages:
				w.add(m)
			case err := <-errs: // at the latest with the test
				w.mu.Lock()
				w.lost = err
				w.mu.Unlock()
				return
			}
		}
	}()
	return w
}

func (w *watcher) add(m events.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	service := m.Actor.Attributes["com.docker.compose.service"]
	x := w.of(service)
	switch m.Action {
	case events.ActionStart:
		w.running[m.Actor.ID] = service
		x.starts++
	case events.ActionDie:
		delete(w.running, m.Actor.ID)
	}
	n := w.count(service)
	x.least, x.most = min(x.least, n), max(x.most, n)
}

func (w *watcher) of(service string) *extremes {
	x := w.seen[service]
	if x == nil {
		n := w.count(service)
		x = &extremes{least: n, most: n}
		w.seen[service] = x
	}
	return x
}

func (w *watcher) count(service string) (n int) {
	for _, s := range w.running {
		if s == service {
			n++
		}
	}
	return n
}

// reset begins anew with what runs.
func (w *watcher) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = map[string]*extremes{}
}

// extremes since the last reset, once all events have come.
func (w *watcher) extremes(t *testing.T, service string) extremes {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		now, err := w.list(ctx)
		if err != nil {
			t.Fatalf("the engine's events and its list of containers do not agree: %v", err)
		}
		w.mu.Lock()
		if w.lost != nil {
			defer w.mu.Unlock()
			t.Fatalf("the engine's events have ended: %v", w.lost)
		}
		if maps.Equal(now, w.running) {
			defer w.mu.Unlock()
			return *w.of(service)
		}
		w.mu.Unlock()
		<-ticker.C
	}
}
