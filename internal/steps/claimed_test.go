// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// A step waits for a restore by hand, and does not go on after one.
func TestStepsAndRestoresKeepApart(t *testing.T) {
	dir := t.TempDir()
	began := time.Now().Add(-time.Minute).Truncate(time.Second)
	try := func(step v1alpha1.StepName, startedAt *metav1.Time) (ran bool, err error) {
		s := newRun()
		s.log, s.Step = updatelog.Lost("", nil), step
		s.Application.Spec.Compose.Directory = dir
		s.Request.Status.StartedAt = startedAt
		err = s.claimed(t.Context(), func(context.Context) error {
			ran = true
			if c, err := claim.Alone(dir); !errors.Is(err, claim.ErrBusy) {
				t.Errorf("a restore could begin during a step: %v", err)
				_ = c.Release()
			}
			return nil
		})
		return ran, err
	}
	want := func(step v1alpha1.StepName, startedAt *metav1.Time, wantRan, wantTerminal bool) {
		t.Helper()
		ran, err := try(step, startedAt)
		if ran != wantRan || (failure.AsTerminal(err) != nil) != wantTerminal || err != nil && !wantTerminal {
			t.Errorf("%s ran: %t, %v", step, ran, err)
		}
	}
	want(v1alpha1.StepBuild, &metav1.Time{Time: began}, true, false)

	c, err := claim.Alone(dir)
	if err != nil {
		t.Fatal(err)
	}
	if ran, err := try(v1alpha1.StepBuild, &metav1.Time{Time: began}); ran || !errors.Is(err, claim.ErrBusy) || failure.AsTerminal(err) != nil {
		t.Errorf("during a restore, the step ran: %t, %v; it must be tried again", ran, err)
	}
	if err := errors.Join(claim.MarkRestored(dir, "prod/shop", claim.Restored{Backup: "backup_1", At: time.Now()}), c.Release()); err != nil {
		t.Fatal(err)
	}
	want(v1alpha1.StepRollout, &metav1.Time{Time: began}, false, true)
	want(v1alpha1.StepRollback, &metav1.Time{Time: began}, false, false)
	want(v1alpha1.StepCleanUp, &metav1.Time{Time: began}, false, false)
	want(v1alpha1.StepPreflight, nil, true, false)
	want(v1alpha1.StepRollout, &metav1.Time{Time: time.Now().Add(time.Minute)}, true, false)

	s := newRun()
	s.Application.Spec.Compose.Directory = dir
	for at, want := range map[time.Time]bool{began: true, time.Now().Add(time.Minute): false} {
		r := &v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at)}}
		if got, err := s.restoredSince(r); got != want || err != nil {
			t.Errorf("a release of %v was restored over: %t, %v", at, got, err)
		}
	}
	// The restore of another application of the directory is none of this one.
	other := newRun(func(a *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		a.Name, a.Spec.Compose.Directory, ur.Status.StartedAt = "shop-staging", dir, &metav1.Time{Time: began}
	})
	went := false
	if err := other.claimed(t.Context(), func(context.Context) error { went = true; return nil }); err != nil || !went {
		t.Errorf("after the restore of another application the step ran: %t, %v", went, err)
	}
	if got, err := other.restoredSince(&v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(began)}}); got || err != nil {
		t.Errorf("the restore of another application counts: %t, %v", got, err)
	}
	// The step itself tells what is wrong with a directory that is not there.
	dir = filepath.Join(dir, "no", "such")
	ran := false
	s.Application.Spec.Compose.Directory, s.Request, s.log = dir, &v1alpha1.UpdateRequest{}, updatelog.Lost("", nil)
	if err := s.claimed(t.Context(), func(context.Context) error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("ran %t, %v", ran, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
}
