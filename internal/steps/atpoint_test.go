// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/hooks"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// written is a Recorder that keeps what would be in the API.
type written struct {
	mu      sync.Mutex
	pending []func(*v1alpha1.UpdateRequestStatus)
	status  v1alpha1.UpdateRequestStatus
	refuse  error
}

func (w *written) Record(change func(*v1alpha1.UpdateRequestStatus)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, change)
}

func (w *written) Begun(context.Context) error { return nil }

func (w *written) Written(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return w.refuse
	}
	for _, change := range w.pending {
		change(&w.status)
	}
	w.pending = nil
	return nil
}

// state of the hook in the API.
func (w *written) state(name string) v1alpha1.HookState {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.status.Hooks {
		if h.Name == name {
			return h.State
		}
	}
	return ""
}

// hookSite is a request whose hooks call a server.
type hookSite struct {
	*run
	api *written

	lock  sync.Mutex
	names []string // of hooks that were called, in order
	fails map[string]bool
	// states in the API at the time of the calls
	states []v1alpha1.HookState
}

// called are the names of the hooks that were called since reset.
func (h *hookSite) called() []string {
	h.lock.Lock()
	defer h.lock.Unlock()
	return slices.Clone(h.names)
}

func (h *hookSite) reset() {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.names = nil
}

// fail says whether a hook is refused from now on.
func (h *hookSite) fail(name string, fails bool) {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.fails[name] = fails
}

func newHookSite(t *testing.T, list ...v1alpha1.Hook) *hookSite {
	t.Helper()
	h := &hookSite{api: &written{}, fails: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path[1:]
		h.lock.Lock()
		defer h.lock.Unlock()
		h.names = append(h.names, name)
		h.states = append(h.states, h.api.state(name))
		if h.fails[name] {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	h.run = newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		for _, hook := range list {
			if hook.Exec == nil {
				hook.HTTP = &v1alpha1.HTTPHook{URL: server.URL + "/" + hook.Name}
			}
			a.Spec.Hooks = append(a.Spec.Hooks, hook)
		}
		ur.UID = "uid-1"
		ur.Status.LogFile = filepath.Join(t.TempDir(), "update.log")
	})
	log, err := updatelog.Open(h.Request.Status.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	h.log, h.rec, h.Clock = log, h.api, clock.RealClock{}
	h.Hooks = &hooks.Runner{}
	h.Step = v1alpha1.StepBackup
	return h
}

func hook(name string, on ...v1alpha1.HookPoint) v1alpha1.Hook {
	return v1alpha1.Hook{Name: name, At: on, OnFailure: v1alpha1.HookFail}
}

func TestHooksAtAMoment(t *testing.T) {
	const before, after = v1alpha1.HookBeforeBackup, v1alpha1.HookAfterBackup
	tolerated := hook("tolerated", before)
	tolerated.OnFailure = v1alpha1.HookContinue
	h := newHookSite(t, hook("one", before), hook("other", after), tolerated, hook("two", before, after), hook("three", before))
	h.fail("tolerated", true)
	h.fail("two", true)
	err := h.hooksAt(t.Context(), before, "", "shop")
	if term := failure.AsTerminal(err); term == nil || term.Reason != v1alpha1.ReasonHookFailed || !strings.Contains(err.Error(), "the hook two at BeforeBackup was answered with HTTP 500") {
		t.Errorf("%v", err)
	}
	if want := []string{"one", "tolerated", "two"}; !slices.Equal(h.called(), want) {
		t.Errorf("called %v, want %v", h.called(), want)
	}
	for i, s := range h.states {
		if s != v1alpha1.HookRunning {
			t.Errorf("%s ran while the API said %q: no intent before the effect", h.called()[i], s)
		}
	}
	var got []string
	for _, rec := range h.api.status.Hooks {
		got = append(got, rec.Name+" "+string(rec.State))
		if rec.Attempt != 1 || rec.FinishedAt == nil {
			t.Errorf("%+v", rec)
		}
	}
	if want := []string{"one Succeeded", "tolerated Failed", "two Failed"}; !slices.Equal(got, want) {
		t.Errorf("the status has %v, want %v", got, want)
	}

	// Another attempt at the step runs what did not pass, and nothing twice.
	h.reset()
	h.fail("two", false)
	if err := h.hooksAt(t.Context(), before, "", "shop"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"two", "three"}; !slices.Equal(h.called(), want) {
		t.Errorf("called %v, want %v", h.called(), want)
	}
	h.reset()
	if err := h.hooksAt(t.Context(), after, "", "shop"); err != nil || !slices.Equal(h.called(), []string{"other", "two"}) {
		t.Errorf("%v, called %v", err, h.called())
	}
	log, err := os.ReadFile(h.Request.Status.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hook one at BeforeBackup: runs", "hook one at BeforeBackup: ran before (Succeeded)", "hook two at BeforeBackup: failed: was answered"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the log does not tell of %q:\n%s", want, log)
		}
	}
}

