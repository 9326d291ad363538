// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// markFault keeps that it was the host by which a container could not be started, if nothing of the container ran.
func (e *executor) markFault(o outcome) {
	fault := hostFault(o.err)
	e.mu.Lock()
	defer e.mu.Unlock()
	if fault != "" && o.action.Verb == plan.VerbStart && !e.started[o.action.Container.ID] {
		e.faults[o.action.Container.ID] = fault
	}
}

// fail keeps what the container said and ends the step.
func (e *executor) fail(ctx context.Context, c plan.Container) error {
	svc, _ := e.project.Service(c.Service)
	if c.ID == "" {
		return failure.Terminalf(v1alpha1.ReasonRolloutFailed, "the service %s: %s", c.Service, c.Failed)
	}
	lines, err := e.Docker.LogTail(ctx, c.ID, failureLogLines)
	if err != nil {
		lines = []string{fmt.Sprintf("(its log cannot be read: %v)", err)}
	}
	for i := range lines {
		lines[i] = limitTo(lines[i], maxLogLine)
		e.say("%s | %s", c.Name, lines[i])
	}
	reason := v1alpha1.ReasonHealthCheckFailed
	verb := "did not become healthy"
	if t := e.target(c.Service); t.OneShot {
		reason, verb = v1alpha1.ReasonOneShotFailed, "did not end well"
	}
	reason = cmp.Or(e.faults[c.ID], reason)
	service := c.Service
	e.record(func(st *v1alpha1.UpdateRequestStatus) { serviceOf(st, service).Log = lines })
	tail := lines[max(0, len(lines)-5):]
	message := fmt.Sprintf("the container %s of the service %s %s: %s", c.Name, c.Service, verb, c.Failed)
	if len(tail) > 0 {
		message += "; its last lines: " + strings.Join(tail, " / ")
	}
	return e.pauses(&failure.Terminal{Reason: reason, Message: message}, svc)
}
