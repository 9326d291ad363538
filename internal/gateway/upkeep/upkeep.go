// SPDX-License-Identifier: Apache-2.0

// Package upkeep has the gateways of applications go on with the daemon's own
// program after the daemon was updated. It changes nothing in the API: what it
// found is handed to whoever writes the status.
package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
)

const (
	// lookEvery is how often gateways are looked at that were as they are to be: one may have
	// been started again with an older program.
	lookEvery = 5 * time.Minute
	// firstRetry and lastRetry bound the pause after a failure, which doubles.
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
)

// Keeper keeps gateways.
type Keeper interface {
	// List returns the gateways of a Compose project.
	List(ctx context.Context, project string) ([]boxes.Box, error)
	// Refresh has one go on with the daemon's program, and reports whether it ran another.
	Refresh(ctx context.Context, b boxes.Box) (replaced bool, err error)
}

// Answer is how it goes with the gateways of an application.
type Answer struct {
	// Gateways are the names of those that there are.
	Gateways []string
	// Down are those that do not run.
	Down []string
	// Replaced are those whose program was replaced last.
	Replaced []string
	// Problem is why one does not run the daemon's program, "" if all do. It is tried again.
	Problem string
}

// Upkeep looks at the gateways of all applications that it was told of. Its
// methods may be called by several goroutines.
type Upkeep struct {
	// Keeper is required.
	Keeper Keeper
	// Wake is called, from any goroutine, when the answer for an application
	// changed. Required; it may block until ctx ends.
	Wake func(ctx context.Context, key types.NamespacedName)
	// Clock is the real one by default.
	Clock clock.WithTicker

	once sync.Once
	kick chan struct{} // has one element if the schedule changed

	mu      sync.Mutex
	entries map[types.NamespacedName]*entry
}

// entry is one application.
type entry struct {
	project string
	busy    bool
	due     time.Time
	fails   int
	answer  Answer
	have    bool
}

func (u *Upkeep) init() {
	u.once.Do(func() {
		u.kick = make(chan struct{}, 1)
		u.entries = map[types.NamespacedName]*entry{}
		if u.Clock == nil {
			u.Clock = clock.RealClock{}
		}
	})
}

// Track takes note of an application: of its Compose project, and whether a request is
// being carried out, during which its gateways are left to that. It returns what is known of its gateways;
// the second result is false until they were looked at.
func (u *Upkeep) Track(key types.NamespacedName, project string, busy bool) (Answer, bool) {
	u.init()
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.entries[key]
	if e == nil || e.project != project {
		e = &entry{project: project, due: u.Clock.Now()}
		u.entries[key] = e
	}
	if e.busy && !busy {
		e.due = u.Clock.Now() // a request may have made others
	}
	e.busy = busy
	select {
	case u.kick <- struct{}{}:
	default:
	}
	return e.answer, e.have
}

// Forget drops an application that is gone.
func (u *Upkeep) Forget(key types.NamespacedName) {
	u.init()
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.entries, key)
}

// Start looks until ctx ends, at one application after another.
func (u *Upkeep) Start(ctx context.Context) error {
	u.init()
	for ctx.Err() == nil {
		key, e, wait := u.next()
		if e != nil {
			u.look(ctx, key, e)
			continue
		}
		timer := u.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-u.kick:
		case <-timer.C():
		}
		timer.Stop()
	}
	return nil
}

// next is an application whose gateways are to be looked at now, or how long there is none.
func (u *Upkeep) next() (key types.NamespacedName, due *entry, wait time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.Clock.Now()
	wait = lookEvery
	for k, e := range u.entries {
		if e.project == "" || e.busy {
			continue
		}
		if !e.due.After(now) && (due == nil || e.due.Before(due.due)) {
			key, due = k, e
		}
		wait = min(wait, e.due.Sub(now))
	}
	return key, due, wait
}

// look looks at the gateways of one application, and plans the next look.
func (u *Upkeep) look(ctx context.Context, key types.NamespacedName, e *entry) {
	answer, err := u.refresh(ctx, key, e)
	if ctx.Err() != nil {
		return
	}
	u.mu.Lock()
	e.due = u.Clock.Now().Add(lookEvery)
	if err != nil {
		answer.Problem = err.Error()
		e.due = u.Clock.Now().Add(min(firstRetry<<min(e.fails, 10), lastRetry))
		e.fails++
	} else {
		e.fails = 0
	}
	if len(answer.Replaced) == 0 && slices.Equal(answer.Gateways, e.answer.Gateways) {
		answer.Replaced = e.answer.Replaced
	}
	news := u.entries[key] == e && (!e.have || !equality.Semantic.DeepEqual(e.answer, answer))
	if news {
		e.answer, e.have = answer, true
	}
	u.mu.Unlock()
	if news {
		u.Wake(ctx, key)
	}
}

func (u *Upkeep) refresh(ctx context.Context, key types.NamespacedName, e *entry) (Answer, error) {
	list, err := u.Keeper.List(ctx, e.project)
	if err != nil {
		return Answer{}, err
	}
	var a Answer
	var errs []error
	for _, b := range list {
		a.Gateways = append(a.Gateways, b.Name)
		if !b.Running {
			a.Down = append(a.Down, b.Name)
			continue
		}
		if u.isBusy(key, e) {
			continue // a request began: it sees to its gateways itself
		}
		replaced, err := u.Keeper.Refresh(ctx, b)
		if err != nil {
			errs = append(errs, fmt.Errorf("the gateway %s: %w", b.Name, err))
		}
		if replaced {
			a.Replaced = append(a.Replaced, b.Name)
		}
	}
	return a, errors.Join(errs...)
}

func (u *Upkeep) isBusy(key types.NamespacedName, e *entry) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return e.busy || u.entries[key] != e
}
