// SPDX-License-Identifier: Apache-2.0

// Package jobs runs long work outside of reconcile workers. A job never writes
// an object: it records changes to a status, and wakes the reconciler, which is
// the only one to write them.
package jobs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

// Causes of the end of a job's context, as context.Cause tells them.
var (
	// ErrCancelled says that the work is not wanted any more.
	ErrCancelled = errors.New("cancelled")
	// ErrShutdown says that the daemon stops; the work is taken up again at
	// its next start.
	ErrShutdown = errors.New("the daemon stops")
	// ErrWithdrawn says that the job began before it was written that it does,
	// and that this could not be written.
	ErrWithdrawn = errors.New("it could not be written that the step begins")
)

// Runner runs at most one job for each key. T is the status that jobs record
// changes to. All methods may be used by several goroutines.
type Runner[K comparable, T any] struct {
	notify func(K)
	gather time.Duration

	mu   sync.Mutex
	jobs map[K]*Job[T]
	// coming are those that began before that was written, and those of them
	// that were withdrawn and have not ended.
	coming map[K]*Job[T]
	closed bool
	wg     sync.WaitGroup
}

// NewRunner makes a Runner that calls notify, without holding a lock, when a
// job of a key ended or recorded something.
func NewRunner[K comparable, T any](notify func(K)) *Runner[K, T] {
	return &Runner[K, T]{notify: notify, gather: gather, jobs: map[K]*Job[T]{}, coming: map[K]*Job[T]{}}
}

// Job is one piece of work.
type Job[T any] struct {
	cancel context.CancelCauseFunc
	wake   func()
	gather time.Duration

	mu      sync.Mutex
	changes []func(*T)
	told    int           // how many of them were told
	written chan struct{} // closed and renewed when changes were acknowledged
	waking  *time.Timer   // not nil from a change until it is told
	// begun says that it is written that the job begins; withdrawn that it was not to be.
	begun, withdrawn bool
	done             bool
	err              error
}

// gather is how long a change waits for others, or for the end of the job, to be
// told together with them: each telling is a write to the API, and one that goes on
// when the job ends delays what comes after it. Nobody minds a quarter of a second.
const gather = 250 * time.Millisecond

// Record adds a change to the status, to be applied by the reconciler in order.
// A change must give the same result when it is applied twice, as the write of
// the status may be refused and tried again. The reconciler is woken a moment
// later, for all that was recorded until then.
func (j *Job[T]) Record(change func(*T)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.changes = append(j.changes, change)
	if j.waking == nil {
		j.waking = time.AfterFunc(j.gather, j.tell)
	}
}

// tell wakes the reconciler, unless the end of the job has done so.
func (j *Job[T]) tell() {
	j.mu.Lock()
	j.waking = nil
	j.told = len(j.changes)
	done := j.done
	j.mu.Unlock()
	if !done {
		j.wake()
	}
}

// Begun returns when it is written that the job begins, or with the cause of the
// end of ctx. A job that [Runner.Begin] started calls it before its first side effect.
func (j *Job[T]) Begun(ctx context.Context) error {
	return j.await(ctx, func() (so, untold bool) { return j.begun, false })
}

// Written returns when, beside that, all that was recorded so far is acknowledged,
// which is when it is written, or with the cause of the end of ctx. A job calls it before
// a side effect whose intent must be known after a crash: what was recorded is told at once.
func (j *Job[T]) Written(ctx context.Context) error {
	return j.await(ctx, func() (so, untold bool) {
		left := len(j.changes) > 0
		return j.begun && !left, left && j.waking != nil && j.waking.Stop()
	})
}

