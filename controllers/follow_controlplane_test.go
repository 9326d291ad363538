// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/follow"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// fakeFollower knows of sources what the test says.
type fakeFollower struct {
	mu     sync.Mutex
	answer map[string]follow.Answer
	news   chan event.TypedGenericEvent[types.NamespacedName]
}

func newFakeFollower() *fakeFollower {
	return &fakeFollower{answer: map[string]follow.Answer{}, news: make(chan event.TypedGenericEvent[types.NamespacedName])}
}

func (f *fakeFollower) Track(app *v1alpha1.Application) (follow.Answer, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.answer[app.Name]
	a.Generation, a.Running = app.Generation, app.Status.Commit
	return a, ok
}

// Forget leaves the source as it is: an application may be looked for before it
// is in the cache.
func (f *fakeFollower) Forget(types.NamespacedName) {}

// push moves what an application follows to a commit.
func (w *world) push(app, commit string, change ...func(*follow.Answer)) {
	w.t.Helper()
	a := follow.Answer{Ref: "refs/heads/main", Commit: sha(commit), Behind: 1}
	for _, c := range change {
		c(&a)
	}
	w.follower.mu.Lock()
	w.follower.answer[app] = a
	w.follower.mu.Unlock()
	w.follower.news <- event.TypedGenericEvent[types.NamespacedName]{Object: types.NamespacedName{Namespace: w.ns, Name: app}}
}

// runs says what the observer sees: a release of a commit.
func (w *world) runs(commit string, drift ...v1alpha1.Drift) {
	current := v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Number: 1, Commit: sha(commit)}, Status: v1alpha1.ReleaseStatus{State: v1alpha1.ReleaseCurrent}}
	current.Name = "auto-1"
	w.observer.see(observe.Application{Project: "auto", Commit: sha(commit), Releases: []v1alpha1.Release{current}, Drift: drift}, nil)
}

func automatic(app *v1alpha1.Application) { app.Spec.Update.Policy = v1alpha1.UpdateAutomatic }

