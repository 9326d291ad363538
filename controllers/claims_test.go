// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// startedSteps tells which requests had a step started.
type startedSteps chan string

func (s startedSteps) Run(_ context.Context, work steps.Work, _ steps.Recorder) error {
	s <- work.Request.Name
	return nil
}

func (startedSteps) Summarize(*v1alpha1.UpdateRequest) error { return nil }

// fakeAPI has objects, and finds requests by their application.
func fakeAPI(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.UpdateRequest{}).WithObjects(objects...).
		WithIndex(&v1alpha1.UpdateRequest{}, applicationField, func(o client.Object) []string {
			return []string{o.(*v1alpha1.UpdateRequest).Spec.ApplicationRef.Name}
		}).Build()
}

// After the daemon was restarted, the request that had begun goes on before one of
// another application begins in the same directory, whichever is looked at first.
func TestWhoBeganGoesFirstAfterARestart(t *testing.T) {
	dir := t.TempDir()
	application := func(name, dir string) *v1alpha1.Application {
		app := &v1alpha1.Application{}
		app.Namespace, app.Name, app.Spec.Compose.Directory = "ns", name, dir
		return app
	}
	of := func(app string) func(*v1alpha1.UpdateRequest) {
		return func(ur *v1alpha1.UpdateRequest) { ur.Spec.ApplicationRef.Name = app }
	}
	a, b, c, d := request("a", 1, started), request("b", 2, of("staging")), request("c", 3, of("blog")), request("d", 4, of("gone"), started)
	wet := request("e", 5, of("staging"), dryRun)
	objects := []client.Object{application("shop", dir), application("staging", dir), application("blog", t.TempDir()), &a, &b, &c, &d, &wet}
	api := fakeAPI(t, objects...)
	ran := make(startedSteps, 10)
	r := &UpdateRequestReconciler{Client: api, Direct: api, Steps: ran, Events: events.NewFakeRecorder(100)}
	r.init()
	close(r.stopped) // nobody is woken
	get := func(name string) *v1alpha1.UpdateRequest {
		t.Helper()
		var ur v1alpha1.UpdateRequest
		if err := api.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: name}, &ur); err != nil {
			t.Fatal(err)
		}
		return &ur
	}
	reconcileOne := func(name string) *v1alpha1.UpdateRequest {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: name}}); err != nil {
			t.Fatal(err)
		}
		return get(name)
	}

	if got := reconcileOne("b"); len(got.Status.Steps) > 0 || got.Status.Message != "waits for the request a to end" {
		t.Fatalf("b has the steps %v: %q", got.Status.Steps, got.Status.Message)
	}
	for _, name := range []string{"c", "e", "a"} { // another directory; a dry run; who began
		reconcileOne(name)
		if got := <-ran; got != name {
			t.Fatalf("%s runs, not %s", got, name)
		}
	}

	// The end of a is what b waits for.
	ended := get("a")
	ended.Status.Phase = v1alpha1.PhaseSucceeded
	if err := api.Status().Update(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	if next := (reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: "b"}}); !slices.Contains(r.behind(t.Context(), ended), next) {
		t.Error("nobody wakes b when a ended")
	}
	r.release(client.ObjectKeyFromObject(ended))
	reconcileOne("b")
	if got := <-ran; got != "b" {
		t.Errorf("%s runs, not b", got)
	}
}

// The cache of Applications may be behind that of requests: who changes the settings
// and then asks for an update gets one by the new ones.
func TestARequestBeginsWithTheApplicationAsItIs(t *testing.T) {
	app := func(generation int64, uid types.UID) *v1alpha1.Application {
		app := &v1alpha1.Application{}
		app.Namespace, app.Name, app.UID, app.Generation, app.Spec.Compose.Directory = "ns", "shop", uid, generation, "/opt/shop"
		return app
	}
	for name, tt := range map[string]struct {
		there  []client.Object
		change func(*v1alpha1.UpdateRequest)
		begins bool
	}{
		"the same":                 {[]client.Object{app(1, "x")}, nil, true},
		"changed meanwhile":        {[]client.Object{app(2, "x")}, nil, false},
		"another of its name":      {[]client.Object{app(1, "y")}, nil, false},
		"deleted":                  {nil, nil, false},
		"changed after it began":   {[]client.Object{app(2, "x")}, started, true},
		"changed before a dry run": {[]client.Object{app(2, "x")}, dryRun, false},
	} {
		t.Run(name, func(t *testing.T) {
			ur := request("a", 1)
			if tt.change != nil {
				tt.change(&ur)
			}
			ran := make(startedSteps, 1)
			r := &UpdateRequestReconciler{Client: fakeAPI(t, app(1, "x"), &ur), Direct: fakeAPI(t, tt.there...), Steps: ran, Events: events.NewFakeRecorder(100)}
			r.init()
			close(r.stopped) // nobody is woken
			res, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&ur)})
			if err != nil {
				t.Fatal(err)
			}
			if tt.begins {
				if got := <-ran; got != "a" {
					t.Errorf("%s runs", got)
				}
				return
			}
			if job, ok := r.jobs.Poll(client.ObjectKeyFromObject(&ur)); ok {
				t.Errorf("it has begun: %+v", job)
			}
			if res.RequeueAfter <= 0 {
				t.Error("it is not looked at again")
			}
		})
	}
}

