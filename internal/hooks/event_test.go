// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func TestAt(t *testing.T) {
	list := []v1alpha1.Hook{
		{Name: "all", At: []v1alpha1.HookPoint{v1alpha1.HookBeforeService, v1alpha1.HookFailure}},
		{Name: "web", At: []v1alpha1.HookPoint{v1alpha1.HookBeforeService}, Services: []string{"web"}},
		{Name: "end", At: []v1alpha1.HookPoint{v1alpha1.HookSuccess}, Services: []string{"web"}},
	}
	for _, tt := range []struct {
		at      v1alpha1.HookPoint
		service string
		want    []string
	}{
		{v1alpha1.HookBeforeService, "web", []string{"all", "web"}},
		{v1alpha1.HookBeforeService, "db", []string{"all"}},
		{v1alpha1.HookAfterService, "web", nil},
		{v1alpha1.HookFailure, "", []string{"all"}},
		{v1alpha1.HookSuccess, "", []string{"end"}},
	} {
		var got []string
		for _, h := range At(list, tt.at, tt.service) {
			got = append(got, h.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("at %s of %q: %v, want %v", tt.at, tt.service, got, tt.want)
		}
	}
}

func TestDone(t *testing.T) {
	for _, tt := range []struct {
		state  v1alpha1.HookState
		at     v1alpha1.HookPoint
		policy v1alpha1.HookFailurePolicy
		want   bool
	}{
		{"", v1alpha1.HookBeforeBackup, v1alpha1.HookFail, false},
		{v1alpha1.HookRunning, v1alpha1.HookBeforeBackup, v1alpha1.HookFail, false},
		{v1alpha1.HookSucceeded, v1alpha1.HookBeforeBackup, v1alpha1.HookFail, true},
		{v1alpha1.HookSkipped, v1alpha1.HookBeforeBackup, v1alpha1.HookFail, true},
		{v1alpha1.HookFailed, v1alpha1.HookBeforeBackup, v1alpha1.HookFail, false},
		{v1alpha1.HookFailed, v1alpha1.HookBeforeBackup, v1alpha1.HookContinue, true},
		{v1alpha1.HookFailed, v1alpha1.HookFailure, v1alpha1.HookFail, true},
	} {
		var st v1alpha1.UpdateRequestStatus
		if tt.state != "" {
			st.Hooks = []v1alpha1.HookStatus{{Name: "h", At: tt.at, State: tt.state}, {Name: "other", At: tt.at, State: v1alpha1.HookSucceeded}}
		}
		h := v1alpha1.Hook{Name: "h", OnFailure: tt.policy}
		if got := Done(&st, h, tt.at, ""); got != tt.want {
			t.Errorf("%s at %s with %s: %v", tt.state, tt.at, tt.policy, got)
		}
		if Done(&st, h, tt.at, "web") {
			t.Error("what ran for none ran for web")
		}
	}
}

func TestAtEnd(t *testing.T) {
	step := []v1alpha1.StepStatus{{Name: v1alpha1.StepPreflight}}
	request := func(phase v1alpha1.Phase, reason string, steps []v1alpha1.StepStatus) *v1alpha1.UpdateRequest {
		ur := &v1alpha1.UpdateRequest{}
		ur.Status.Phase, ur.Status.Steps = phase, steps
		ur.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSucceeded, Reason: reason}}
		return ur
	}
	dry := request(v1alpha1.PhaseSucceeded, v1alpha1.ReasonDryRun, step)
	dry.Spec.DryRun = true
	for _, tt := range []struct {
		name string
		ur   *v1alpha1.UpdateRequest
		want v1alpha1.HookPoint
	}{
		{"succeeded", request(v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded, step), v1alpha1.HookSuccess},
		{"failed", request(v1alpha1.PhaseFailed, v1alpha1.ReasonPreflightFailed, step), v1alpha1.HookFailure},
		{"rolled back", request(v1alpha1.PhaseRolledBack, v1alpha1.ReasonHealthCheckFailed, step), v1alpha1.HookFailure},
		{"cancelled", request(v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled, step), v1alpha1.HookFailure},
		{"nothing to do", request(v1alpha1.PhaseSucceeded, v1alpha1.ReasonUnchanged, step), ""},
		{"never begun", request(v1alpha1.PhaseCancelled, v1alpha1.ReasonSuperseded, nil), ""},
		{"goes on", request(v1alpha1.PhaseRollingOut, v1alpha1.ReasonRunning, step), ""},
		{"dry run", dry, ""},
	} {
		at, ok := AtEnd(tt.ur)
		if ok != (tt.want != "") || ok && at != tt.want {
			t.Errorf("%s: %s, %v", tt.name, at, ok)
		}
		app := &v1alpha1.Application{}
		if DueAtEnd(app, tt.ur) {
			t.Errorf("%s: due without hooks", tt.name)
		}
		app.Spec.Hooks = []v1alpha1.Hook{{Name: "h", At: []v1alpha1.HookPoint{v1alpha1.HookSuccess, v1alpha1.HookFailure}}}
		if DueAtEnd(app, tt.ur) != ok {
			t.Errorf("%s: due is %v", tt.name, !ok)
		}
		tt.ur.Status.Hooks = []v1alpha1.HookStatus{{Name: "h", At: tt.want, State: v1alpha1.HookFailed}}
		if DueAtEnd(app, tt.ur) {
			t.Errorf("%s: runs twice", tt.name)
		}
	}
}
