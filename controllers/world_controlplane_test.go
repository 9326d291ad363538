// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // managers log to their tests
	os.Exit(testenv.Run(m, func(e *testenv.Env) { env = e }))
}

// patience is how long something may take that must happen.
const patience = 30 * time.Second

// most is how many versions of an object a test may make: more is a hot loop.
const most = 80

// world is one namespace with its own manager and all that happened in it.
type world struct {
	t        *testing.T
	ns       string
	scheme   *runtime.Scheme
	direct   client.WithWatch
	steps    *fakeSteps
	observer *fakeObserver
	faulty   *faultyClient
	clock    clock.PassiveClock
	end      controllers.EndRunner          // may be nil
	sender   controllers.NotificationSender // nil: nobody is told
	engine   chan event.TypedGenericEvent[string]
	also     func(ctrl.Manager) error // adds more controllers; may be nil
	follower *fakeFollower
	stop     func()

	mu       sync.Mutex
	changed  chan struct{} // closed and renewed with every event
	requests map[string][]v1alpha1.UpdateRequest
	gone     map[string]bool
	apps     map[string]v1alpha1.Application
	events   map[string][]string // by the name of the object: types and reasons
}

// newWorld makes a world whose controllers run, with an Application "shop".
func newWorld(t *testing.T, options ...func(*world)) *world {
	t.Helper()
	w := &world{
		t: t, scheme: runtime.NewScheme(), observer: &fakeObserver{}, clock: clock.RealClock{},
		engine: make(chan event.TypedGenericEvent[string]), follower: newFakeFollower(), changed: make(chan struct{}),
		requests: map[string][]v1alpha1.UpdateRequest{}, gone: map[string]bool{},
		apps: map[string]v1alpha1.Application{}, events: map[string][]string{},
	}
	w.ns = env.Namespace(t, "controllers")
	must(t, clientgoscheme.AddToScheme(w.scheme))
	must(t, v1alpha1.AddToScheme(w.scheme))
	var err error
	w.direct, err = client.NewWithWatch(env.Config, client.Options{Scheme: w.scheme})
	must(t, err)
	w.steps = newFakeSteps(t, w.direct)
	for _, o := range options {
		o(w)
	}
	w.follow(&v1alpha1.UpdateRequestList{})
	w.follow(&v1alpha1.ApplicationList{})
	w.follow(&eventsv1.EventList{})
	w.application("shop")
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a manager as the daemon does.
func (w *world) start() {
	w.t.Helper()
	mgr, err := ctrl.NewManager(env.Config, ctrl.Options{
		Scheme: w.scheme, Logger: testr.NewWithOptions(w.t, testr.Options{}), Metrics: server.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{w.ns: {}}},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	must(w.t, err)
	w.faulty = &faultyClient{Client: mgr.GetClient()}
	requests := &controllers.UpdateRequestReconciler{Client: w.faulty, Direct: w.direct, Steps: w.steps, Events: mgr.GetEventRecorder("fairlead"), Clock: w.clock, AtEnd: w.end}
	must(w.t, requests.SetupWithManager(w.t.Context(), mgr))
	apps := &controllers.ApplicationReconciler{
		Client: w.faulty, Observer: w.observer, Engine: w.engine, Clock: w.clock,
		Follower: w.follower, News: w.follower.news, Events: mgr.GetEventRecorder("fairlead"),
	}
	must(w.t, apps.SetupWithManager(mgr))
	if w.also != nil {
		must(w.t, w.also(mgr))
	}
	if w.sender != nil {
		notifier := &controllers.NotifyReconciler{
			Client: w.faulty, Direct: w.direct, Sender: w.sender, Events: mgr.GetEventRecorder("fairlead"), Clock: w.clock, FirstBackoff: 20 * time.Millisecond,
		}
		must(w.t, notifier.SetupWithManager(mgr))
	}
	policy := &controllers.FollowReconciler{Client: w.faulty, Clock: w.clock, Identity: "fairlead"}
	must(w.t, policy.SetupWithManager(mgr))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the manager: %v", err)
		}
	})
}

// follow keeps what happens to the objects of one kind, and checks each version.
func (w *world) follow(list client.ObjectList) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	watcher, err := w.direct.Watch(ctx, list, client.InNamespace(w.ns))
	must(w.t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range watcher.ResultChan() {
			if ctx.Err() == nil {
				w.see(e)
			}
		}
		if ctx.Err() == nil {
			w.t.Error("a watch of the test ended early")
		}
	}()
	w.t.Cleanup(func() { cancel(); watcher.Stop(); <-done })
}

func (w *world) see(e watch.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch o := e.Object.(type) {
	case *v1alpha1.UpdateRequest:
		if e.Type == watch.Deleted {
			w.gone[o.Name] = true
			break
		}
		seen := slices.Concat(w.requests[o.Name], []v1alpha1.UpdateRequest{*o})
		for _, problem := range invariants(seen) {
			w.t.Errorf("%s, version %d: %s\n%s", o.Name, len(seen), problem, story(seen))
		}
		w.requests[o.Name] = seen
	case *v1alpha1.Application:
		if e.Type == watch.Deleted {
			delete(w.apps, o.Name)
			break
		}
		for _, c := range o.Status.Conditions {
			if problem := checkCondition(c, o.Generation); problem != "" {
				w.t.Errorf("Application %s: %s", o.Name, problem)
			}
		}
		w.apps[o.Name] = *o
	case *eventsv1.Event:
		if e.Type == watch.Added {
			w.events[o.Regarding.Name] = append(w.events[o.Regarding.Name], o.Type+" "+o.Reason)
		}
	default:
		w.t.Errorf("the watch tells %v", e)
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// until waits for something to become true of what was seen.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		yes, changed := ok(), w.changed
		w.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			w.mu.Lock()
			defer w.mu.Unlock()
			stories := ""
			for _, seen := range w.requests {
				stories += story(seen)
			}
			w.t.Fatalf("not seen in %s: %s\n%s", patience, what, stories)
		}
	}
}

