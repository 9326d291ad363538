// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
)

// answer is what a check came to.
type answer struct {
	note string
	err  error
}

// askAll asks all checks, each as soon as those that it needs have answered,
// and returns the answers in the order of the checks. The first disturbance
// ends the others and is returned instead.
func askAll(ctx context.Context, checks []check) ([]answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make([]answer, len(checks))
	answered := make(map[string]chan struct{}, len(checks))
	for _, c := range checks {
		answered[c.name] = make(chan struct{})
	}
	var mu sync.Mutex
	var first error
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			defer close(answered[c.name])
			for _, name := range c.after {
				<-answered[name]
			}
			if ctx.Err() != nil {
				return
			}
			note, err := c.guarded(ctx)
			answers[i] = answer{note, err}
			var disturbed trouble
			if errors.As(err, &disturbed) || docker.IsUnavailable(err) || failure.AsPanic(err) != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil && ctx.Err() == nil {
					first = fmt.Errorf("check %s: %w", c.name, err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	return answers, first
}

// guarded asks, and makes a panic a disturbance: it must not end the daemon.
func (c check) guarded(ctx context.Context) (note string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = trouble{failure.Panicked(p)}
		}
	}()
	return c.ask(ctx)
}
