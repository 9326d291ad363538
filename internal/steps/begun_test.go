// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

var errWithdrawn = errors.New("withdrawn")

// withdrawn is a Recorder of a step of which it could not be written that it begins.
type withdrawn struct{ written }

func (*withdrawn) Begun(context.Context) error { return errWithdrawn }

// unwritten is a request of which it could not be written that a step begins. It has no engine, no clone and no store, which
// whoever goes on would meet.
func unwritten(step v1alpha1.StepName) *run {
	s := newRun()
	s.Step, s.rec, s.log = step, &withdrawn{}, updatelog.Lost("", nil)
	return s
}

func TestNoEffectBeforeTheIntent(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer server.Close()
	shop := project(t, "name: shop\nservices: {web: {image: web}}")
	strange := looked{look: look{containers: []docker.Container{{ID: "c1", Service: "web", State: docker.StateRunning}}}}
	for name, effect := range map[string]func() error{
		"a release is made current": func() error {
			found := looked{releases: []v1alpha1.Release{{ObjectMeta: metav1.ObjectMeta{Name: "shop-1"}}}}
			_, _, _, err := unwritten(v1alpha1.StepPreflight).baseline(t.Context(), &workspace{}, shop, found)
			return err
		},
		"what runs is recorded": func() error {
			s := unwritten(v1alpha1.StepPreflight)
			s.Application.Spec.Compose.Directory = t.TempDir()
			_, _, _, err := s.baseline(t.Context(), &workspace{}, shop, strange)
			return err
		},
		"the working tree moves": func() error { return unwritten(v1alpha1.StepRollout).moving(t.Context(), &workspace{})() },
		"a check is asked": func() error {
			s := unwritten(v1alpha1.StepVerify)
			s.Application.Spec.Verify.Checks = []v1alpha1.Check{{Name: "site", HTTP: &v1alpha1.HTTPCheck{URL: server.URL}}}
			return s.askChecks(t.Context(), "shop")
		},
		"the end of old containers is stopped": func() error {
			s := unwritten(v1alpha1.StepPreflight)
			s.endings.begin(s.application(), &ending{cancel: func() { t.Error("it was cancelled") }})
			return s.stopEndings(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := effect(); !errors.Is(err, errWithdrawn) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
	if asked > 0 {
		t.Errorf("a check was asked %d times", asked)
	}
}

// Steps that nobody has thought about wait before all else.
func TestWhoDoesNotLookFirstWaits(t *testing.T) {
	for _, step := range []v1alpha1.StepName{v1alpha1.StepBackup, v1alpha1.StepRestore, v1alpha1.StepRollback, v1alpha1.StepCleanUp} {
		s := unwritten(step)
		s.Application.Spec.Compose.Directory = t.TempDir()
		s.Request.Status.LogFile = updatelog.Path(s.Application.Spec.Compose.Directory, "20240102_030405")
		r := &Runner{Deps: Deps{Clock: clock.RealClock{}}}
		if err := r.Run(t.Context(), s.Work, s.rec); !errors.Is(err, errWithdrawn) {
			t.Errorf("%s ends with %v", step, err)
		}
	}
}

// A step that failed before that could be known is tried again: nothing is cleaned up after it.
func TestNothingIsTidiedAfterAStepThatNeverBegan(t *testing.T) {
	for name, tt := range map[string]struct {
		rec  Recorder
		want bool
	}{
		"begun":     {&written{}, true},
		"withdrawn": {&withdrawn{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newRun()
			s.Step = v1alpha1.StepBuild
			s.Application.Spec.Compose.Directory = dir
			s.Request.Status.LogFile = updatelog.Path(dir, "20240102_030405")
			s.Request.Status.StartedAt = &metav1.Time{Time: time.Now().Add(-time.Minute)}
			if err := os.MkdirAll(backup.Dir(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			c, err := claim.Alone(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(claim.MarkRestored(dir, "prod/shop", claim.Restored{Backup: "backup_1", At: time.Now()}), c.Release()); err != nil {
				t.Fatal(err)
			}
			var calls []string
			api := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
				List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
					calls = append(calls, "list releases")
					return errors.New("that is all to be seen")
				},
			})
			r := &Runner{Deps: Deps{Clock: clock.RealClock{}, Store: release.Store{Client: api}}}
			if err := r.Run(t.Context(), s.Work, tt.rec); failure.AsTerminal(err) == nil {
				t.Fatalf("it ends with %v", err)
			}
			if got := slices.Contains(calls, "list releases"); got != tt.want {
				t.Errorf("it began to clean up: %t, want %t", got, tt.want)
			}
		})
	}
}