// await waits until a request is as asked, and returns it.
func (w *world) await(name, what string, ok func(*v1alpha1.UpdateRequest) bool) *v1alpha1.UpdateRequest {
	w.t.Helper()
	var found *v1alpha1.UpdateRequest
	w.until(name+" "+what, func() bool {
		if seen := w.requests[name]; len(seen) > 0 && ok(&seen[len(seen)-1]) {
			found = seen[len(seen)-1].DeepCopy()
			return true
		}
		return false
	})
	return found
}

func (w *world) awaitPhase(name string, p v1alpha1.Phase) *v1alpha1.UpdateRequest {
	w.t.Helper()
	return w.await(name, "in phase "+string(p), func(ur *v1alpha1.UpdateRequest) bool { return ur.Status.Phase == p })
}

// awaitEnd waits until a request ended and its finalizer is gone.
func (w *world) awaitEnd(name string, want v1alpha1.Phase, reason string) *v1alpha1.UpdateRequest {
	w.t.Helper()
	ur := w.await(name, "ended", func(ur *v1alpha1.UpdateRequest) bool {
		return plan.Ended(ur.Status.Phase) && len(ur.Finalizers) == 0
	})
	c := conditionOf(ur, v1alpha1.ConditionSucceeded)
	if ur.Status.Phase != want || c.Reason != reason {
		w.t.Fatalf("%s ended as %s (%s: %s), want %s (%s)", name, ur.Status.Phase, c.Reason, c.Message, want, reason)
	}
	return ur
}

func (w *world) awaitMessage(name, pattern string) *v1alpha1.UpdateRequest {
	w.t.Helper()
	re := regexp.MustCompile(pattern)
	return w.await(name, "with a message like "+pattern, func(ur *v1alpha1.UpdateRequest) bool { return re.MatchString(ur.Status.Message) })
}

func (w *world) awaitGone(name string) {
	w.t.Helper()
	w.until(name+" gone", func() bool { return w.gone[name] })
}

func (w *world) awaitApp(name, what string, ok func(*v1alpha1.Application) bool) *v1alpha1.Application {
	w.t.Helper()
	var found v1alpha1.Application
	w.until("Application "+name+" "+what, func() bool {
		app, have := w.apps[name]
		found = app
		return have && ok(&app)
	})
	return &found
}

// phases are the phases a request went through.
func (w *world) phases(name string) []v1alpha1.Phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []v1alpha1.Phase
	for _, ur := range w.requests[name] {
		if p := ur.Status.Phase; p != "" {
			out = append(out, p)
		}
	}
	return slices.Compact(out)
}

func (w *world) application(name string, change ...func(*v1alpha1.Application)) *v1alpha1.Application {
	w.t.Helper()
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}}
	app.Spec.Compose.Directory = "/opt/" + name
	for _, c := range change {
		c(app)
	}
	must(w.t, w.direct.Create(w.t.Context(), app))
	return app
}

// request creates an UpdateRequest for "shop" to the commit "c0de".
func (w *world) request(name string, change ...func(*v1alpha1.UpdateRequest)) {
	w.t.Helper()
	must(w.t, w.direct.Create(w.t.Context(), w.newRequest(name, change...)))
}

func (w *world) newRequest(name string, change ...func(*v1alpha1.UpdateRequest)) *v1alpha1.UpdateRequest {
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}}
	ur.Spec.ApplicationRef.Name, ur.Spec.Commit = "shop", "c0de"
	for _, c := range change {
		c(ur)
	}
	return ur
}

// patch merges JSON into a request or another object.
func (w *world) patch(o client.Object, name, json string) {
	w.t.Helper()
	o.SetNamespace(w.ns)
	o.SetName(name)
	must(w.t, w.direct.Patch(w.t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(json))))
}

func (w *world) patchRequest(name, json string) {
	w.t.Helper()
	w.patch(&v1alpha1.UpdateRequest{}, name, json)
}

func (w *world) delete(name string) {
	w.t.Helper()
	must(w.t, w.direct.Delete(w.t.Context(), w.newRequest(name)))
}

func conditionOf(ur *v1alpha1.UpdateRequest, typ string) metav1.Condition {
	for _, c := range ur.Status.Conditions {
		if c.Type == typ {
			return c
		}
	}
	return metav1.Condition{}
}

func stepOf(ur *v1alpha1.UpdateRequest, name v1alpha1.StepName) v1alpha1.StepStatus {
	for _, s := range ur.Status.Steps {
		if s.Name == name {
			return s
		}
	}
	return v1alpha1.StepStatus{}
}

// story tells what was seen of a request.
func story(seen []v1alpha1.UpdateRequest) string {
	out := ""
	for _, ur := range seen {
		out += fmt.Sprintf("  %s v%s g%d %s: %s", ur.Name, ur.ResourceVersion, ur.Generation, ur.Status.Phase, ur.Status.Message)
		for _, s := range ur.Status.Steps {
			out += fmt.Sprintf(" [%s %s %d %s]", s.Name, s.State, s.Attempt, s.Reason)
		}
		out += "\n"
	}
	return out
}

var errRefused = errors.New("refused by the test")
