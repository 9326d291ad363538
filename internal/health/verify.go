// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Defaults of Verify.
const (
	DefaultAttempts = 30
	DefaultInterval = 2 * time.Second
)

// Check is one question to the application.
type Check interface {
	// Name is how people know it.
	Name() string
	// Run asks once. A nil error is a pass; the error is what was answered
	// instead, in words. Run must return promptly when ctx ends.
	Run(ctx context.Context) error
}

// Result is the outcome of one run of one check.
type Result struct {
	Name string
	// Attempt counts from 1 to Attempts.
	Attempt, Attempts int
	// Err is nil for a pass.
	Err error
}

// ChecksFailed says which checks did not pass in any attempt.
type ChecksFailed struct {
	// Failures in the order of the checks, each the last answer.
	Failures []Result
}

func (e *ChecksFailed) Error() string {
	parts := make([]string, 0, len(e.Failures))
	for _, f := range e.Failures {
		parts = append(parts, fmt.Sprintf("check %q failed (attempt %d of %d): %v", f.Name, f.Attempt, f.Attempts, f.Err))
	}
	return strings.Join(parts, "; ")
}

// Verify runs the checks, all at once, and again those that failed, until each
// has passed or attempts (0: 30) are used up, with interval (0: 2 s) between the
// rounds. report, which may be nil, is told each result, one at a time. Verify
// returns *ChecksFailed, or ctx's error when ctx ends. No checks is a pass.
func Verify(ctx context.Context, checks []Check, attempts int, interval time.Duration, report func(Result)) error {
	if attempts <= 0 {
		attempts = DefaultAttempts
	}
	interval = cmp.Or(max(interval, 0), DefaultInterval)
	open := checks
	for attempt := 1; len(open) > 0; attempt++ {
		errs := runAll(ctx, open, func(i int, err error) {
			if report != nil && ctx.Err() == nil {
				report(Result{Name: open[i].Name(), Attempt: attempt, Attempts: attempts, Err: err})
			}
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var failed []Check
		var failures []Result
		for i, err := range errs {
			if err != nil {
				failed = append(failed, open[i])
				failures = append(failures, Result{Name: open[i].Name(), Attempt: attempt, Attempts: attempts, Err: err})
			}
		}
		if len(failed) > 0 && attempt == attempts {
			return &ChecksFailed{Failures: failures}
		}
		if open = failed; len(open) == 0 {
			return nil
		}
		pause := time.NewTimer(interval)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
	return nil
}

// runAll runs the checks in parallel and tells done each result as it comes.
func runAll(ctx context.Context, checks []Check, done func(i int, err error)) []error {
	errs := make([]error, len(checks))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			err := c.Run(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs[i] = err
			done(i, err)
		})
	}
	wg.Wait()
	return errs
}
