// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// outcome is what a step of the fake does.
type outcome func(ctx context.Context, work steps.Work, rec steps.Recorder) error

// fakeSteps carries out steps as a script says; a step without a script does
// what a good one does. At every start it checks that nobody else works on the
// application, and before it does anything that the intent is in the API already.
type fakeSteps struct {
	t      *testing.T
	direct client.Client
	// looks, if set, is what a step does before it knows that it is written that it begins.
	looks func(ctx context.Context, work steps.Work)

	mu         sync.Mutex
	script     map[string][]outcome
	ran        []string          // "request/Step" in order of their starts
	busy       map[string]string // application -> request
	works      []steps.Work
	summarized map[string]v1alpha1.Phase
}

func newFakeSteps(t *testing.T, direct client.Client) *fakeSteps {
	return &fakeSteps{t: t, direct: direct, script: map[string][]outcome{}, busy: map[string]string{}, summarized: map[string]v1alpha1.Phase{}}
}

// on says what the next runs of a step of a request do, one after another.
func (f *fakeSteps) on(request string, step v1alpha1.StepName, outcomes ...outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := request + "/" + string(step)
	f.script[key] = append(f.script[key], outcomes...)
}

// runs are the steps of a request that were started, in order.
func (f *fakeSteps) runs(request string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, r := range f.ran {
		if step, ok := strings.CutPrefix(r, request+"/"); ok {
			out = append(out, step)
		}
	}
	return out
}

// order is the order in which requests had the given step started.
func (f *fakeSteps) order(step v1alpha1.StepName) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, r := range f.ran {
		if request, ok := strings.CutSuffix(r, "/"+string(step)); ok {
			out = append(out, request)
		}
	}
	return out
}

func (f *fakeSteps) count(request string, step v1alpha1.StepName) int {
	n := 0
	for _, s := range f.runs(request) {
		if s == string(step) {
			n++
		}
	}
	return n
}

// lastWork is what the last run of a request's step was given.
func (f *fakeSteps) lastWork(request string) steps.Work {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range slices.Backward(f.works) {
		if w.Request.Name == request {
			return w
		}
	}
	f.t.Fatalf("no step of %s ran", request)
	return steps.Work{}
}

func (f *fakeSteps) Run(ctx context.Context, work steps.Work, rec steps.Recorder) error {
	key := work.Request.Name + "/" + string(work.Step)
	if !work.Request.Spec.DryRun {
		defer f.alone(work.Application.Name, key)()
	}
	if f.looks != nil {
		f.looks(ctx, work)
	}
	if err := rec.Begun(ctx); err != nil {
		return &failure.Interrupted{Err: err}
	}
	f.mu.Lock()
	f.ran = append(f.ran, key)
	f.works = append(f.works, work)
	do := good
	if next := f.script[key]; len(next) > 0 {
		do, f.script[key] = next[0], next[1:]
	}
	f.mu.Unlock()
	f.checkIntent(ctx, work)
	return do(ctx, work, rec)
}

// alone makes sure that nobody else works on an application until over is called.
func (f *fakeSteps) alone(app, key string) (over func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other, ok := f.busy[app]; ok {
		f.t.Errorf("%s starts while %s works on %s", key, other, app)
	}
	f.busy[app] = key
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.busy, app)
	}
}

// checkIntent makes sure that what is about to be done was written first.
func (f *fakeSteps) checkIntent(ctx context.Context, work steps.Work) {
	var ur v1alpha1.UpdateRequest
	if err := f.direct.Get(context.WithoutCancel(ctx), client.ObjectKeyFromObject(work.Request), &ur); err != nil {
		if !apierrors.IsNotFound(err) {
			f.t.Error(err)
		}
		return
	}
	i := slices.IndexFunc(ur.Status.Steps, func(s v1alpha1.StepStatus) bool { return s.Name == work.Step })
	if i < 0 || ur.Status.Step != work.Step || ur.Status.Phase != plan.PhaseOf(work.Step) || ur.Status.Steps[i].State != v1alpha1.StepRunning {
		f.t.Errorf("step %s of %s runs, but the status says %s %s, %+v", work.Step, ur.Name, ur.Status.Phase, ur.Status.Step, ur.Status.Steps)
	}
	if work.Request.Status.LogFile == "" || work.Request.Status.ID == "" {
		f.t.Errorf("step %s of %s has no ID or log file", work.Step, ur.Name)
	}
}

func (f *fakeSteps) Summarize(request *v1alpha1.UpdateRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.summarized[request.Name] = request.Status.Phase
	return nil
}

func (f *fakeSteps) summary(request string) v1alpha1.Phase {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.summarized[request]
}

// sha makes a full SHA of a short name.
func sha(short string) string { return short + strings.Repeat("0", 40-len(short)) }

