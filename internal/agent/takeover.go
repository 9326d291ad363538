// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/self"
	"github.com/fairlead-dev/fairlead/internal/selfswap"
)

// firstLook bounds the look at the engine that the start waits for.
const firstLook = 5 * time.Second

// takeover tells the helper that put this daemon in the place of another one
// that it works, and holds all requests back until the swap is decided: a daemon
// that may be put away again must not begin anything.
type takeover struct {
	engine  *docker.Client
	self    *self.Finder
	release func()
}

// newTakeover looks whether a swap goes on before any request is. An engine that
// is away is no reason to wait: the steps that meet the helper wait for it too.
func newTakeover(ctx context.Context, engine *docker.Client, finder *self.Finder, gate *controllers.Gate) *takeover {
	t := &takeover{engine: engine, self: finder, release: func() {}}
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	if swaps, _, err := t.open(ctx); err == nil && len(swaps) > 0 {
		t.release = gate.Hold()
	}
	return t
}

// open are the swaps of this daemon that are not decided.
func (t *takeover) open(ctx context.Context) (swaps []selfswap.Swap, own string, err error) {
	own, err = t.self.Find(ctx)
	if err != nil || own == "" {
		return nil, own, err
	}
	all, err := selfswap.List(ctx, t.engine, nil)
	for _, s := range all {
		if s.Begun() && !s.Ended() && (s.Params.From.ID == own || s.Params.To.ID == own) {
			swaps = append(swaps, s)
		}
	}
	return swaps, own, err
}

// Start runs until the swap is decided, or ctx ends.
func (t *takeover) Start(ctx context.Context) error {
	defer t.release()
	log := logr.FromContextOrDiscard(ctx).WithName("takeover")
	ticker := time.NewTicker(sweepRetry)
	defer ticker.Stop()
	for {
		err := t.settle(ctx, log)
		if err == nil || ctx.Err() != nil {
			return nil // told to stop
		}
		log.Error(err, "the helper container that replaces this daemon cannot be reached; trying again")
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (t *takeover) settle(ctx context.Context, log logr.Logger) error {
	swaps, own, err := t.open(ctx)
	if err != nil {
		return err
	}
	for _, s := range swaps {
		if s.Params.To.ID == own {
			if err := selfswap.Confirm(ctx, t.engine, s); err != nil && !docker.IsNotFound(err) {
				return err
			}
			log.Info("took over from another container; waiting for the end of the swap", "helper", s.Name)
		}
		verdict, err := selfswap.Await(ctx, t.engine, s)
		if err != nil {
			return err
		}
		log.Info("the swap is over", "helper", s.Name, "replaced", verdict.Replaced, "reason", verdict.Reason)
	}
	return nil
}
