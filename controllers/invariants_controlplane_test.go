// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"fmt"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// timeInText finds a time of day, a date, or a duration with a fraction: what
// must not be in a condition's message, as it would change with every pass.
var timeInText = regexp.MustCompile(`\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|\d+\.\d+m?s\b`)

// invariants says what is wrong with the newest version of a request, given all
// that came before it.
func invariants(seen []v1alpha1.UpdateRequest) (problems []string) {
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	now := seen[len(seen)-1]
	st := now.Status
	if len(seen) > most {
		complain("it has %d versions: a hot loop", len(seen))
	}
	if st.Phase == "" {
		return problems // not looked at yet
	}
	types := map[string]int{}
	for _, c := range st.Conditions {
		types[c.Type]++
		if problem := checkCondition(c, now.Generation); problem != "" {
			complain("%s", problem)
		}
	}
	for _, typ := range []string{v1alpha1.ConditionSucceeded, v1alpha1.ConditionProgressing} {
		if types[typ] != 1 {
			complain("it has %d conditions %s", types[typ], typ)
		}
	}
	succeeded := conditionOf(&now, v1alpha1.ConditionSucceeded).Status
	want := metav1.ConditionUnknown
	switch {
	case st.Phase == v1alpha1.PhaseSucceeded:
		want = metav1.ConditionTrue
	case plan.Ended(st.Phase):
		want = metav1.ConditionFalse
	}
	if succeeded != want {
		complain("in phase %s Succeeded is %s", st.Phase, succeeded)
	}
	if plan.Ended(st.Phase) != (st.FinishedAt != nil) {
		complain("in phase %s finishedAt is %v", st.Phase, st.FinishedAt)
	}
	if plan.Ended(st.Phase) && st.Message == "" {
		complain("it ended without a message")
	}
	if plan.Ended(st.Phase) && conditionOf(&now, v1alpha1.ConditionProgressing).Status != metav1.ConditionFalse {
		complain("it ended and still makes progress")
	}
	running := 0
	for _, s := range st.Steps {
		if s.State == v1alpha1.StepRunning {
			running++
		}
		if ended := s.State == v1alpha1.StepSucceeded || s.State == v1alpha1.StepFailed; ended && s.FinishedAt == nil {
			complain("step %s is %s without an end", s.Name, s.State)
		}
		if s.State == v1alpha1.StepFailed && (s.Reason == "" || s.Message == "") {
			complain("step %s failed without reason or message", s.Name)
		}
	}
	if running > 1 || running > 0 && plan.Ended(st.Phase) {
		complain("%d steps run in phase %s", running, st.Phase)
	}
	if len(seen) > 1 {
		problems = append(problems, backwards(seen[len(seen)-2].Status, st)...)
	}
	return problems
}

// backwards says what of a status must not have happened after another one.
func backwards(was, is v1alpha1.UpdateRequestStatus) (problems []string) {
	if plan.Ended(was.Phase) && (is.Phase != was.Phase || is.Message != was.Message || !is.FinishedAt.Equal(was.FinishedAt)) {
		problems = append(problems, fmt.Sprintf("it went from %s to %s: it had ended", was.Phase, is.Phase))
	}
	if len(is.Steps) == 0 {
		return problems // somebody wiped it
	}
	for _, s := range was.Steps {
		for _, n := range is.Steps {
			if n.Name != s.Name {
				continue
			}
			if n.Attempt < s.Attempt {
				problems = append(problems, fmt.Sprintf("step %s went from attempt %d to %d", s.Name, s.Attempt, n.Attempt))
			}
			if s.State == v1alpha1.StepSucceeded && n.State != v1alpha1.StepSucceeded {
				problems = append(problems, fmt.Sprintf("step %s succeeded and is %s", s.Name, n.State))
			}
		}
	}
	if was.ID != "" && is.ID != was.ID || was.StartedAt != nil && !is.StartedAt.Equal(was.StartedAt) {
		problems = append(problems, "its ID or start changed")
	}
	return problems
}

func checkCondition(c metav1.Condition, generation int64) string {
	switch {
	case c.ObservedGeneration == 0 || c.ObservedGeneration > generation:
		return fmt.Sprintf("condition %s has observedGeneration %d of %d", c.Type, c.ObservedGeneration, generation)
	case timeInText.MatchString(c.Message):
		return fmt.Sprintf("condition %s has a time in its message: %s", c.Type, c.Message)
	case c.Reason == "" || c.Message == "":
		return fmt.Sprintf("condition %s has no reason or message", c.Type)
	}
	return ""
}
