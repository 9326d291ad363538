// SPDX-License-Identifier: Apache-2.0

package selfswap

import (
	"context"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

const (
	// awaitRestarts is how often a helper that ended without a verdict is started
	// again.
	awaitRestarts = 3
	// awaitPause is the pause before another look, where the engine tells nothing.
	awaitPause = 250 * time.Millisecond
)

// Await waits until a helper that was begun has ended, and returns its verdict.
// One that ended without is started again: the engine was restarted, or somebody
// stopped it, in the middle of the swap. It outlasts an engine that is away and
// returns an error only when ctx ends or the engine refuses to answer.
func Await(ctx context.Context, engine *docker.Client, s Swap) (Verdict, error) {
	for restarts := 0; ; {
		c, err := engine.WaitExit(ctx, s.ID)
		switch {
		case ctx.Err() != nil:
			return Verdict{}, context.Cause(ctx)
		case docker.IsNotFound(err):
			return Verdict{Reason: "the helper container " + s.Name + " was removed before it told how the swap ended"}, nil
		case docker.IsUnavailable(err):
		case err != nil:
			return Verdict{}, err
		case up(c): // restarted by the engine
		default:
			if err := read(ctx, engine, s.ID, &s); err != nil && !docker.IsNotFound(err) && !docker.IsUnavailable(err) {
				return Verdict{}, err
			}
			if s.Ended() {
				return *s.State.Verdict, nil
			}
			if restarts == awaitRestarts {
				return Verdict{Reason: "the helper container " + s.Name + " ended again and again before the swap was over; its log says why"}, nil
			}
			restarts++
			if err := engine.Start(ctx, s.ID); err != nil && !docker.IsUnavailable(err) && !docker.IsNotFound(err) {
				return Verdict{Reason: "the helper container could not be started again: " + err.Error()}, nil
			}
		}
		select {
		case <-time.After(awaitPause):
		case <-ctx.Done():
			return Verdict{}, context.Cause(ctx)
		}
	}
}
