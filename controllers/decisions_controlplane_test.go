// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// decision is something that a person decides about a request while the daemon is down.
type decision string

const (
	decideCancel  decision = "cancel"
	decideDelete  decision = "delete"
	decideSuspend decision = "suspend"
	decideNewer   decision = "newer"
)

// cutOff is a request that the daemon was killed in.
type cutOff struct {
	*world
	name     string
	step     v1alpha1.StepName
	back     bool // it goes back to a release
	decision decision
	again    *gate // where the step goes on, once the decision of two newer ones is to hold
}

// What a person decides while the daemon is down holds at its next start, whichever step a request was in, and the
// requests that were made meanwhile come after it. Each request is of an application of its own.
func TestDecisionsWhileTheDaemonIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var cases []cutOff
	for _, step := range append(slices.Clone(forward), v1alpha1.StepRollback) {
		for _, d := range []decision{decideCancel, decideDelete, decideSuspend, decideNewer} {
			name := strings.ToLower(string(step)) + "-" + string(d)
			cases = append(cases, cutOff{world: w, name: name, step: step, decision: d})
			if c := (cutOff{world: w, name: "back-" + name, step: step, back: true, decision: d}); c.touching() { // before that it is as any other
				cases = append(cases, c)
			}
		}
	}
	var held []*gate
	for _, c := range cases {
		w.application(c.name)
		if c.step == v1alpha1.StepRollback {
			w.steps.on(c.name, v1alpha1.StepRollout, fails(v1alpha1.ReasonHealthCheckFailed, "web is unhealthy"))
		}
		held = append(held, w.steps.hold(c.name, c.step))
		w.request(c.name, c.ofOwn, func(ur *v1alpha1.UpdateRequest) {
			if c.back {
				goesBack(ur)
			}
		})
	}
	for _, g := range held {
		g.await(t)
	}
	w.stop()
	for i, c := range cases {
		ur := w.awaitPhase(c.name, plan.PhaseOf(c.step))
		if s := stepOf(ur, c.step); s.State != v1alpha1.StepRunning || s.Attempt != 1 {
			t.Fatalf("%s does not run by the status: %+v", c.step, ur.Status.Steps)
		}
		c.decide()
		if c.decision == decideNewer {
			// It may end before the other two are looked at: then the first of them has its turn.
			cases[i].again = w.steps.hold(c.name, c.step)
		}
	}
	w.start()
	for _, c := range cases {
		if c.decision == decideSuspend && !c.finished() {
			c.awaitMessage(c.name, `^suspended before step `)
			c.awaitMessage(c.next(), `^waits for the request `+c.name+` to end$`)
			c.patchRequest(c.name, `{"spec":{"suspend":false}}`)
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.settled(t) })
	}
}

func (c cutOff) ofOwn(ur *v1alpha1.UpdateRequest) { ur.Spec.ApplicationRef.Name = c.name }

// decide is what happens while the daemon is down: the decision, and a request that
// comes after it; two of them where that is the decision.
func (c cutOff) decide() {
	switch c.decision {
	case decideCancel:
		c.patchRequest(c.name, `{"spec":{"cancel":true}}`)
	case decideDelete:
		c.delete(c.name)
	case decideSuspend:
		c.patchRequest(c.name, `{"spec":{"suspend":true}}`)
	case decideNewer:
		c.request(c.name+"-between", c.ofOwn)
	}
	c.request(c.next(), c.ofOwn, func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "beef" })
}

func (c cutOff) next() string { return c.name + "-next" }

// finished says that the step goes on though the request is not wanted any more: what
// is verified is not thrown away, and a rollback is not stopped halfway.
func (c cutOff) finished() bool {
	return c.step == v1alpha1.StepCleanUp || c.step == v1alpha1.StepRollback
}

// touching says that the step may have changed what runs.
func (c cutOff) touching() bool {
	return c.step == v1alpha1.StepRollout || c.step == v1alpha1.StepVerify || c.step == v1alpha1.StepRollback
}

func (c cutOff) settled(t *testing.T) {
	phase, reason := c.end()
	switch c.decision {
	case decideDelete:
		c.awaitGone(c.name)
	case decideCancel:
		if !c.finished() {
			phase, reason = v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled
		}
		ur := c.awaitEnd(c.name, phase, reason)
		if s := stepOf(ur, c.step); !c.finished() && (s.State != v1alpha1.StepInterrupted || s.FinishedAt == nil) {
			t.Errorf("the step was not gone on with: %+v", s)
		}
	case decideSuspend:
		c.awaitEnd(c.name, phase, reason)
	case decideNewer:
		c.awaitEnd(c.name+"-between", v1alpha1.PhaseCancelled, v1alpha1.ReasonSuperseded)
		c.again.release()
		c.awaitEnd(c.name, phase, reason)
		if got := c.steps.runs(c.name + "-between"); len(got) != 0 {
			t.Errorf("steps of the one that was superseded ran: %v", got)
		}
	}
	unwanted := c.decision == decideCancel || c.decision == decideDelete
	c.startedOnce(t, unwanted)
	c.awaitEnd(c.next(), v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

// end is how the request ends if it goes on.
func (c cutOff) end() (v1alpha1.Phase, string) {
	if c.step == v1alpha1.StepRollback {
		return v1alpha1.PhaseRolledBack, v1alpha1.ReasonHealthCheckFailed
	}
	return v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded
}

// startedOnce looks at how often each step was started: only the one that was cut
// off more than once, and only if it had to go on.
func (c cutOff) startedOnce(t *testing.T, unwanted bool) {
	t.Helper()
	seen := map[string]int{}
	for _, s := range c.steps.runs(c.name) {
		seen[s]++
	}
	for s, n := range seen {
		want := 1
		if s == string(c.step) && (!unwanted || c.finished()) {
			want = 2
		}
		if n != want {
			t.Errorf("step %s was started %d times, want %d", s, n, want)
		}
	}
	undone := c.step == v1alpha1.StepRollback || unwanted && c.touching()
	if got := seen[string(v1alpha1.StepRollback)] > 0; got != undone {
		t.Errorf("it was undone: %v, want %v", got, undone)
	}
}