// good does what each step does when all goes well.
func good(_ context.Context, work steps.Work, rec steps.Recorder) error {
	switch work.Step {
	case v1alpha1.StepPreflight:
		commit, app := sha("fffe"), work.Application.Name
		if c := work.Request.Spec.Commit; c != "" {
			commit = sha(c)
		}
		rec.Record(func(st *v1alpha1.UpdateRequestStatus) {
			st.Commit, st.PreviousCommit, st.PreviousTree, st.PreviousRelease = commit, sha("aaaa"), sha("aaaa"), app+"-1"
			st.Checks = []v1alpha1.CheckResult{{Name: "engine", Result: "Passed"}}
		})
		rec.Record(func(st *v1alpha1.UpdateRequestStatus) {
			st.Plan = &v1alpha1.UpdatePlan{Summary: "replace web", Services: []v1alpha1.ServicePlan{{Name: "web", Action: v1alpha1.ActionReplace}}}
		})
	case v1alpha1.StepBackup:
		id := "backup_" + work.Request.Status.ID
		rec.Record(func(st *v1alpha1.UpdateRequestStatus) { st.Backup = id })
	case v1alpha1.StepVerify:
		name := work.Application.Name + "-2"
		rec.Record(func(st *v1alpha1.UpdateRequestStatus) { st.Release = name })
	case v1alpha1.StepRollback:
		rec.Record(func(st *v1alpha1.UpdateRequestStatus) {
			st.Rollback = &v1alpha1.RollbackStatus{Release: st.PreviousRelease, Message: "the application runs release " + st.PreviousRelease + " again"}
		})
	}
	return nil
}

// nothingToDo is a preflight that finds that all is as wanted.
func nothingToDo(_ context.Context, _ steps.Work, rec steps.Recorder) error {
	rec.Record(func(st *v1alpha1.UpdateRequestStatus) {
		st.Commit, st.PreviousCommit = sha("aaaa"), sha("aaaa")
		st.Plan = &v1alpha1.UpdatePlan{Services: []v1alpha1.ServicePlan{{Name: "web", Action: v1alpha1.ActionKeep}}}
	})
	return nil
}

func fails(reason, message string) outcome {
	return func(context.Context, steps.Work, steps.Recorder) error {
		return failure.Terminalf(reason, "%s", message)
	}
}

func disturbed(message string) outcome {
	return func(context.Context, steps.Work, steps.Recorder) error { return fmt.Errorf("disturbance: %s", message) }
}

func panics(context.Context, steps.Work, steps.Recorder) error { panic("out of cheese") }

// gate is a step that is held.
type gate struct {
	entered, open chan struct{}
	cause         chan error // why its context ended, if it did
}

// hold makes the next run of a step wait until release is called or its context
// ends.
func (f *fakeSteps) hold(request string, step v1alpha1.StepName) *gate {
	g := &gate{entered: make(chan struct{}), open: make(chan struct{}), cause: make(chan error, 1)}
	f.on(request, step, func(ctx context.Context, work steps.Work, rec steps.Recorder) error {
		close(g.entered)
		select {
		case <-g.open:
			return good(ctx, work, rec)
		case <-ctx.Done():
			g.cause <- context.Cause(ctx)
			return &failure.Interrupted{Err: context.Cause(ctx)}
		}
	})
	return g
}

func (g *gate) release() { close(g.open) }

func (g *gate) await(t *testing.T) {
	t.Helper()
	select {
	case <-g.entered:
	case <-t.Context().Done():
		t.Fatal("the step was not started")
	}
}

// fakeObserver sees what it is told.
type fakeObserver struct {
	mu   sync.Mutex
	seen observe.Application
	err  error
	host observe.Host
}

func (f *fakeObserver) Application(context.Context, *v1alpha1.Application) (observe.Application, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen, f.err
}

func (f *fakeObserver) Host(context.Context) (observe.Host, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.host, f.err
}

func (f *fakeObserver) Usage(context.Context) (docker.Usage, error) {
	return docker.Usage{Images: 2 << 30}, nil
}

// faultyClient lets a test stand between the controllers and the API.
type faultyClient struct {
	client.Client
	mu sync.Mutex
	// before is called before a status is written; an error refuses the write.
	// after is called after it was written; an error loses the answer.
	before, after func(o client.Object) error
	// patched is called before an object is patched, as with its finalizer; an error refuses it.
	patched func(o client.Object) error
}

func (c *faultyClient) set(before, after func(client.Object) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before, c.after = before, after
}

func (c *faultyClient) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
	c.mu.Lock()
	patched := c.patched
	c.mu.Unlock()
	if patched != nil {
		if err := patched(o); err != nil {
			return err
		}
	}
	return c.Client.Patch(ctx, o, patch, opts...)
}

func (c *faultyClient) Status() client.SubResourceWriter { return statusWriter{c.Client.Status(), c} }

type statusWriter struct {
	client.SubResourceWriter
	c *faultyClient
}

func (w statusWriter) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	w.c.mu.Lock()
	before, after := w.c.before, w.c.after
	w.c.mu.Unlock()
	if before != nil {
		if err := before(o); err != nil {
			return err
		}
	}
	if err := w.SubResourceWriter.Update(ctx, o, opts...); err != nil {
		return err
	}
	if after != nil {
		return after(o)
	}
	return nil
}
