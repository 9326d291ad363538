// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

var begin = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// fakeLooker answers what the test says, and tells of every look.
type fakeLooker struct {
	mu     sync.Mutex
	answer map[string]Answer
	err    map[string]error
	hold   chan struct{} // looks wait for it, or for the end of their context
	now    int           // looks that go on
	most   int

	looked chan string
}

func (f *fakeLooker) Look(ctx context.Context, app *v1alpha1.Application, _ Answer, busy bool) (Answer, error) {
	f.mu.Lock()
	f.now++
	f.most = max(f.most, f.now)
	a, err, hold := f.answer[app.Name], f.err[app.Name], f.hold
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	text := app.Name
	if busy {
		text += " busy"
	}
	f.looked <- text
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		}
	}
	a.Generation, a.Running = app.Generation, app.Status.Commit
	return a, err
}

func (f *fakeLooker) set(app, commit string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer[app], f.err[app] = Answer{Ref: "refs/heads/main", Commit: commit}, err
}

// bench is a follower with a clock and a looker of the test.
type bench struct {
	*Follower
	t      *testing.T
	clock  *testclock.FakeClock
	looker *fakeLooker
	woken  chan types.NamespacedName
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, clock: testclock.NewFakeClock(begin), woken: make(chan types.NamespacedName, 1000),
		looker: &fakeLooker{answer: map[string]Answer{}, err: map[string]error{}, looked: make(chan string, 1000)}}
	b.Follower = &Follower{Looker: b.looker, Clock: b.clock, Wake: func(_ context.Context, key types.NamespacedName) { b.woken <- key }}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b
}

func application(name string, change ...func(*v1alpha1.Application)) *v1alpha1.Application {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Generation: 1, UID: "u"}}
	app.Spec.Update.Interval = &metav1.Duration{Duration: 10 * time.Minute}
	for _, c := range change {
		c(app)
	}
	return app
}

func key(name string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: name} }

// within waits for something that must happen at once.
func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("not seen: %s", what)
	}
	panic("unreachable")
}

// idle waits until the follower waits for the clock, and checks that nothing was
// looked at meanwhile.
func (b *bench) idle() {
	b.t.Helper()
	for !b.clock.HasWaiters() || b.busy() {
		if b.t.Context().Err() != nil {
			b.t.Fatal("it never waits")
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the fake clock tells of no waiter by an event
	}
	select {
	case name := <-b.looker.looked:
		b.t.Fatalf("%s was looked at", name)
	default:
	}
}

func (b *bench) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.looking > 0 || len(b.kick) > 0
}

func (b *bench) due(name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[key(name)].due.Sub(b.clock.Now())
}

func (b *bench) look(want string) {
	b.t.Helper()
	if got := within(b.t, "a look at "+want, b.looker.looked); got != want {
		b.t.Fatalf("%s was looked at, want %s", got, want)
	}
}

func TestLooksAtItsInterval(t *testing.T) {
	b := newBench(t)
	b.looker.set("shop", "c1", nil)
	if _, known := b.Track(application("shop")); known {
		t.Error("an answer without a look")
	}
	b.look("shop")
	within(t, "the news", b.woken)
	if a, known := b.Track(application("shop")); !known || a.Commit != "c1" {
		t.Errorf("got %+v, %v", a, known)
	}
	b.idle()
	due := b.due("shop")
	if due < 10*time.Minute || due >= 11*time.Minute {
		t.Errorf("the next look is in %s, want 10 to 11 minutes", due)
	}
	b.clock.Step(due - time.Second)
	b.idle()
	b.clock.Step(time.Second)
	b.look("shop")
	b.idle()
	if len(b.woken) != 0 {
		t.Error("the same answer is news")
	}
	b.looker.set("shop", "c2", nil)
	b.clock.Step(11 * time.Minute)
	b.look("shop")
	within(t, "the news", b.woken)
}

func TestLooksAtOnce(t *testing.T) {
	b := newBench(t)
	b.looker.set("shop", "c1", nil)
	app := application("shop")
	b.Track(app)
	b.look("shop")
	b.idle()
	again := func(what string, change func()) {
		t.Helper()
		change()
		b.look("shop")
		b.idle()
	}
	again("the spec changed", func() { app.Generation++; b.Track(app) })
	again("another commit runs", func() { app.Status.Commit = "c0"; b.Track(app) })
	again("somebody asks", func() { app.Annotations = map[string]string{v1alpha1.AnnotationCheck: "now"}; b.Track(app) })
	if a, _ := b.Track(app); a.Check != "now" {
		t.Errorf("the question was not answered: %+v", a)
	}
	app.Status.ActiveRequest = "r"
	b.Track(app)
	b.idle()
	again("the update ended", func() { app.Status.ActiveRequest = ""; b.Track(app) })
	again("a poke", func() { b.Poke(key("shop"), "refs/heads/main", "") })
	again("a poke of anything", func() { b.Poke(key("shop"), "", "") })

	b.Poke(key("shop"), "refs/heads/other", "c9")
	b.Poke(key("shop"), "refs/heads/main", "c1") // known
	b.Poke(key("nobody"), "refs/heads/main", "c9")
	b.Track(app)
	b.idle()

	b.Forget(key("shop"))
	b.Poke(key("shop"), "", "")
	b.clock.Step(time.Hour)
	select {
	case <-b.looker.looked:
		t.Error("what is gone is looked at")
	default:
	}
}

