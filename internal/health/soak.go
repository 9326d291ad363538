// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// soakInterval is the pause between looks, and probes, at one container.
const soakInterval = 2 * time.Second

// Soak watches running containers for the duration and returns *Unhealthy for
// the first that exits, restarts, is removed, is called unhealthy by the
// engine, or fails its own healthcheck as many times in a row as that allows
// (its retries). Every container is looked at once more at the end. An engine
// that is away meanwhile is waited for, also beyond the duration, until ctx
// ends: what happened to the containers is judged afterwards.
func (p *Prober) Soak(ctx context.Context, containerIDs []string, duration time.Duration) error {
	end := time.Now().Add(duration)
	g, ctx := errgroup.WithContext(ctx)
	for _, id := range containerIDs {
		g.Go(func() error { return p.soakOne(ctx, id, end) })
	}
	return g.Wait()
}

func (p *Prober) soakOne(ctx context.Context, id string, end time.Time) error {
	wake, stop := p.watch(ctx, id)
	defer stop()
	over := time.NewTimer(time.Until(end))
	defer over.Stop()
	tick := time.NewTicker(soakInterval)
	defer tick.Stop()

	s := &soak{name: id}
	final := false
	for {
		c, err := p.inspect(ctx, id)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case docker.IsNotFound(err):
			return &Unhealthy{Container: s.name, Reason: "the container was removed"}
		case docker.IsUnavailable(err):
		case err != nil:
			return err
		default:
			if err := s.judge(c); err != nil || final {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over.C:
			final = true
		case <-wake:
		case <-tick.C:
			if final || c.Healthcheck == nil { // final: only the engine is still waited for
				continue
			}
			bounded, cancel := context.WithDeadline(ctx, end)
			r := p.probe(bounded, c)
			cancel()
			if err := s.judgeProbe(c, r); err != nil {
				return err
			}
		}
	}
}

// soak is what is remembered of one container.
type soak struct {
	name     string
	seen     bool
	restarts int
	run      time.Time
	health   string // as the engine saw it last
	failures int
}

func (s *soak) judge(c docker.Container) error {
	s.name = c.Name
	fail := func(reason string) error {
		u := &Unhealthy{Container: c.Name, Reason: reason, Restarts: max(c.RestartCount-s.restarts, 0)}
		if !c.Running() {
			u.ExitCode = c.ExitCode
		}
		return u
	}
	if !s.seen {
		s.seen, s.restarts, s.run, s.health = true, c.RestartCount, c.StartedAt, c.Health
	}
	before := s.health
	s.health = c.Health
	switch {
	case c.State == docker.StateExited, c.State == docker.StateDead, c.State == docker.StateRestarting:
		return fail(exitWords(sample(c)))
	case c.State != docker.StateRunning:
		return fail("the container is " + c.State)
	case c.RestartCount != s.restarts || !c.StartedAt.Equal(s.run):
		return fail("it was restarted after it had been ready")
	case c.Health == docker.HealthUnhealthy && before != c.Health:
		// Only the turn counts: what the engine said before the watch may be
		// old, since its own probes come much later than ours.
		return fail("the engine calls it unhealthy")
	}
	return nil
}

func (s *soak) judgeProbe(c docker.Container, r probeResult) error {
	switch {
	case !r.known:
		return nil
	case r.ok:
		s.failures = 0
		return nil
	}
	s.failures++
	if s.failures < max(c.Healthcheck.Retries, 1) {
		return nil
	}
	return &Unhealthy{
		Container: c.Name, LastOutput: r.output,
		Reason: fmt.Sprintf("healthcheck %s (%d times in a row, after it had been ready)", r.reason, s.failures),
	}
}

// AsUnhealthy returns the *Unhealthy in err's chain, or nil.
func AsUnhealthy(err error) *Unhealthy {
	var u *Unhealthy
	if errors.As(err, &u) {
		return u
	}
	return nil
}