// startedEnds tells of which requests what is left was begun.
type startedEnds chan string

func (startedEnds) Due(_ *v1alpha1.Application, request *v1alpha1.UpdateRequest) bool {
	return request.Status.CleanUpPending
}

func (s startedEnds) End(_ context.Context, work steps.Work, _ steps.Recorder) error {
	s <- work.Request.Name
	return nil
}

// After the daemon was restarted, the clean-up that a request left has to be alone in the directory, and waits while the
// daemon is being replaced.
func TestALeftCleanUpWaitsForItsTurn(t *testing.T) {
	dir := t.TempDir()
	app := &v1alpha1.Application{}
	app.Namespace, app.Name, app.Spec.Compose.Directory = "ns", "shop", dir
	left := request("a", 1, started, func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Phase, ur.Status.CleanUpPending, ur.Finalizers = v1alpha1.PhaseSucceeded, true, []string{requestFinalizer}
	})
	other := request("b", 2)
	api := fakeAPI(t, app, &left, &other)
	ended := make(startedEnds, 1)
	r := &UpdateRequestReconciler{Client: api, Direct: api, Steps: make(startedSteps, 1), AtEnd: ended, Events: events.NewFakeRecorder(100)}
	r.init()
	woken := make(chan types.NamespacedName, 10)
	r.Gate.wake = func(request types.NamespacedName) { woken <- request }
	close(r.stopped) // nobody is woken but by the gate
	key := client.ObjectKeyFromObject(&left)
	waits := func(why string) {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
			t.Fatal(err)
		}
		if job, ok := r.jobs.Poll(key); ok {
			t.Fatalf("it has begun (%+v), though %s", job, why)
		}
	}

	if _, mine := r.claim(&other, (scope{app: app}).directory(&other)); !mine {
		t.Fatal("the directory is not free")
	}
	waits("another request has the directory")
	c := r.claims[(scope{app: app}).directory(&other)]
	if !slices.Contains(c.waiting, key) {
		t.Error("nobody wakes it when that one has ended")
	}
	r.release(client.ObjectKeyFromObject(&other))
	open := r.Gate.Hold()
	waits("the daemon is being replaced")
	open()
	if got := <-woken; got != key {
		t.Errorf("%s is woken", got)
	}
	if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; got != "a" {
		t.Errorf("what %s left is done", got)
	}
	if _, free := r.claim(&other, (scope{app: app}).directory(&other)); free {
		t.Error("another request may work beside it")
	}
}

// What has ended by the time that it was verified needs no step for that: one write tells of its end and the request's.
func TestAVerifiedRequestWithNothingToWaitForSucceedsAtOnce(t *testing.T) {
	app := &v1alpha1.Application{}
	app.Namespace, app.Name, app.Spec.Compose.Directory = "ns", "shop", t.TempDir()
	ur := request("a", 1, started, func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Phase, ur.Status.Step, ur.Status.CleanUpPending, ur.Finalizers = v1alpha1.PhaseVerifying, v1alpha1.StepVerify, true, []string{requestFinalizer}
		for _, name := range []v1alpha1.StepName{v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild, v1alpha1.StepRollout, v1alpha1.StepVerify} {
			ur.Status.Steps = append(ur.Status.Steps, v1alpha1.StepStatus{Name: name, State: v1alpha1.StepSucceeded})
		}
	})
	api := fakeAPI(t, app, &ur)
	ran, ended := make(startedSteps, 1), make(startedEnds, 1)
	r := &UpdateRequestReconciler{Client: api, Direct: api, Steps: ran, AtEnd: ended, Events: events.NewFakeRecorder(100)}
	r.init()
	close(r.stopped) // nobody is woken
	key := client.ObjectKeyFromObject(&ur)
	if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; got != "a" || len(ran) > 0 {
		t.Errorf("what %s left is done, and %d steps were begun", got, len(ran))
	}
	var got v1alpha1.UpdateRequest
	if err := api.Get(t.Context(), key, &got); err != nil {
		t.Fatal(err)
	}
	last := got.Status.Steps[len(got.Status.Steps)-1]
	if last.Name != v1alpha1.StepCleanUp || last.State != v1alpha1.StepSucceeded || last.Attempt != 1 || last.StartedAt == nil || last.FinishedAt == nil {
		t.Errorf("the last step is %+v", last)
	}
	if got.Status.Phase != v1alpha1.PhaseSucceeded || !got.Status.CleanUpPending || got.Status.FinishedAt == nil {
		t.Errorf("the phase is %s, the clean-up pending %v", got.Status.Phase, got.Status.CleanUpPending)
	}
}
