// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/source"
)

func inAttempt(step v1alpha1.StepName, n int32) *run {
	s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		ur.Status.Steps = []v1alpha1.StepStatus{{Name: step, Attempt: n}}
	})
	s.Step = step
	return s
}

// A working tree that cannot follow, again and again, has the update undone. What goes
// away by waiting is waited for.
func TestTreeCannotFollow(t *testing.T) {
	const commit = "0123456789abcdef"
	for _, tt := range []struct {
		attempt int32
		err     error
		want    string // the reason that it ends for, "" for another attempt
	}{
		{1, errors.New("permission denied"), ""},
		{patientAttempts, errors.New("permission denied"), v1alpha1.ReasonHostConflict},
		{patientAttempts, errors.New("write config: no space left on device"), v1alpha1.ReasonNoSpace},
		{patientAttempts, fmt.Errorf("move: %w", source.ErrLocked), ""},
		{patientAttempts, fmt.Errorf("move: %w", source.ErrUnreachable), ""},
		{1, &source.LocalEditsError{Dir: "/opt/shop", Paths: []string{"a"}}, v1alpha1.ReasonLocalEdits},
	} {
		got := inAttempt(v1alpha1.StepRollout, tt.attempt).unmoved(commit, tt.err)
		reason := ""
		if terminal := failure.AsTerminal(got); terminal != nil {
			reason = terminal.Reason
		}
		if reason != tt.want || !errors.Is(got, tt.err) {
			t.Errorf("attempt %d, %v: got %v for the reason %q, want %q", tt.attempt, tt.err, got, reason, tt.want)
		}
	}
}

// On the way back the containers wait for a tree that may follow at the next attempt, but
// not for long, and not for a person.
func TestContainersWaitForTheTree(t *testing.T) {
	for _, tt := range []struct {
		attempt int32
		err     error
		want    bool
	}{
		{1, nil, false},
		{1, errors.New("fork: cannot allocate memory"), true},
		{treeAttempts, errors.New("fork: cannot allocate memory"), false},
		{1, source.ErrLocked, false},
		{1, source.ErrUnreachable, false},
		{1, &source.LocalEditsError{}, false},
	} {
		if got := inAttempt(v1alpha1.StepRollback, tt.attempt).treeMayFollow(tt.err); got != tt.want {
			t.Errorf("attempt %d, %v: got %v", tt.attempt, tt.err, got)
		}
	}
}

// Old containers with the files of the new commit are not what ran before.
func TestBackWithoutTheTree(t *testing.T) {
	s := newRun()
	result := s.rollbackStatus(shopOne(), errors.New("permission denied"))
	got := failure.AsTerminal(broughtBack(result, errors.New("permission denied")))
	if got == nil || got.Reason != v1alpha1.ReasonRollbackFailed || !strings.Contains(got.Message, "runs release shop-1") || !strings.Contains(got.Message, "permission denied") {
		t.Errorf("got %+v", got)
	}
	if err := broughtBack(result, nil); err != nil {
		t.Errorf("with the tree: %v", err)
	}
}

// Containers mount files of the working tree: none is touched before that stands, and none if it cannot.
func TestNothingIsTouchedBeforeTheTreeStands(t *testing.T) {
	for _, stays := range []bool{false, true} {
		b := &brokenEngine{heals: 1}
		e := b.executor(t, false)
		stands := false
		e.first = func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.stops > 0 && !stands {
				t.Error("a container was stopped before the tree stood")
			}
			if stays {
				return errors.New("a file is in the way")
			}
			stands = true
			return nil
		}
		err := e.loop(t.Context())
		if (err != nil) != stays || stands == stays {
			t.Errorf("it stays: %v; the loop ends with %v", stays, err)
		}
		if stopped := b.stops > 0; stopped == stays {
			t.Errorf("it stays: %v; stopped: %v", stays, stopped)
		}
	}
}
