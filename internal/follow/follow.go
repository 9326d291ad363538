// SPDX-License-Identifier: Apache-2.0

// Package follow looks for newer commits of Applications: when (this file), what
// is followed (choose.go), and how a look goes (look.go). It changes nothing in
// the API: what it finds is handed to whoever writes the status.
package follow

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

const (
	// DefaultInterval is how often a source is looked at if the Application does
	// not say.
	DefaultInterval = 5 * time.Minute
	// maxBackoff bounds the time between looks at a source that does not answer,
	// unless the interval itself is longer.
	maxBackoff = time.Hour
	// maxSpread bounds how long the first look after a start is put off, so that
	// not all applications of all hosts look at once after a power failure.
	maxSpread = 30 * time.Second
	// lagRetries and lagDelay: a server may tell of a push before it shows it.
	lagRetries = 4
	lagDelay   = time.Second
	// defaultParallel bounds the looks at one time.
	defaultParallel = 4
)

// Answer is what a look found.
type Answer struct {
	// Generation of the Application's spec that it was looked up for.
	Generation int64
	// Running is the commit that Changes were counted from.
	Running string
	// Ref and Commit are what is followed and the newest commit there. After a
	// look that failed they are of the last one that did not.
	Ref, Commit string
	// Behind counts the commits from Running to Commit, Changes are these, newest
	// first, at most 100.
	Behind  int32
	Changes []v1alpha1.Change
	// Older says that Commit is in the history of Running.
	Older bool
	// Problem is why the last look failed, in words that stay the same as long as
	// the cause does, and Reason a word for it.
	Problem, Reason string
	// Check is the value of the annotation fairlead.dev/check that is answered.
	Check string
}

// Looker looks at the source of an application.
type Looker interface {
	// Look finds the newest commit. previous is the last answer. busy says that
	// an update runs, which must not be disturbed: the clone may not be written
	// to then. ErrBusy says that it would have to be.
	Look(ctx context.Context, app *v1alpha1.Application, previous Answer, busy bool) (Answer, error)
}

// ErrBusy says that an update runs, and the look has to wait for its end.
var ErrBusy = errors.New("an update runs")

// Follower looks at the sources of all applications that it was told of, each at
// its interval. Its methods may be called by several goroutines.
type Follower struct {
	// Looker looks. Required.
	Looker Looker
	// Wake is called, from any goroutine, when the answer for an application
	// changed. Required; it may block until ctx ends.
	Wake func(ctx context.Context, key types.NamespacedName)
	// Clock is the real one by default.
	Clock clock.WithTicker
	// Parallel bounds the looks at one time. Default 4.
	Parallel int

	once sync.Once
	kick chan struct{} // has one element if the schedule changed

	mu      sync.Mutex
	entries map[types.NamespacedName]*entry
	looking int
}

// entry is one application.
type entry struct {
	app    *v1alpha1.Application
	answer Answer
	have   bool // answer is of this process
	due    time.Time
	fails  int
	looks  bool // a look goes on
	stop   context.CancelCauseFunc
	// again has another look follow the one that goes on.
	again bool
	// expect is the commit that was told of, and retries how often more it is
	// looked for.
	expect  string
	retries int
}

func (f *Follower) init() {
	f.once.Do(func() {
		f.kick = make(chan struct{}, 1)
		f.entries = map[types.NamespacedName]*entry{}
		if f.Clock == nil {
			f.Clock = clock.RealClock{}
		}
		if f.Parallel <= 0 {
			f.Parallel = defaultParallel
		}
	})
}

// Track takes note of an application as it is now, and returns what is known of
// its source. A changed spec, another running commit and the end of an update
// have it looked at. The second result is false until the first look has ended.
func (f *Follower) Track(app *v1alpha1.Application) (Answer, bool) {
	f.init()
	key := types.NamespacedName{Namespace: app.Namespace, Name: app.Name}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Clock.Now()
	e, known := f.entries[key]
	if !known {
		e = &entry{due: now}
		if u := app.Status.Update; u != nil && u.ObservedGeneration == app.Generation && u.Commit != "" {
			// After a restart. What was known goes on to be.
			e.answer = Answer{Generation: u.ObservedGeneration, Ref: u.Ref, Commit: u.Commit}
			if u.Available {
				// Else nobody knows which commit it was compared with.
				e.answer.Running, e.answer.Behind, e.answer.Changes = app.Status.Commit, u.Behind, u.Changes
			}
			e.due = now.Add(part(key, min(interval(app)/10, maxSpread)))
		}
		f.entries[key] = e
	} else if was := e.app; was.Generation != app.Generation || was.UID != app.UID || was.Status.Commit != app.Status.Commit ||
		was.Annotations[v1alpha1.AnnotationCheck] != app.Annotations[v1alpha1.AnnotationCheck] ||
		was.Status.ActiveRequest != "" && app.Status.ActiveRequest == "" {
		e.now(now)
	} else if was.Status.ActiveRequest == "" && app.Status.ActiveRequest != "" && e.stop != nil {
		e.stop(ErrBusy) // an update begins: nothing may hold its clone
	}
	e.app = app.DeepCopy()
	f.changed()
	return e.answer, e.have && e.answer.Generation == app.Generation
}

// now has an application looked at as soon as possible.
func (e *entry) now(now time.Time) {
	e.again = e.looks
	e.due = now
}

