// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// open makes and starts a gateway, tells it where traffic goes, and then lets it have its names: who asks for one
// comes at once, and is served.
func (e *executor) open(ctx context.Context, a plan.Action, b layout.Box) error {
	g := e.gw
	e.say("gateway %s: starting (%s)", a.Gateway, a.Reason)
	if err := g.keeper.Open(ctx, g.project, g.application, b); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	opened, err := g.find(ctx, a.Gateway)
	if err != nil {
		return err
	}
	e.refresh(ctx, g, opened)
	g.there[a.Gateway] = g.load(ctx, opened)
	if !g.there[a.Gateway].answers {
		return fmt.Errorf("the gateway %s does not answer", a.Gateway)
	}
	if err := e.tellGateways(ctx); err != nil {
		return err
	}
	if err := g.keeper.Name(ctx, b); err != nil {
		return err
	}
	g.there[a.Gateway].Named = true
	return nil
}

// unsyncedError says that all containers are as they are to be, but a gateway does not know all of it.
type unsyncedError struct{ error }

func (e *unsyncedError) Error() string { return "all containers are in place, but " + e.error.Error() }
func (e *unsyncedError) Unwrap() error { return e.error }

// syncGateways lets the gateways know what was found out last, such as ports, when all containers
// are as they are to be. What one of them refuses by many attempts is Terminal.
func (e *executor) syncGateways(ctx context.Context) error {
	if e.gw == nil {
		return nil
	}
	e.gw.mu.Lock()
	err := e.tellGateways(context.WithoutCancel(ctx))
	e.gw.mu.Unlock()
	if err == nil {
		return nil
	}
	err = &unsyncedError{err}
	if n := e.attemptNumber(); n >= patientAttempts && stubborn(ctx, err) {
		return failure.Terminalf(cmp.Or(hostFault(err), v1alpha1.ReasonHostConflict), "tried %d times: %w", n, err)
	}
	return err
}

// find is a gateway that was just opened.
func (g *gatewayRun) find(ctx context.Context, name string) (boxes.Box, error) {
	all, err := g.keeper.List(ctx, g.project)
	if err != nil {
		return boxes.Box{}, err
	}
	i := slices.IndexFunc(all, func(b boxes.Box) bool { return b.Name == name })
	if i < 0 {
		return boxes.Box{}, fmt.Errorf("the gateway %s is gone", name)
	}
	return all[i], nil
}
