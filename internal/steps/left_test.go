// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// shopOf is an application with a directory that Git knows nothing of, and an update of it behind a gateway.
func shopOf(t *testing.T, change ...func(*v1alpha1.Application, *v1alpha1.UpdateRequest)) *run {
	t.Helper()
	s := newRun(append([]func(*v1alpha1.Application, *v1alpha1.UpdateRequest){func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		a.Spec.Compose.Directory, a.Status.Project = t.TempDir(), "shop"
		ur.Namespace, ur.UID, ur.Spec.ApplicationRef.Name = a.Namespace, "uid", a.Name
		ur.Status.ID, ur.Status.Phase = "20240102_030405", v1alpha1.PhaseSucceeded
		ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepCleanUp}}
		ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Action: v1alpha1.ActionReplace, Gateway: true, Revision: "w2"}}
	}}, change...)...)
	s.Deps = Deps{
		Docker: fakeEngine(t, `[]`, `{}`), Gateways: &boxes.Keeper{}, Store: storeOf(t),
		Clock: clocktesting.NewFakePassiveClock(time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)),
	}
	s.log, s.rec, s.clones = updatelog.Lost("", nil), &written{}, &clones{}
	modelOf(t, s)
	return s
}

// ended is an ending of a request that came to err; died says that its processes have ended.
func (s *run) ended(err error, died bool) {
	e := &ending{request: s.Request.UID, cancel: func() {}, died: make(chan struct{}), done: make(chan struct{}), err: err}
	if died {
		close(e.died)
	}
	close(e.done)
	s.endings.begin(s.application(), e)
}

// What a clean-up does not do itself is said to be left, and only that.
func TestWhatIsLeft(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(s *run)
		left bool
	}{
		{"ended since Verify", func(s *run) { s.ended(nil, false) }, true},
		{"with an engine that is not through with them", func(s *run) { s.ended(nil, true) }, true},
		{"refused since Verify", func(s *run) { s.ended(errors.New("no"), false) }, false},
		{"refused for good", func(s *run) { s.ended(failure.Terminalf(v1alpha1.ReasonHostConflict, "no"), false) }, false},
		{"nothing was begun", func(*run) {}, false},
		{"nothing behind a gateway", func(s *run) {
			s.Request.Status.Services[0].Gateway = false
			s.endOld(project(t, "name: shop\nservices: {web: {image: x}}\n"), look{}, s.listReleases(t.Context(), time.Now()))
		}, false},
	} {
		s := shopOf(t)
		tt.set(s)
		journal := claim.JournalPath(s.Application.Spec.Compose.Directory, s.applicationName())
		if err := os.WriteFile(journal, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := s.cleanUp(t.Context())
		if _, gone := os.Stat(journal); tt.left && !errors.Is(gone, os.ErrNotExist) {
			t.Errorf("%s: a restore that was broken off could be gone on with: %v", tt.name, gone)
		}
		if left := s.Request.Status.CleanUpPending; left != tt.left {
			t.Errorf("%s: left %v (%v)", tt.name, left, err)
		}
		message := s.Request.Status.Steps[0].Message
		if told := strings.Contains(message, "run on beside"); told != strings.Contains(tt.name, "for good") {
			t.Errorf("%s: it is told %q", tt.name, message)
		}
		if !tt.left && err == nil && message == "" { // it has looked: Git does not know the directory
			t.Errorf("%s: nothing was cleaned up", tt.name)
		}
	}
}