// A server may tell of a push before it shows it.
func TestPokeBeforeThePushIsSeen(t *testing.T) {
	b := newBench(t)
	b.looker.set("shop", "c1", nil)
	b.Track(application("shop"))
	b.look("shop")
	b.idle()
	b.Poke(key("shop"), "refs/heads/main", "c2")
	b.look("shop")
	b.idle()
	if due := b.due("shop"); due != time.Second {
		t.Fatalf("the next look is in %s", due)
	}
	b.looker.set("shop", "c2", nil)
	b.clock.Step(time.Second)
	b.look("shop")
	b.idle()
	if due := b.due("shop"); due < 10*time.Minute {
		t.Errorf("it was seen, and yet the next look is in %s", due)
	}
	// It gives up at some time.
	b.Poke(key("shop"), "refs/heads/main", "c3")
	for range lagRetries {
		b.look("shop")
		b.idle()
		b.clock.Step(b.due("shop"))
	}
	b.look("shop")
	b.idle()
	if due := b.due("shop"); due < 10*time.Minute {
		t.Errorf("it does not give up: the next look is in %s", due)
	}
}

func TestBacksOff(t *testing.T) {
	b := newBench(t)
	b.looker.set("shop", "c1", nil)
	b.Track(application("shop"))
	b.look("shop")
	within(t, "the news", b.woken)
	b.looker.set("shop", "", errors.New("away"))
	for _, want := range []time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, time.Hour} {
		b.idle()
		b.clock.Step(b.due("shop"))
		b.look("shop")
		b.idle()
		if due := b.due("shop"); due < want || due > want+time.Minute {
			t.Errorf("the next look is in %s, want about %s", due, want)
		}
	}
	if n := len(b.woken); n != 1 {
		t.Errorf("%d times news of the same failure", n)
	}
	if a, _ := b.Track(application("shop")); a.Problem != "away" || a.Commit != "c1" {
		t.Errorf("got %+v: what was known stays", a)
	}
	b.looker.set("shop", "c1", nil)
	b.clock.Step(b.due("shop"))
	b.look("shop")
	b.idle()
	if a, _ := b.Track(application("shop")); a.Problem != "" {
		t.Errorf("got %+v", a)
	}
	if due := b.due("shop"); due > 11*time.Minute {
		t.Errorf("it goes on to wait: %s", due)
	}
	// Of another source nothing is known.
	b.looker.set("shop", "", errors.New("away"))
	b.Track(application("shop", func(app *v1alpha1.Application) { app.Generation = 2 }))
	b.look("shop")
	b.idle()
	if a, known := b.Track(application("shop", func(app *v1alpha1.Application) { app.Generation = 2 })); !known || a.Commit != "" {
		t.Errorf("got %+v", a)
	}
}

// Many applications are looked at by a few at a time, and not in one moment.
func TestNoHerd(t *testing.T) {
	b := newBench(t)
	const many = 200
	for i := range many {
		name := fmt.Sprintf("app%03d", i)
		b.looker.set(name, "c1", nil)
		b.Track(application(name))
	}
	for range many {
		within(t, "a look", b.looker.looked)
	}
	b.idle()
	b.looker.mu.Lock()
	if b.looker.most > defaultParallel {
		t.Errorf("%d looks at once", b.looker.most)
	}
	b.looker.mu.Unlock()
	moments := map[time.Duration]int{}
	for i := range many {
		moments[b.due(fmt.Sprintf("app%03d", i)).Truncate(time.Second)]++
	}
	for at, n := range moments {
		if n > many/10 {
			t.Errorf("%d looks in the second at %s", n, at)
		}
	}
}

// An update that begins ends a look, and the look comes after it.
func TestAnUpdateGoesFirst(t *testing.T) {
	b := newBench(t)
	b.looker.set("shop", "c1", nil)
	b.looker.hold = make(chan struct{})
	app := application("shop")
	b.Track(app)
	b.look("shop")
	app.Status.ActiveRequest = "r"
	b.Track(app)
	b.idle() // though nobody released it
	if _, known := b.Track(app); known {
		t.Error("an answer of a look that was broken off")
	}
	close(b.looker.hold)
	app.Status.ActiveRequest = ""
	b.Track(app)
	b.look("shop")
	within(t, "the news", b.woken)
}

// After a restart what is in the status counts, and the first looks fall apart.
func TestRestart(t *testing.T) {
	b := newBench(t)
	b.looker.set("shop", "c2", nil)
	app := application("shop", func(app *v1alpha1.Application) {
		app.Status.Commit = "c1"
		app.Status.Update = &v1alpha1.UpdateStatus{ObservedGeneration: 1, Ref: "refs/heads/main", Commit: "c2", Available: true, Behind: 1}
	})
	if _, known := b.Track(app); known {
		t.Error("an answer without a look")
	}
	b.idle()
	if due := b.due("shop"); due <= 0 || due > maxSpread {
		t.Errorf("the first look is in %s", due)
	}
	b.Poke(key("shop"), "refs/heads/main", "c2") // known already
	b.idle()
	b.Poke(key("shop"), "refs/heads/main", "c3")
	b.look("shop")
}

// What the status says of a newer commit is of what ran when it was written: where
// it says that there is none, the first look compares.
func TestRestartAfterGoingBack(t *testing.T) {
	for _, test := range []struct {
		name   string
		update v1alpha1.UpdateStatus
		want   string
	}{
		{"newer", v1alpha1.UpdateStatus{Available: true, Behind: 3}, "c1"},
		{"not known to be newer", v1alpha1.UpdateStatus{}, ""},
	} {
		b := newBench(t)
		app := application("shop", func(app *v1alpha1.Application) {
			app.Status.Commit = "c1"
			app.Status.Update = &test.update
			test.update.ObservedGeneration, test.update.Ref, test.update.Commit = 1, "refs/heads/main", "c2"
		})
		if answer, _ := b.Track(app); answer.Running != test.want || answer.Older || answer.Behind != test.update.Behind || answer.Commit != "c2" {
			t.Errorf("%s: the first look goes on from %+v", test.name, answer)
		}
	}
}