// await returns when something is so. That is asked, with j.mu held, whenever something was written, together
// with whether what was recorded is to be told now.
func (j *Job[T]) await(ctx context.Context, ask func() (so, untold bool)) error {
	for {
		j.mu.Lock()
		so, untold := ask()
		written := j.written
		j.mu.Unlock()
		if so {
			return nil
		}
		if untold {
			j.tell()
		}
		select {
		case <-written:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// State is what a job has come to.
type State[T any] struct {
	// Done says that the job ended, with Err.
	Done bool
	Err  error
	// Changes recorded so far and not acknowledged yet; none before they are told of.
	Changes []func(*T)
}

// Start runs fn as the job of key, of which nothing has to be written first. It
// returns false, and does nothing, if the key has a job already (also one that
// ended and was not forgotten) or if the Runner was stopped.
func (r *Runner[K, T]) Start(key K, fn func(ctx context.Context, j *Job[T]) error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.jobs[key] != nil || r.coming[key] != nil {
		return false
	}
	r.jobs[key] = r.launch(key, fn, true)
	return true
}

// Begin runs fn as the first job of key, or as the one that comes after a job that
// ended, while the reconciler writes that it begins: Written does not return until
// [Runner.Confirm]. It returns false, and does nothing, if the job of key has not
// ended, if one that began so was neither confirmed nor has ended, or if the Runner was stopped.
func (r *Runner[K, T]) Begin(key K, fn func(ctx context.Context, j *Job[T]) error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j := r.jobs[key]; r.closed || r.coming[key] != nil || j != nil && !j.ended() {
		return false
	}
	r.coming[key] = r.launch(key, fn, false)
	return true
}

// Confirm says that it is written that the job begins which [Runner.Begin] started: it
// takes the place of the one before it, whose end is written with it.
func (r *Runner[K, T]) Confirm(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.coming[key]
	if j == nil {
		return
	}
	delete(r.coming, key)
	r.jobs[key] = j
	j.wrote(func() { j.begun = true })
}

// Withdraw says that it is not written: the context of the job that [Runner.Begin]
// started ends with ErrWithdrawn, and what it records and comes to is forgotten.
func (r *Runner[K, T]) Withdraw(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.coming[key]
	if j == nil {
		return
	}
	j.mu.Lock()
	j.withdrawn = true
	j.mu.Unlock()
	j.cancel(ErrWithdrawn)
	if j.ended() {
		delete(r.coming, key)
	}
}

// Withdrawn reports whether a job of key that was withdrawn has not ended yet. Its
// end is told.
func (r *Runner[K, T]) Withdrawn(key K) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.coming[key] != nil
}

// launch runs fn as a job, of which begun says whether nothing has to be written
// first. r.mu is held.
func (r *Runner[K, T]) launch(key K, fn func(ctx context.Context, j *Job[T]) error, begun bool) *Job[T] {
	ctx, cancel := context.WithCancelCause(context.Background())
	j := &Job[T]{cancel: cancel, wake: func() { r.notify(key) }, gather: r.gather, written: make(chan struct{}), begun: begun}
	r.wg.Go(func() {
		err := run(ctx, j, fn)
		cancel(nil)
		r.mu.Lock()
		j.mu.Lock()
		j.done, j.err = true, err
		if j.waking != nil {
			j.waking.Stop()
		}
		if j.withdrawn {
			delete(r.coming, key)
		}
		j.mu.Unlock()
		r.mu.Unlock()
		r.notify(key)
	})
	return j
}

func (j *Job[T]) ended() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done
}

func run[T any](ctx context.Context, j *Job[T], fn func(context.Context, *Job[T]) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = failure.Panicked(p)
		}
	}()
	return fn(ctx, j)
}

// Poll returns the state of the job of key, and false if there is none.
func (r *Runner[K, T]) Poll(key K) (State[T], bool) {
	j := r.get(key)
	if j == nil {
		return State[T]{}, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	n := j.told
	if j.done {
		n = len(j.changes)
	}
	return State[T]{Done: j.done, Err: j.err, Changes: j.changes[:n:n]}, true
}

// Acknowledge drops the first n recorded changes: they are written.
func (r *Runner[K, T]) Acknowledge(key K, n int) {
	if j := r.get(key); j != nil {
		j.wrote(func() {
			j.changes = j.changes[n:]
			j.told = max(0, j.told-n)
		})
	}
}

// wrote notes what is written now, and tells those who wait for it.
func (j *Job[T]) wrote(note func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	note()
	close(j.written)
	j.written = make(chan struct{})
}

// Forget drops a job that ended, so that the next one can start.
func (r *Runner[K, T]) Forget(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j := r.jobs[key]; j != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.done {
			delete(r.jobs, key)
		}
	}
}

// Cancel ends the context of the job of key with ErrCancelled. The job is done
// only when it says so.
func (r *Runner[K, T]) Cancel(key K) {
	if j := r.get(key); j != nil {
		j.cancel(ErrCancelled)
	}
}

// Stop ends all jobs with ErrShutdown and waits for them, at most until ctx is
// done. No job starts afterwards.
func (r *Runner[K, T]) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	for _, all := range []map[K]*Job[T]{r.jobs, r.coming} {
		for _, j := range all {
			j.cancel(ErrShutdown)
		}
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() { r.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Runner[K, T]) get(key K) *Job[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[key]
}
