// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// A process whose successor has taken over goes on with what it has. It is reached by the link to its socket, so that
// it goes by the state that the successor is told, and what it has with targets is not forgotten.

const (
	previousPattern = "previous-*.sock"
	// previousTimeout is how long one may take for an answer; it is not waited for longer.
	previousTimeout = time.Second
)

// previousPath is the link to this process's socket.
func (g *Gateway) previousPath() string {
	return filepath.Join(g.dir, fmt.Sprintf("previous-%d.sock", os.Getpid()))
}

// stayReachable links the socket, whose name a successor takes.
func (g *Gateway) stayReachable() error {
	if err := os.Remove(g.previousPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(filepath.Join(g.dir, gatewayapi.SocketName), g.previousPath())
}

// Follow applies a state that the successor was told to what is still under way. One that is older
// than what is known changes nothing.
func (g *Gateway) Follow(state *gatewayapi.DesiredState) error {
	if err := state.Validate(); err != nil {
		return fmt.Errorf("%w: %w", gatewayapi.ErrInvalid, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		return fmt.Errorf("%w: this gateway has no successor", gatewayapi.ErrInvalid)
	}
	if g.state != nil && state.Revision <= g.state.Revision {
		return nil
	}
	for _, c := range g.prepare(state, false) {
		c.Swap()
	}
	g.state = state
	g.dropPools(state)
	return nil
}

// eachPrevious calls f, beside each other, with those that this process took over from and that still run.
func (g *Gateway) eachPrevious(ctx context.Context, f func(context.Context, *gatewayapi.Client) error) {
	g.mu.Lock()
	ending := g.closed
	g.mu.Unlock()
	if ending {
		return // its successor asks all of them
	}
	paths, _ := filepath.Glob(filepath.Join(g.dir, previousPattern)) // the pattern is good
	ctx, cancel := context.WithTimeout(ctx, previousTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, path := range paths {
		if path == g.previousPath() {
			continue
		}
		all.Go(func() {
			switch err := f(ctx, gatewayapi.NewSocketClient(path)); {
			case errors.Is(err, syscall.ECONNREFUSED): // it has ended
				_ = os.Remove(path)
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				g.log.Info("a process that still ends what it has does not answer", "socket", filepath.Base(path), "error", err.Error())
			}
		})
	}
	all.Wait()
}

// tellPrevious has those that still end what they have go by a state.
func (g *Gateway) tellPrevious(ctx context.Context, state *gatewayapi.DesiredState) {
	g.eachPrevious(ctx, func(ctx context.Context, c *gatewayapi.Client) error { return c.Follow(ctx, state) })
}

// observedInAll is Observed, with what those still have that this process took over from.
func (g *Gateway) observedInAll(ctx context.Context) *gatewayapi.ObservedState {
	o := g.Observed()
	var mu sync.Mutex
	g.eachPrevious(ctx, func(ctx context.Context, c *gatewayapi.Client) error {
		before, err := c.Observed(ctx)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		addUnderWay(o, before)
		return nil
	})
	return o
}

// addUnderWay adds to o what is under way at another process: numbers of now. What each has counted since its start
// is its own.
func addUnderWay(o, other *gatewayapi.ObservedState) {
	for _, from := range other.Services {
		i := slices.IndexFunc(o.Services, func(s gatewayapi.ServiceStatus) bool { return s.Name == from.Name })
		if i < 0 {
			o.Services = append(o.Services, gatewayapi.ServiceStatus{Name: from.Name})
			i = len(o.Services) - 1
		}
		to := &o.Services[i]
		to.Held += from.Held
		to.OpenConnections += from.OpenConnections
		for _, t := range from.Targets {
			j := slices.IndexFunc(to.Targets, func(have gatewayapi.TargetStatus) bool { return have.ID == t.ID })
			if j < 0 {
				to.Targets = append(to.Targets, gatewayapi.TargetStatus{ID: t.ID, State: gatewayapi.TargetDraining, Health: t.Health})
				j = len(to.Targets) - 1
			}
			have := &to.Targets[j]
			have.OpenConnections += t.OpenConnections
			have.InFlight += t.InFlight
			have.LongLived += t.LongLived
			have.Endless += t.Endless
			have.Transfers += t.Transfers
			have.Left += t.Left
			if t.DrainingSince.After(have.DrainingSince) {
				have.DrainingSince = t.DrainingSince
			}
		}
	}
}