// What is left is done, whatever became of the old containers, and told, whatever was told before.
func TestWhatIsLeftIsDone(t *testing.T) {
	before := leftPatience
	leftPatience = []time.Duration{0, 0}
	t.Cleanup(func() { leftPatience = before })
	for _, tt := range []struct {
		name string
		set  func(s *run)
		told []string
	}{
		{"all went well", func(s *run) { s.ended(nil, true) }, []string{"git"}},
		{"after a restart", func(*run) {}, []string{"git"}},
		{"the answer to a stop was lost", func(s *run) { s.ended(errors.New("connection reset"), true) }, []string{"git"}},
		{"an engine that refuses", func(s *run) {
			s.ended(errors.New("no"), true)
			s.Docker = fakeEngine(t, `{`, `{}`) // no list
		}, []string{"git", "run on beside", "containers"}},
		{"after a restart, while an old one runs", func(s *run) { oldOne(t, s, "running") }, []string{"git", "run on beside"}},
		{"after a restart, while an old one ends and starts again and again", func(s *run) { oldOne(t, s, "restarting") }, []string{"git", "run on beside"}},
		{"after a restart, when the old one has ended", func(s *run) { oldOne(t, s, "exited") }, []string{"git"}},
		{"a restore by hand", func(s *run) {
			held, err := claim.Alone(s.Application.Spec.Compose.Directory)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = held.Release() })
		}, []string{"in use"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := shopOf(t, func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
				ur.Status.CleanUpPending, ur.Status.Steps[0].Message = true, "something before"
			})
			tt.set(s)
			r := &Runner{Deps: s.Deps}
			r.endings.by = s.endings.by
			if !r.Due(s.Application, s.Request) {
				t.Error("nothing is due")
			}
			if err := r.End(t.Context(), s.Work, s.rec); err != nil {
				t.Errorf("it ends with %v", err)
			}
			st := &s.rec.(*written).status
			st.CleanUpPending, st.Steps = true, slices.Clone(s.Request.Status.Steps)
			st.Steps[0].Message = "something before"
			for range 2 { // a write may be done again
				again := slices.Clone(s.rec.(*written).pending)
				if err := s.rec.Written(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.rec.(*written).pending = again
			}
			if st.CleanUpPending {
				t.Error("it is still said to be left")
			}
			message := strings.ToLower(st.Steps[0].Message)
			for _, part := range append(tt.told, "something before") {
				if strings.Count(message, part) == 0 {
					t.Errorf("%q is not told: %q", part, message)
				}
			}
			if strings.Count(message, "not everything could") != 1 {
				t.Errorf("told more than once: %q", message)
			}
			if left := r.endings.take(s.application(), s.Request.UID) != nil; left {
				t.Error("the ending is kept")
			}
		})
	}
}

// A daemon that stops leaves it to the next one.
func TestWhatIsLeftIsInterrupted(t *testing.T) {
	s := shopOf(t, func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) { ur.Status.CleanUpPending = true })
	s.ended(nil, true)
	r := &Runner{Deps: s.Deps}
	r.endings.by = s.endings.by
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.End(ctx, s.Work, s.rec); !failure.IsInterrupted(err) {
		t.Errorf("it ends with %v", err)
	}
	if n := len(s.rec.(*written).pending); n > 0 {
		t.Errorf("%d changes were recorded", n)
	}
	if _, err := os.Stat(filepath.Join(s.Application.Spec.Compose.Directory, ".update", "work", "model-20240102_030405.yaml")); err != nil {
		t.Errorf("the model is gone: %v", err)
	}
}

// Nothing is due for what changes nothing, or did its clean-up itself.
func TestDue(t *testing.T) {
	r := &Runner{}
	hooked := func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
		a.Spec.Hooks = []v1alpha1.Hook{{Name: "tell", At: []v1alpha1.HookPoint{v1alpha1.HookSuccess}}}
	}
	for _, tt := range []struct {
		name   string
		change []func(*v1alpha1.Application, *v1alpha1.UpdateRequest)
		want   bool
	}{
		{"an update", nil, false},
		{"one that left something", []func(*v1alpha1.Application, *v1alpha1.UpdateRequest){
			func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) { ur.Status.CleanUpPending = true },
		}, true},
		{"one with a hook at its end", []func(*v1alpha1.Application, *v1alpha1.UpdateRequest){hooked}, true},
		{"a dry run", []func(*v1alpha1.Application, *v1alpha1.UpdateRequest){
			func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) { ur.Spec.DryRun = true }, hooked,
		}, false},
	} {
		s := shopOf(t, tt.change...)
		if got := r.Due(s.Application, s.Request); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// oldOne has an old container that cannot be ended, as the model is gone.
func oldOne(t *testing.T, s *run, state string) {
	t.Helper()
	s.Docker = fakeEngine(t, `[{"Id":"c1","State":"`+state+`","Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}}]`,
		`{"Id":"c1","Name":"/shop-web-1","State":{"Status":"`+state+`"},"Config":{"Labels":{"com.docker.compose.service":"web","fairlead.dev/revision":"w1"}},"HostConfig":{}}`)
	if err := os.Remove((&workspace{dir: s.Application.Spec.Compose.Directory}).modelPath(s.Request.Status.ID)); err != nil {
		t.Fatal(err)
	}
}
