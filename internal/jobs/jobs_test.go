// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

type status struct{ words []string }

// newRunner makes a Runner that tells on a channel which keys it was asked to
// look at.
func newRunner() (*Runner[string, status], chan string) {
	notes := make(chan string, 100)
	return NewRunner[string, status](func(k string) { notes <- k }), notes
}

func say(word string) func(*status) { return func(s *status) { s.words = append(s.words, word) } }

func words(changes []func(*status)) string {
	var s status
	for _, c := range changes {
		c(&s)
	}
	return strings.Join(s.words, " ")
}

func poll(t *testing.T, r *Runner[string, status], key string) State[status] {
	t.Helper()
	s, ok := r.Poll(key)
	if !ok {
		t.Fatalf("there is no job %s", key)
	}
	return s
}

func TestJobRecordsAndEnds(t *testing.T) {
	r, notes := newRunner()
	next := make(chan struct{})
	if !r.Start("a", func(_ context.Context, j *Job[status]) error {
		j.Record(say("one"))
		j.Record(say("two"))
		<-next
		j.Record(say("three"))
		<-next
		return errors.New("broken")
	}) {
		t.Fatal("not started")
	}
	<-notes // once for both, which are recorded in one go
	if s := poll(t, r, "a"); s.Done || words(s.Changes) != "one two" {
		t.Errorf("got done %t, %q", s.Done, words(s.Changes))
	}
	// A write that fails acknowledges nothing: the changes are there again.
	s := poll(t, r, "a")
	next <- struct{}{}
	<-notes
	if got := words(poll(t, r, "a").Changes); got != "one two three" {
		t.Errorf("got %q", got)
	}
	// What was recorded after the poll outlives its acknowledgement.
	r.Acknowledge("a", len(s.Changes))
	if got := words(poll(t, r, "a").Changes); got != "three" {
		t.Errorf("got %q", got)
	}
	r.Forget("a") // it runs still
	if s := poll(t, r, "a"); s.Done {
		t.Error("it is done")
	}
	next <- struct{}{}
	<-notes
	if s := poll(t, r, "a"); !s.Done || s.Err == nil || s.Err.Error() != "broken" || words(s.Changes) != "three" {
		t.Errorf("got done %t, %v, %q", s.Done, s.Err, words(s.Changes))
	}
	r.Forget("a")
	if _, ok := r.Poll("a"); ok {
		t.Error("it is not forgotten")
	}
}

func TestOneJobForAKey(t *testing.T) {
	r, notes := newRunner()
	var ran atomic.Int32
	release := make(chan struct{})
	work := func(context.Context, *Job[status]) error { ran.Add(1); <-release; return nil }
	if !r.Start("a", work) || r.Start("a", work) || !r.Start("b", work) {
		t.Error("a key has one job, and another key its own")
	}
	close(release)
	<-notes
	<-notes
	if r.Start("a", work) {
		t.Error("a job that ended and was not looked at was replaced")
	}
	r.Forget("a")
	if !r.Start("a", work) {
		t.Error("after it was forgotten no other starts")
	}
	<-notes
	if n := ran.Load(); n != 3 {
		t.Errorf("%d jobs ran", n)
	}
}

func TestPanicIsAnError(t *testing.T) {
	r, notes := newRunner()
	r.Start("a", func(context.Context, *Job[status]) error { panic("out of cheese") })
	<-notes
	err := poll(t, r, "a").Err
	p := failure.AsPanic(err)
	if p == nil || !strings.Contains(p.Stack, "jobs_test.go") {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "panic: out of cheese") || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), ".go") {
		t.Errorf("the text is not one line for people: %q", err)
	}
}

