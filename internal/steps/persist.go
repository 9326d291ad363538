// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// patience is how long an action waits before each time that it is tried again,
// when the engine answers with an error: about half a minute in all. An engine that
// does not answer is waited for without end.
var patience = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}

// patientAttempts is the attempt at a step, a minute and a half after the first, from
// which on an error of a gateway counts as one that stays. Each attempt looks at the
// gateways anew, and makes those anew that do not answer.
const patientAttempts = 8

// refusedError says that an action met an error every time that it was tried.
type refusedError struct {
	what  string
	times int
	err   error
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("%s: tried %d times: %v", e.what, e.times, e.err)
}

// Unwrap returns what it met the last time.
func (e *refusedError) Unwrap() error { return e.err }

// persist carries out an action, and tries it again for a while if it only ends a
// container: that cannot fail by what is rolled out, and needs no other look.
func (e *executor) persist(ctx context.Context, a plan.Action) error {
	err := e.attempt(ctx, a)
	switch a.Verb {
	case plan.VerbRetire, plan.VerbRemove:
	default:
		return err
	}
	for i, pause := range e.patience {
		if !stubborn(ctx, err) {
			return err
		}
		e.say("%s: is tried again in %s (%d of %d): %v", describe(a), pause, i+1, len(e.patience), err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		err = e.attempt(ctx, a)
	}
	if !stubborn(ctx, err) {
		return err
	}
	return &refusedError{describe(a), len(e.patience) + 1, err}
}

// stubborn reports whether err is an answer that may be the same for ever; one that
// something is gone has the plan look again.
func stubborn(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !docker.IsUnavailable(err) && !docker.IsNotFound(err) &&
		brokenHook(err) == nil && failure.AsTerminal(err) == nil && failure.AsPanic(err) == nil
}

func describe(a plan.Action) string {
	return strings.ToLower(string(a.Verb)) + " " + cmp.Or(a.Container.Name, a.Gateway, a.Service)
}

// refuse ends the way forward on an action that is refused for good, so that it is
// undone; on the way back the others go on, and it is told at the end.
func (e *executor) refuse(a plan.Action, err *refusedError) error {
	if !e.in.Undo {
		return failure.Terminalf(blame(a, err), "%w", err)
	}
	e.say("%v: the others go on", err)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusals = append(e.refusals, err)
	e.refusedKeys = append(e.refusedKeys, a.Key())
	return nil
}

// blame is the reason for an action that stayed refused. Only containers that the request
// made are what its commit says; gateways, and the end of old containers, are the host's.
func blame(a plan.Action, err error) string {
	switch {
	case hostFault(err) != "":
		return hostFault(err)
	case !a.Container.Mine:
		return v1alpha1.ReasonHostConflict
	}
	return v1alpha1.ReasonRolloutFailed
}

// hopeless reports whether an action was refused for good.
func (e *executor) hopeless(a plan.Action) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.refusedKeys, a.Key())
}

// unfinished says what stayed undone, when nothing but that is left to do.
func (e *executor) unfinished() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return failure.Terminalf(v1alpha1.ReasonRolloutFailed, "%w", errors.Join(e.refusals...))
}

// unopenable decides on a gateway that could not be opened. Forward it is tried by many
// attempts, unless something else has its port; going back, all others come first.
func (e *executor) unopenable(ctx context.Context, o outcome) error {
	what := &refusedError{describe(o.action), e.attemptNumber(), o.err}
	switch {
	case e.in.Undo:
		e.say("%s: the others go on without it: %v", describe(o.action), o.err)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.closed == nil {
			e.closed = map[string]error{}
		}
		e.closed[o.action.Gateway] = what
		return nil
	case hostFault(o.err) == v1alpha1.ReasonHostConflict, what.times >= patientAttempts && stubborn(ctx, o.err):
		return e.refuse(o.action, what)
	}
	return fmt.Errorf("%s: %w", describe(o.action), o.err)
}

// unopened says, when all others are back, which gateways could not be opened. Another
// attempt tries them again; after many of them it is Terminal.
func (e *executor) unopened() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.closed) == 0 {
		return nil
	}
	var all []error
	for _, name := range slices.Sorted(maps.Keys(e.closed)) {
		all = append(all, e.closed[name])
	}
	err := errors.Join(all...)
	if e.attemptNumber() >= patientAttempts {
		return failure.Terminalf(v1alpha1.ReasonRolloutFailed, "%w", err)
	}
	return err
}

// attemptNumber is how often the step was begun.
func (s *run) attemptNumber() int {
	for _, st := range s.Request.Status.Steps {
		if st.Name == s.Step {
			return int(st.Attempt)
		}
	}
	return 1
}

// refused reports whether a start failed before the container ran: after that
// its post_start has failed. What runs once is never begun a second time.
func (e *executor) refused(a plan.Action) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.started[a.Container.ID] && !e.target(a.Service).OneShot
}

// startAgain has a container started once more, that the engine did not start as
// it went down, or left behind when it was restarted; that is borne once.
func (e *executor) startAgain(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lapsed[id] {
		return false
	}
	e.lapsed[id] = true
	delete(e.started, id)
	return true
}

// giveUp lets the others be brought back without a service.
func (e *executor) giveUp(service string, err error) {
	e.say("%s: cannot be brought back: %v", service, err)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken[service] = err.Error()
}
