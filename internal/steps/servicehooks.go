// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/hooks"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// serviceHooks are the hooks around the services of a rollout. Going back runs
// none: what is gone back to had its hooks when it came.
type serviceHooks struct {
	mu     sync.Mutex
	before map[string]*sync.Once
	errs   map[string]error
}

// beforeError says that the hooks before a service did not pass, as opposed to
// the action that they came before.
type beforeError struct{ error }

func (e *beforeError) Unwrap() error { return e.error }

// brokenHook returns what an action ended with if that was a hook, or nil.
func brokenHook(err error) error {
	var b *beforeError
	if errors.As(err, &b) {
		return b.error
	}
	return nil
}

// hooked reports whether the service gets new containers and has hooks there.
func (e *executor) hooked(service string, at v1alpha1.HookPoint) bool {
	switch e.target(service).Action {
	case v1alpha1.ActionCreate, v1alpha1.ActionReplace, v1alpha1.ActionRun:
		return !e.in.Undo && len(hooks.At(e.Application.Spec.Hooks, at, service)) > 0
	}
	return false
}

// beforeService runs the hooks before the first action on a service; the others
// wait for that.
func (e *executor) beforeService(ctx context.Context, a plan.Action) error {
	if !e.hooked(a.Service, v1alpha1.HookBeforeService) {
		return nil
	}
	e.hooks.mu.Lock()
	once := e.hooks.before[a.Service]
	if once == nil {
		once = &sync.Once{}
		e.hooks.before[a.Service] = once
	}
	e.hooks.mu.Unlock()
	once.Do(func() {
		if e.begun(a.Service) {
			return
		}
		if err := e.hooksAt(ctx, v1alpha1.HookBeforeService, a.Service, e.project.Name()); err != nil {
			e.hooks.mu.Lock()
			e.hooks.errs[a.Service] = &beforeError{err}
			e.hooks.mu.Unlock()
		}
	})
	e.hooks.mu.Lock()
	defer e.hooks.mu.Unlock()
	return e.hooks.errs[a.Service]
}

// begun reports whether the request made containers of the service already: its
// hooks ran before that, or were not there yet.
func (e *executor) begun(service string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.seen {
		if c.Service == service && c.Labels[v1alpha1.LabelRequest] == e.requestID && c.State != docker.StateRemoving {
			return true
		}
	}
	return false
}

// afterServices runs, when all containers are as they are to be and clients find
// them, the hooks after each service: dependencies first.
func (e *executor) afterServices(ctx context.Context) error {
	wave := map[string]int32{}
	if p := e.Request.Status.Plan; p != nil {
		for _, s := range p.Services {
			wave[s.Name] = s.Wave
		}
	}
	targets := slices.Clone(e.in.Targets)
	slices.SortStableFunc(targets, func(a, b plan.Target) int { return cmp.Compare(wave[a.Name], wave[b.Name]) })
	for _, t := range targets {
		if !e.hooked(t.Name, v1alpha1.HookAfterService) {
			continue
		}
		if err := e.hooksAt(ctx, v1alpha1.HookAfterService, t.Name, e.project.Name()); err != nil {
			return err
		}
	}
	return nil
}
