// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

// world is an engine and gateways: shop has two, one of which is down, plain has none.
type world struct {
	unhealthy map[string][]string
	asked     atomic.Int64 // how often the engine was
	away      error
	refuses   error
	events    chan docker.Event
	marks     chan string
}

func newWorld() *world {
	return &world{events: make(chan docker.Event), marks: make(chan string, 10)}
}

func (w *world) UnhealthyContainers(context.Context) (map[string][]string, error) {
	w.asked.Add(1)
	return w.unhealthy, w.away
}

func (w *world) Watch(ctx context.Context, filter docker.EventFilter, fn func(docker.Event)) error {
	if !reflect.DeepEqual(filter.Actions, []string{"health_status"}) {
		return errors.New("these are other events")
	}
	for {
		select {
		case e := <-w.events:
			fn(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *world) List(_ context.Context, project string) ([]boxes.Box, error) {
	if project != "shop" {
		return nil, nil
	}
	return []boxes.Box{{Box: layout.Box{Name: "shop.gateway-1"}, Running: true}, {Box: layout.Box{Name: "shop.gateway-2"}}}, nil
}

func (w *world) Mark(_ context.Context, gateway string, u gatewayapi.Unhealthy) error {
	w.marks <- gateway + ": " + strings.Join(u.Targets, " ") + " for " + u.For.String()
	return w.refuses
}

func (w *world) want(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for len(w.marks) > 0 {
		got = append(got, <-w.marks)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("gateways were told %q, want %q", got, want)
	}
}

func TestGatewaysAreTold(t *testing.T) {
	w := newWorld()
	clock := clocktesting.NewFakeClock(time.Now())
	teller := &Teller{Engine: w, Gateways: w, Clock: clock}
	var lines []string
	ctx := logr.NewContext(t.Context(), funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{}))
	says := func(want ...string) {
		t.Helper()
		if len(lines) != len(want) {
			t.Errorf("the log has %q, want %d lines", lines, len(want))
		}
		for i := range min(len(lines), len(want)) {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("the log has %q, want %q", lines[i], want[i])
			}
		}
		lines = nil
	}
	look := func(unhealthy map[string][]string) {
		w.unhealthy = unhealthy
		teller.look(ctx)
	}
	look(nil)
	w.want(t)
	look(map[string][]string{"plain": {"c"}})
	w.want(t)
	look(map[string][]string{"shop": {"b", "a"}, "plain": {"c"}})
	w.want(t, "shop.gateway-1: a b for 1m0s")
	look(map[string][]string{"shop": {"a"}})
	w.want(t, "shop.gateway-1: a for 1m0s")
	says(`"unhealthy"=["a" "b"]`, `"unhealthy"=["a"]`)
	look(map[string][]string{"shop": {"a"}})
	w.want(t, "shop.gateway-1: a for 1m0s") // again, before it is over
	says()
	w.away = errors.New("the engine is away")
	look(nil)
	w.want(t) // what was said counts until it is over
	w.away, w.refuses = nil, errors.New("no such socket")
	look(nil)
	look(nil)
	w.want(t, "shop.gateway-1:  for 0s", "shop.gateway-1:  for 0s")
	says("no such socket") // once
	w.refuses = nil
	look(nil)
	w.want(t, "shop.gateway-1:  for 0s") // again, as it did not hear
	look(nil)
	w.want(t)
	lines = nil

	w.refuses = errors.New("no such socket")
	look(map[string][]string{"shop": {"a"}})
	clock.Step(lasting - time.Second)
	look(nil)
	clock.Step(time.Second)
	look(nil)
	w.want(t, "shop.gateway-1: a for 1m0s", "shop.gateway-1:  for 0s", "shop.gateway-1:  for 0s")
	look(nil)
	w.want(t) // what it may have heard is over
}

// It looks when the engine tells of a healthcheck, and says what counts again before it does not count any more.
func TestGatewaysAreToldAgain(t *testing.T) {
	w := newWorld()
	w.unhealthy = map[string][]string{"shop": {"a"}}
	clock := clocktesting.NewFakeClock(time.Now())
	ctx, cancel := context.WithCancel(logr.NewContext(t.Context(), logr.Discard()))
	over := make(chan error)
	go func() { over <- (&Teller{Engine: w, Gateways: w, Clock: clock}).Start(ctx) }()
	w.events <- docker.Event{Resync: true}
	const said = "shop.gateway-1: a for 1m0s"
	if got := <-w.marks; got != said {
		t.Errorf("it said %q", got)
	}
	clock.Step(lasting / 2)
	if got := <-w.marks; got != said {
		t.Errorf("later it said %q", got)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// What could not be found out is made up for by whatever happens next.
func TestMissedLookIsMadeUpFor(t *testing.T) {
	w := newWorld()
	w.away = errors.New("the engine is away")
	ctx, cancel := context.WithCancel(logr.NewContext(t.Context(), logr.Discard()))
	defer cancel()
	teller := &Teller{Engine: w, Gateways: w, Clock: clocktesting.NewFakeClock(time.Now())}
	teller.look(ctx)
	w.away, w.unhealthy = nil, map[string][]string{"shop": {"a"}}
	over := make(chan error)
	go func() { over <- teller.Start(ctx) }()
	w.events <- docker.Event{Type: "container", Action: "health_status: healthy", ID: "b"}
	if got, want := <-w.marks, "shop.gateway-1: a for 1m0s"; got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// That a container is healthy is news only for gateways that were told otherwise: each update has such events, and the
// engine is not asked in the middle of it for nothing.
func TestEngineIsAskedOfWhatMatters(t *testing.T) {
	w := newWorld()
	teller := &Teller{Engine: w, Gateways: w, Clock: clocktesting.NewFakeClock(time.Now())}
	say := func(action string) { w.events <- docker.Event{Type: "container", Action: action, ID: "a"} }
	during := func(f func()) {
		ctx, cancel := context.WithCancel(logr.NewContext(t.Context(), logr.Discard()))
		over := make(chan error)
		go func() { over <- teller.Start(ctx) }()
		f()
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
	during(func() {
		for range 100 {
			say("health_status: healthy")
		}
	})
	if asked := w.asked.Load(); asked > 0 {
		t.Errorf("the engine was asked %d times", asked)
	}
	w.unhealthy = map[string][]string{"shop": {"a"}}
	during(func() {
		for _, action := range []string{"health_status: unhealthy", "health_status: healthy"} {
			say(action)
			if got, want := <-w.marks, "shop.gateway-1: a for 1m0s"; got != want {
				t.Errorf("after %s it said %q, want %q", action, got, want)
			}
		}
	})
}