// A daemon that died while a hook ran does not know how it ended.
func TestInterruptedHookRunsAgain(t *testing.T) {
	h := newHookSite(t, hook("one", v1alpha1.HookBeforeBackup))
	h.Request.Status.Hooks = []v1alpha1.HookStatus{{Name: "one", At: v1alpha1.HookBeforeBackup, State: v1alpha1.HookRunning, Attempt: 1}}
	if err := h.hooksAt(t.Context(), v1alpha1.HookBeforeBackup, "", "shop"); err != nil {
		t.Fatal(err)
	}
	if len(h.called()) != 1 || len(h.api.status.Hooks) != 1 || h.api.status.Hooks[0].Attempt != 2 {
		t.Errorf("called %v, recorded %+v", h.called(), h.api.status.Hooks)
	}
	// No intent, no effect.
	h = newHookSite(t, hook("one", v1alpha1.HookBeforeBackup))
	h.api.refuse = errors.New("the API is away")
	if err := h.hooksAt(t.Context(), v1alpha1.HookBeforeBackup, "", "shop"); !errors.Is(err, h.api.refuse) || failure.AsTerminal(err) != nil || len(h.called()) > 0 {
		t.Errorf("%v, called %v", err, h.called())
	}
}

func TestHooksAroundServices(t *testing.T) {
	only := hook("only-web", v1alpha1.HookAfterService)
	only.Services = []string{"web"}
	h := newHookSite(t, hook("before", v1alpha1.HookBeforeService), hook("after", v1alpha1.HookAfterService), only)
	h.Step = v1alpha1.StepRollout
	h.Request.Status.Plan = &v1alpha1.UpdatePlan{Services: []v1alpha1.ServicePlan{{Name: "db", Wave: 1}, {Name: "web", Wave: 2}, {Name: "migrate", Wave: 2}}}
	newExecutor := func() *executor {
		e := &executor{run: h.run, project: project(t, "services: {db: {image: a}, web: {image: a}, migrate: {image: a}, kept: {image: a}}"), requestID: "uid-1"}
		for name, action := range map[string]v1alpha1.ServiceAction{
			"web": v1alpha1.ActionReplace, "db": v1alpha1.ActionCreate, "kept": v1alpha1.ActionKeep, "gone": v1alpha1.ActionRemove,
		} {
			e.in.Targets = append(e.in.Targets, plan.Target{Service: plan.Service{Name: name}, Action: action})
		}
		e.hooks.before, e.hooks.errs = map[string]*sync.Once{}, map[string]error{}
		return e
	}
	e := newExecutor()
	var all sync.WaitGroup
	for _, service := range []string{"web", "web", "web", "kept", "gone"} {
		all.Go(func() {
			if err := e.beforeService(t.Context(), plan.Action{Verb: plan.VerbCreate, Service: service}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if !slices.Equal(h.called(), []string{"before"}) {
		t.Errorf("called %v for three actions on web, and others", h.called())
	}
	h.reset()
	if err := e.afterServices(t.Context()); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, rec := range h.api.status.Hooks {
		order = append(order, rec.Name+" "+rec.Service)
	}
	if want := []string{"before web", "after db", "after web", "only-web web"}; !slices.Equal(order, want) {
		t.Errorf("ran %v, want %v", order, want)
	}

	// The request made containers of db already, so its time has passed.
	e = newExecutor()
	e.seen = map[string]docker.Container{"x": {Service: "db", Labels: map[string]string{v1alpha1.LabelRequest: "uid-1"}}}
	h.reset()
	if err := e.beforeService(t.Context(), plan.Action{Verb: plan.VerbGate, Service: "db"}); err != nil || len(h.called()) > 0 {
		t.Errorf("%v, called %v", err, h.called())
	}

	// A failure is the hook's and not the action's, for each action that waits.
	e = newExecutor()
	h.Request.Status.Hooks = nil
	h.fail("before", true)
	for range 2 {
		err := e.beforeService(t.Context(), plan.Action{Verb: plan.VerbCreate, Service: "web"})
		if broken := brokenHook(err); broken == nil || failure.AsTerminal(e.settle(t.Context(), outcome{plan.Action{Verb: plan.VerbCreate, Service: "web"}, err})).Reason != v1alpha1.ReasonHookFailed {
			t.Errorf("%v", err)
		}
	}
	// On the way back none runs.
	e.in.Undo = true
	h.reset()
	if err := errors.Join(e.beforeService(t.Context(), plan.Action{Service: "db"}), e.afterServices(t.Context())); err != nil || len(h.called()) > 0 {
		t.Errorf("%v, called %v", err, h.called())
	}
}

func TestPreflightHooks(t *testing.T) {
	tolerated := hook("tolerated", v1alpha1.HookPreflight)
	tolerated.OnFailure = v1alpha1.HookContinue
	check := func(st *v1alpha1.UpdateRequestStatus) string {
		var out []string
		for _, c := range st.Checks {
			out = append(out, c.Name+"="+c.Result)
		}
		return strings.Join(out, " ")
	}
	start := func() (*hookSite, *preflightRun) {
		h := newHookSite(t, tolerated, hook("strict", v1alpha1.HookPreflight))
		h.fail("tolerated", true)
		h.Request.Status.Checks = []v1alpha1.CheckResult{{Name: "Engine", Result: passed}}
		h.Request.Status.Plan = &v1alpha1.UpdatePlan{Services: []v1alpha1.ServicePlan{{Name: "web", Action: v1alpha1.ActionReplace}}}
		return h, &preflightRun{run: h.run, project: project(t, "services: {web: {image: a}}")}
	}
	h, p := start()
	if err := p.runHooks(t.Context()); err != nil || check(&h.Request.Status) != "Engine=Passed Hook tolerated=Warning Hook strict=Passed" {
		t.Errorf("%v, %s", err, check(&h.Request.Status))
	}
	h, p = start()
	h.fail("strict", true)
	if term := failure.AsTerminal(p.runHooks(t.Context())); term == nil || term.Reason != v1alpha1.ReasonHookFailed || !strings.HasSuffix(check(&h.Request.Status), "Hook strict=Failed") {
		t.Errorf("%v, %s", term, check(&h.Request.Status))
	}
	h, p = start()
	h.Request.Spec.DryRun = true
	if err := p.runHooks(t.Context()); err != nil || len(h.called()) > 0 || !strings.Contains(h.Request.Status.Checks[2].Message, "dry run") {
		t.Errorf("%v, called %v, %+v", err, h.called(), h.Request.Status.Checks)
	}
	h, p = start()
	h.Request.Status.Plan.Services[0].Action = v1alpha1.ActionKeep
	if err := p.runHooks(t.Context()); err != nil || len(h.called()) > 0 {
		t.Errorf("nothing is to be done: %v, called %v", err, h.called())
	}
}

func TestCheckHooks(t *testing.T) {
	exec := func(name, service string, policy v1alpha1.HookFailurePolicy) v1alpha1.Hook {
		h := hook(name, v1alpha1.HookAfterService)
		h.Exec, h.OnFailure = &v1alpha1.ExecCheck{Service: service, Command: []string{"x"}}, policy
		return h
	}
	other := hook("other", v1alpha1.HookAfterService)
	other.Services = []string{"wbe"}
	for _, tt := range []struct {
		name       string
		hooks      []v1alpha1.Hook
		containers []docker.Container
		want       string // "" passes
		warning    bool
	}{
		{name: "of the model", hooks: []v1alpha1.Hook{exec("h", "web", v1alpha1.HookFail)}},
		{name: "runs still", hooks: []v1alpha1.Hook{exec("h", "old", v1alpha1.HookFail)}, containers: []docker.Container{{Service: "old"}}},
		{name: "misspelt", hooks: []v1alpha1.Hook{exec("h", "wbe", v1alpha1.HookFail)}, want: "there is no service wbe"},
		{name: "misspelt, does not matter", hooks: []v1alpha1.Hook{exec("h", "wbe", v1alpha1.HookContinue)}, want: "there is no service wbe", warning: true},
		{name: "services misspelt", hooks: []v1alpha1.Hook{other}, want: "names the service wbe", warning: true},
	} {
		h := newHookSite(t, tt.hooks...)
		p := &preflightRun{run: h.run, project: project(t, "services: {web: {image: a}}"), containers: tt.containers}
		_, err := p.checkHooks(t.Context())
		var w warn
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || errors.As(err, &w) != tt.warning) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestPickContainer(t *testing.T) {
	old := docker.Container{ID: "old", Name: "b"}
	fresh := docker.Container{ID: "new", Name: "c", Labels: map[string]string{v1alpha1.LabelRequest: "uid-1"}}
	kept := docker.Container{ID: "kept", Name: "a"}
	for _, tt := range []struct {
		at   v1alpha1.HookPoint
		in   []docker.Container
		want string
	}{
		{v1alpha1.HookBeforeService, []docker.Container{fresh, old}, "old"},
		{v1alpha1.HookBeforeBackup, []docker.Container{old, kept}, "kept"},
		{v1alpha1.HookAfterService, []docker.Container{old, kept, fresh}, "new"},
		{v1alpha1.HookSuccess, []docker.Container{old, fresh}, "new"},
		{v1alpha1.HookFailure, []docker.Container{old}, "old"},
		{v1alpha1.HookBeforeService, []docker.Container{fresh}, "new"},
	} {
		if got := pickContainer(tt.in, tt.at, "uid-1"); got != tt.want {
			t.Errorf("at %s: %s, want %s", tt.at, got, tt.want)
		}
	}
}

// What the hooks for the end do changes nothing else, and an interruption leaves
// them for the next start.
func TestEnd(t *testing.T) {
	h := newHookSite(t, hook("bad", v1alpha1.HookFailure), hook("good", v1alpha1.HookFailure), hook("other", v1alpha1.HookSuccess))
	h.fail("bad", true)
	h.Request.Status.Phase = v1alpha1.PhaseRolledBack
	h.Request.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepPreflight}}
	r := &Runner{Deps: h.Deps}
	if err := r.End(t.Context(), h.Work, h.api); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(h.called(), []string{"bad", "good"}) || h.api.state("bad") != v1alpha1.HookFailed || h.api.state("good") != v1alpha1.HookSucceeded {
		t.Errorf("called %v, recorded %+v", h.called(), h.api.status.Hooks)
	}
	h.reset()
	if err := r.End(t.Context(), h.Work, h.api); err != nil || len(h.called()) > 0 {
		t.Errorf("a second time: %v, called %v", err, h.called())
	}
	h.Request.Status.Hooks = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.End(ctx, h.Work, h.api); !failure.IsInterrupted(err) {
		t.Errorf("an interruption is told as %v", err)
	}
}