// Forget drops an application that is gone.
func (f *Follower) Forget(key types.NamespacedName) {
	f.init()
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.entries[key]; ok && e.stop != nil {
		e.stop(errors.New("the application is gone"))
	}
	delete(f.entries, key)
}

// Poke has an application looked at now, as somebody told that ref (in full, such
// as refs/heads/main; "" for any) moved to the commit sha ("" if that is not
// known). It is a hint: only what the server itself says counts. A ref that is
// known not to be followed is passed over.
func (f *Follower) Poke(key types.NamespacedName, ref, sha string) {
	f.init()
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.entries[key]
	if !ok || ref != "" && !concerns(e, ref) || sha != "" && sha == e.answer.Commit && e.answer.Problem == "" {
		return
	}
	e.now(f.Clock.Now())
	e.expect, e.retries = "", 0
	if sha != "" && ref == e.answer.Ref {
		e.expect, e.retries = sha, lagRetries
	}
	f.changed()
}

// concerns reports whether a move of ref may change the answer.
func concerns(e *entry, ref string) bool {
	u := e.app.Spec.Update
	if u.TagPattern != "" || u.Semver != "" {
		return len(ref) > len("refs/tags/") && ref[:len("refs/tags/")] == "refs/tags/"
	}
	return !e.have || e.answer.Ref == "" || e.answer.Ref == ref
}

// changed wakes the loop; the lock is held.
func (f *Follower) changed() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// Start looks until ctx ends, and returns when all looks have.
func (f *Follower) Start(ctx context.Context) error {
	f.init()
	var looks sync.WaitGroup
	defer looks.Wait()
	for {
		next, wait := f.startDue(ctx, &looks)
		var at <-chan time.Time
		var timer clock.Timer
		if wait {
			timer = f.Clock.NewTimer(next)
			at = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-f.kick:
		case <-at:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// startDue starts the looks that are due, and returns how long it is to the next
// one.
func (f *Follower) startDue(ctx context.Context, looks *sync.WaitGroup) (next time.Duration, wait bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Clock.Now()
	var due []types.NamespacedName
	for key, e := range f.entries {
		switch {
		case e.looks:
		case !e.due.After(now):
			due = append(due, key)
		case !wait || e.due.Sub(now) < next:
			next, wait = e.due.Sub(now), true
		}
	}
	// Who waits longest goes first.
	slices.SortFunc(due, func(a, b types.NamespacedName) int { return f.entries[a].due.Compare(f.entries[b].due) })
	for _, key := range due {
		if f.looking >= f.Parallel {
			break // the end of a look comes by here again
		}
		e := f.entries[key]
		lookCtx, stop := context.WithCancelCause(ctx)
		e.looks, e.again, e.stop = true, false, stop
		f.looking++
		app, previous := e.app, e.answer
		looks.Go(func() {
			defer stop(nil)
			f.look(ctx, lookCtx, key, e, app, previous)
		})
	}
	return next, wait
}

// look carries out one look, within its own context, and plans the next.
func (f *Follower) look(whole, ctx context.Context, key types.NamespacedName, e *entry, app *v1alpha1.Application, previous Answer) {
	busy := app.Status.ActiveRequest != ""
	answer, err := f.Looker.Look(ctx, app, previous, busy)
	stopped := ctx.Err() != nil || errors.Is(err, ErrBusy)
	if err != nil && !stopped {
		answer = previous
		if answer.Generation != app.Generation {
			answer = Answer{Generation: app.Generation} // of another source
		}
		answer.Problem, answer.Reason = err.Error(), reason(err)
	}
	if !stopped {
		answer.Check = app.Annotations[v1alpha1.AnnotationCheck]
		f.deliver(whole, key, e, answer)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looking--
	e.looks, e.stop = false, nil
	now := f.Clock.Now()
	every := interval(app)
	switch {
	case e.again:
		e.due = now
	case stopped:
		e.due = now.Add(every) // the end of the update comes sooner, as a rule
	case err != nil:
		e.fails++
		e.due = now.Add(backoff(every, e.fails) + part(key, every/10))
	case e.retries > 0 && answer.Commit != e.expect && answer.Commit == previous.Commit:
		e.due = now.Add(lagDelay << (lagRetries - e.retries))
		e.retries--
	default:
		e.due = now.Add(every + part(key, every/10))
	}
	if err == nil {
		e.fails = 0
	}
	if answer.Commit == e.expect {
		e.retries = 0
	}
	f.changed()
}

// deliver keeps an answer and tells of it if it is another one.
func (f *Follower) deliver(ctx context.Context, key types.NamespacedName, e *entry, a Answer) {
	f.mu.Lock()
	news := f.entries[key] == e && (!e.have || !equality.Semantic.DeepEqual(e.answer, a))
	if news {
		e.answer, e.have = a, true
	}
	f.mu.Unlock()
	if news {
		f.Wake(ctx, key)
	}
}

func interval(app *v1alpha1.Application) time.Duration {
	if d := app.Spec.Update.Interval; d != nil && d.Duration > 0 {
		return d.Duration
	}
	return DefaultInterval
}

// backoff is the time until the next look after some that failed.
func backoff(every time.Duration, fails int) time.Duration {
	most := max(every, maxBackoff)
	for range fails - 1 {
		if every *= 2; every >= most {
			return most
		}
	}
	return every
}

// part is a share of d that is always the same for one application, and
// different for most: their looks fall apart.
func part(key types.NamespacedName, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	h := fnv.New64a()
	fmt.Fprint(h, key)
	return time.Duration(h.Sum64() % uint64(d))
}