func TestCancelAndStopTellTheCause(t *testing.T) {
	r, notes := newRunner()
	wait := func(ctx context.Context, _ *Job[status]) error { <-ctx.Done(); return context.Cause(ctx) }
	r.Start("a", wait)
	r.Start("b", wait)
	r.Cancel("nobody")
	r.Cancel("a")
	if key := <-notes; key != "a" {
		t.Fatalf("%s ended", key)
	}
	if err := poll(t, r, "a").Err; !errors.Is(err, ErrCancelled) {
		t.Errorf("got %v", err)
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := poll(t, r, "b").Err; !errors.Is(err, ErrShutdown) {
		t.Errorf("got %v", err)
	}
	if r.Start("c", wait) {
		t.Error("a job started after the stop")
	}
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	r, notes := newRunner()
	release := make(chan struct{})
	r.Start("deaf", func(context.Context, *Job[status]) error { <-release; return nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	<-notes
	if err := r.Stop(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
}

// The first cause counts: a job that is cancelled and then stopped is not taken
// up again at the next start.
func TestCancelledThenStopped(t *testing.T) {
	r, notes := newRunner()
	entered, release := make(chan struct{}), make(chan struct{})
	r.Start("a", func(ctx context.Context, _ *Job[status]) error { close(entered); <-release; return context.Cause(ctx) })
	<-entered
	r.Cancel("a")
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_ = r.Stop(stopped)
	close(release)
	<-notes
	if err := poll(t, r, "a").Err; !errors.Is(err, ErrCancelled) {
		t.Errorf("got %v", err)
	}
}

func TestWritten(t *testing.T) {
	r := NewRunner[string, int](func(string) {})
	step, results := make(chan struct{}), make(chan error)
	gone, cancel := context.WithCancelCause(t.Context())
	impatient := errors.New("did not wait")
	cancel(impatient)
	r.Start("a", func(ctx context.Context, j *Job[int]) error {
		results <- j.Written(gone) // nothing is recorded
		j.Record(func(n *int) { *n++ })
		j.Record(func(n *int) { *n++ })
		results <- j.Written(gone)
		<-step
		results <- j.Written(gone) // one of two is written
		results <- j.Written(ctx)
		<-step
		j.Record(func(n *int) { *n++ })
		results <- j.Written(ctx)
		return nil
	})
	if err := <-results; err != nil {
		t.Error(err)
	}
	if err := <-results; !errors.Is(err, impatient) {
		t.Errorf("before anything is written: %v", err)
	}
	r.Acknowledge("a", 1)
	step <- struct{}{}
	if err := <-results; !errors.Is(err, impatient) {
		t.Errorf("when half is written: %v", err)
	}
	r.Acknowledge("a", 1)
	if err := <-results; err != nil {
		t.Errorf("when all is written: %v", err)
	}
	r.Cancel("a")
	step <- struct{}{}
	if err := <-results; !errors.Is(err, ErrCancelled) {
		t.Errorf("of a cancelled job: %v", err)
	}
}

// What must be written before a side effect does not wait until others join it.
func TestWrittenTellsAtOnce(t *testing.T) {
	r, notes := newRunner()
	r.gather = time.Hour
	r.Start("a", func(ctx context.Context, j *Job[status]) error {
		j.Record(say("one"))
		if err := j.Written(ctx); err != nil {
			return err
		}
		j.Record(say("two"))
		return j.Written(ctx)
	})
	for _, want := range []string{"one", "two"} {
		<-notes
		if got := words(poll(t, r, "a").Changes); got != want {
			t.Errorf("told of %q, want %q", got, want)
		}
		r.Acknowledge("a", 1)
	}
	<-notes
	if s := poll(t, r, "a"); !s.Done || s.Err != nil {
		t.Errorf("did not end well: %+v", s.Err)
	}
}

// What was told is to be had, whatever is recorded after it.
func TestOnlyWhatWasToldIsToBeHad(t *testing.T) {
	r, notes := newRunner()
	r.gather = time.Hour
	goOn := make(chan struct{})
	r.Start("a", func(ctx context.Context, j *Job[status]) error {
		j.Record(say("one"))
		<-goOn
		if err := j.Written(ctx); err != nil {
			return err
		}
		j.Record(say("three"))
		return nil
	})
	goOn <- struct{}{}
	<-notes
	j := r.get("a")
	j.Record(say("two"))
	if got := words(poll(t, r, "a").Changes); got != "one" {
		t.Errorf("before the second is told there is %q", got)
	}
	r.Acknowledge("a", 1)
	<-notes // by Written, which waits for the second one too
	if got := words(poll(t, r, "a").Changes); got != "two" {
		t.Errorf("then there is %q", got)
	}
	r.Acknowledge("a", 1)
	<-notes
	if s := poll(t, r, "a"); !s.Done || words(s.Changes) != "three" {
		t.Errorf("at the end there is %q", words(s.Changes))
	}
}

// What a job begins with goes on while that is written; what it does, not.
func TestBegunBesideTheWrite(t *testing.T) {
	r, notes := newRunner()
	r.Start("a", func(_ context.Context, j *Job[status]) error { j.Record(say("first")); return nil })
	<-notes
	looked, acts := make(chan struct{}), make(chan struct{})
	begin := func() bool {
		return r.Begin("a", func(ctx context.Context, j *Job[status]) error {
			j.Record(say("second"))
			close(looked)
			if err := j.Begun(ctx); err != nil {
				return err
			}
			close(acts)
			return j.Written(ctx)
		})
	}
	if !begin() || begin() {
		t.Fatal("one job begins after one that ended")
	}
	<-looked
	if s := poll(t, r, "a"); !s.Done || words(s.Changes) != "first" {
		t.Errorf("before it is written that another begins: done %t, %q", s.Done, words(s.Changes))
	}
	select {
	case <-acts:
		t.Error("it acts before it is written that it begins")
	default:
	}
	r.Confirm("a")
	r.Withdraw("a") // comes too late
	<-acts
	<-notes // as it waits for its change to be written
	if s := poll(t, r, "a"); s.Done || words(s.Changes) != "second" {
		t.Errorf("then: done %t, %q", s.Done, words(s.Changes))
	}
	if r.Begin("a", func(context.Context, *Job[status]) error { return nil }) {
		t.Error("another begins beside one that runs")
	}
	r.Acknowledge("a", 1)
	<-notes
	if s := poll(t, r, "a"); !s.Done || s.Err != nil || len(s.Changes) > 0 {
		t.Errorf("at the end: done %t, %v, %q", s.Done, s.Err, words(s.Changes))
	}
}

// A job of which it could not be written that it begins ends without effect, and nothing begins beside it.
func TestWithdrawn(t *testing.T) {
	r, notes := newRunner()
	looked, release := make(chan struct{}), make(chan struct{})
	cause := make(chan error, 1)
	nothing := func(context.Context, *Job[status]) error { return nil }
	r.Begin("a", func(ctx context.Context, j *Job[status]) error {
		close(looked)
		err := j.Begun(ctx)
		<-release
		cause <- err
		return err
	})
	<-looked
	if _, ok := r.Poll("a"); ok {
		t.Error("it is known as a job before that is written")
	}
	r.Withdraw("a")
	r.Confirm("nobody")
	if !r.Withdrawn("a") || r.Begin("a", nothing) || r.Start("a", nothing) {
		t.Error("another may begin before it has ended")
	}
	close(release)
	<-notes
	if err := <-cause; !errors.Is(err, ErrWithdrawn) {
		t.Errorf("it was told %v", err)
	}
	if _, ok := r.Poll("a"); ok || r.Withdrawn("a") {
		t.Error("it is remembered after its end")
	}
	r.Withdraw("a") // there is none
	// One that ended before that was known is forgotten as well.
	if !r.Begin("a", nothing) {
		t.Fatal("no other begins after its end")
	}
	<-notes
	if !r.Withdrawn("a") {
		t.Error("one that is not confirmed is forgotten")
	}
	r.Withdraw("a")
	if _, ok := r.Poll("a"); ok || r.Withdrawn("a") {
		t.Error("it counts, though it is not written that it began")
	}
}

func TestStopEndsWhatBegins(t *testing.T) {
	r, _ := newRunner()
	cause := make(chan error, 1)
	r.Begin("a", func(ctx context.Context, j *Job[status]) error {
		cause <- j.Begun(ctx)
		return nil
	})
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-cause; !errors.Is(err, ErrShutdown) {
		t.Errorf("it was told %v", err)
	}
	if r.Begin("b", func(context.Context, *Job[status]) error { return nil }) {
		t.Error("a job begins after the stop")
	}
}