// all are the requests of an application that were ever seen, by name.
func (w *world) all(app string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for name, seen := range w.requests {
		if seen[0].Spec.ApplicationRef.Name == app {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) awaitMessageOf(app, commit, part string) *v1alpha1.Application {
	w.t.Helper()
	return w.awaitApp(app, "at "+commit+" with "+part, func(a *v1alpha1.Application) bool {
		u := a.Status.Update
		return u != nil && u.Commit == sha(commit) && strings.Contains(u.Message, part)
	})
}

func TestThePolicyMakesRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runs("aaaa")
	w.application("auto", automatic)
	w.push("auto", "bbbb")
	name := "auto-bbbb00000000"
	ur := w.awaitEnd(name, v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if ur.Spec.Commit != "bbbb"+strings.Repeat("0", 36) || ur.Annotations[v1alpha1.AnnotationTrigger] != v1alpha1.TriggerUpdatePolicy ||
		ur.Annotations[v1alpha1.AnnotationRequestedBy] != "fairlead" {
		t.Errorf("got %+v, %v", ur.Spec, ur.Annotations)
	}
	// The observer goes on to see the old commit, as after a rollback by a person.
	w.awaitMessageOf("auto", "bbbb", "is not asked for again by itself")
	// The request is gone, as by the limits of history, and the daemon starts anew.
	w.delete(name)
	w.awaitGone(name)
	w.stop()
	w.start()
	w.push("auto", "bbbb", func(a *follow.Answer) { a.Behind = 2 })
	w.awaitApp("auto", "looked at again", func(a *v1alpha1.Application) bool { return a.Status.Update.Behind == 2 })
	// A commit that fails is not tried again, a newer one is.
	w.steps.on("auto-cccc00000000", v1alpha1.StepBuild, fails(v1alpha1.ReasonBuildFailed, "does not compile"))
	w.push("auto", "cccc")
	w.awaitEnd("auto-cccc00000000", v1alpha1.PhaseFailed, v1alpha1.ReasonBuildFailed)
	w.awaitMessageOf("auto", "cccc", "failed in the request auto-cccc00000000")
	w.push("auto", "cccc", func(a *follow.Answer) { a.Behind = 3 })
	w.awaitApp("auto", "looked at again", func(a *v1alpha1.Application) bool { return a.Status.Update.Behind == 3 })
	w.push("auto", "dddd")
	w.awaitEnd("auto-dddd00000000", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if got := w.all("auto"); !slices.Equal(got, []string{name, "auto-cccc00000000", "auto-dddd00000000"}) {
		t.Errorf("there were %v", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.requests[name]); n > most {
		t.Errorf("%d versions of a request", n)
	}
}

func TestWhatThePolicyLeavesAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Nothing runs yet.
	w.application("auto", automatic)
	w.push("auto", "bbbb")
	w.awaitMessageOf("auto", "bbbb", "ask for the first update yourself")
	// Manual only shows.
	w.application("manual")
	w.runs("aaaa")
	w.push("manual", "bbbb")
	app := w.awaitApp("manual", "with something newer", func(a *v1alpha1.Application) bool {
		return meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionUpdateAvailable)
	})
	if u := app.Status.Update; !u.Available || u.Behind != 1 || u.Message != "" || u.CheckedAt == nil {
		t.Errorf("got %+v", u)
	}
	seen := app.Status.Update.CheckedAt
	w.push("manual", "bbbb", func(a *follow.Answer) { a.Problem, a.Reason = "away", v1alpha1.ReasonSourceUnreachable })
	app = w.awaitMessageOf("manual", "bbbb", "away")
	c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionUpdateAvailable)
	if c.Reason != v1alpha1.ReasonSourceUnreachable || !app.Status.Update.CheckedAt.Equal(seen) || !app.Status.Update.Available {
		t.Errorf("got %+v, %+v", c, app.Status.Update)
	}
	// Older than what runs.
	w.push("manual", "cccc", func(a *follow.Answer) { a.Older = true })
	w.awaitApp("manual", "with something older", func(a *v1alpha1.Application) bool {
		return a.Status.Update.Commit == sha("cccc") && !a.Status.Update.Available
	})
	if got := append(w.all("auto"), w.all("manual")...); len(got) != 0 {
		t.Errorf("there were %v", got)
	}
}

func TestTheNameOfTheRequestIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runs("aaaa")
	w.request("auto-bbbb00000000", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Suspend = true }) // of another application
	w.awaitMessage("auto-bbbb00000000", "suspended")
	w.application("auto", automatic)
	w.push("auto", "bbbb")
	w.awaitEnd("auto-"+sha("bbbb"), v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

func TestDriftIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.application("auto")
	tell := func() { w.engine <- event.TypedGenericEvent[string]{Object: "auto"} }
	drifted := func(what string, n int, status string) {
		t.Helper()
		tell()
		w.awaitApp("auto", what, func(a *v1alpha1.Application) bool {
			c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionDrifted)
			return c != nil && len(a.Status.Drift) == n && string(c.Status)+"/"+c.Reason == status
		})
	}
	drifted("without a release", 0, "Unknown/NoRelease")
	w.runs("aaaa")
	drifted("as released", 0, "False/AsReleased")
	w.runs("aaaa", v1alpha1.Drift{Service: "web", Kind: v1alpha1.DriftMissing})
	drifted("with a container gone", 1, "True/ContainersDiffer")
	g := w.steps.hold("r", v1alpha1.StepRollout)
	w.request("r", func(ur *v1alpha1.UpdateRequest) { ur.Spec.ApplicationRef.Name = "auto" })
	g.await(t)
	drifted("while a request is carried out", 0, "Unknown/Running")
	w.runs("aaaa")
	g.release()
	w.awaitEnd("r", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	drifted("mended", 0, "False/AsReleased")
	w.until("an event of the drift", func() bool { return slices.Contains(w.events["auto"], "Warning "+v1alpha1.ReasonContainersDiffer) })
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events["auto"] {
		if e == "Warning "+v1alpha1.ReasonContainersDiffer {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d events of one drift: %v", n, w.events["auto"])
	}
}

func TestWindowIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runs("aaaa")
	closed := time.Now().UTC().Add(12 * time.Hour)
	w.application("auto", automatic, func(app *v1alpha1.Application) {
		app.Spec.Update.Windows = []v1alpha1.UpdateWindow{{Start: closed.Format("15:04"), End: closed.Add(time.Hour).Format("15:04")}}
	})
	w.push("auto", "bbbb")
	w.awaitMessageOf("auto", "bbbb", "opens at "+closed.Format("2006-01-02T15:04"))
	if got := w.all("auto"); len(got) != 0 {
		t.Fatalf("there were %v", got)
	}
	// A person opens it.
	w.patch(&v1alpha1.Application{}, "auto", `{"spec":{"update":{"windows":null}}}`)
	w.awaitEnd("auto-bbbb00000000", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	var app v1alpha1.Application
	must(t, w.direct.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "auto"}, &app))
	if app.Status.Update.ObservedGeneration != app.Generation {
		t.Errorf("got generation %d of %d", app.Status.Update.ObservedGeneration, app.Generation)
	}
}
