// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/measure"
)

const (
	// quickPause suits most applications, which are ready within seconds.
	quickPause = 100 * time.Millisecond
	// silentPause is for where nothing listens, and awaitedPause for where nothing
	// listens yet, as there are ports that something should. A probe is hardly worth
	// the processor time that it takes from the application then, and it may be in the
	// way of the one that is made as soon as something is heard.
	silentPause  = 400 * time.Millisecond
	awaitedPause = time.Second
	// longestPause bounds how late the end of a long start is noticed.
	longestPause = 2 * time.Second
	// lateness is by what part of a start its end may be noticed too late.
	lateness = 20
)

// cadence returns the pause before the next probe, given how long the gate has
// been waiting: often at first, then in proportion, as whoever waits for a
// minute does not mind a second, while the rest of the host does mind a
// program that is started again and again.
func cadence(waited time.Duration, silent, awaited bool) time.Duration {
	pause := quickPause
	switch {
	case silent && awaited:
		pause = awaitedPause
	case silent:
		pause = silentPause
	}
	return min(max(pause, waited/lateness), longestPause)
}

// firstPause is how long a container that has just been started is left alone before its first probe: not at all, unless
// it can be heard when it is ready. Others may be starting with it.
func firstPause(silent, awaited bool, timeout time.Duration) time.Duration {
	if !silent || !awaited {
		return 0
	}
	return min(silentPause, timeout/4)
}

// maxProbes is how many probes may run at once.
const maxProbes = 2

// idlePause is the pause where no result is due sooner; events wake the gate.
const idlePause = 500 * time.Millisecond

// Gate waits until the container is ready by policy. It returns *Unhealthy
// when it fails or time is up, ctx's error when ctx ends, and the engine's
// error (docker.IsUnavailable) when time is up while the engine is away, which
// says nothing about the container. onChange, which may be nil, is told the
// reason in words whenever it changes.
//
// The container must have been started. Its healthcheck runs as the engine
// would run it: as the container's user, in its environment, with the
// healthcheck's own timeout.
func (p *Prober) Gate(ctx context.Context, containerID string, policy Policy, onChange func(reason string)) error {
	g := &gate{p: p, id: containerID, policy: policy, timeout: policy.withDefaults().Timeout, began: time.Now(), results: make(chan probeResult, maxProbes), onChange: onChange}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for range g.probing {
			<-g.results
		}
	}()
	wake, stop := p.watch(ctx, containerID)
	defer stop()
	deadline := time.NewTimer(g.timeout)
	defer deadline.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	var listener ears
	defer listener.close()
	listen := time.NewTicker(listenPoll)
	defer listen.Stop()

	for {
		var result *probeResult
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
		case <-wake:
		case r := <-g.results:
			g.probing--
			result = &r
		case <-listen.C:
			// A probe that began before may be about to fail.
			if g.mayProbe && g.probing < maxProbes && listener.anew(g.last.Pid) {
				g.startProbe(ctx)
			}
			continue
		case <-next.C:
			if g.mayProbe && g.probing == 0 {
				g.startProbe(ctx)
				continue
			}
		}
		before := g.mayProbe
		done, err := g.look(ctx, result)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if done {
			return err
		}
		switch {
		case g.probing > 0: // its result is the next occasion
		case result == nil && g.mayProbe && before: // a probe is due already
		case result == nil && g.mayProbe:
			listener.anew(g.last.Pid)
			if pause := firstPause(listener.silent(), g.awaited(), g.timeout); pause > 0 {
				next.Reset(pause)
				continue
			}
			g.startProbe(ctx)
		case g.remaining > 0: // good, only not for long enough
			next.Reset(min(idlePause, g.remaining))
		case g.mayProbe:
			next.Reset(cadence(time.Since(g.began), listener.silent(), g.awaited()))
		default:
			next.Reset(idlePause)
		}
	}
}

// gate is the state of one Gate call.
type gate struct {
	p        *Prober
	id       string
	policy   Policy
	timeout  time.Duration
	began    time.Time
	onChange func(string)

	tracker   *Tracker
	last      docker.Container
	mayProbe  bool // the container runs and has a test
	remaining time.Duration
	output    string // of the last failed probe
	told      string

	probing int // how many probes run
	results chan probeResult
}

// look inspects the container and judges it. A nil error with done means ready.
func (g *gate) look(ctx context.Context, r *probeResult) (done bool, err error) {
	g.mayProbe, g.remaining = false, 0
	c, err := g.p.inspect(ctx, g.id)
	switch {
	case docker.IsNotFound(err):
		return true, &Unhealthy{Container: cmp.Or(g.last.Name, g.id), Reason: "the container was removed", Restarts: g.restarts()}
	case docker.IsUnavailable(err):
		if time.Since(g.began) >= g.timeout {
			return true, err
		}
		g.tell("the Docker engine does not answer")
		return false, nil
	case err != nil:
		return true, err
	}
	g.last = c
	if g.tracker == nil {
		g.tracker = NewTracker(g.policy, c.Healthcheck != nil, c.RestartPolicy, g.began)
	}
	s := sample(c)
	if r != nil && r.known && r.run.Equal(c.StartedAt) {
		s.ProbeOK, s.ProbeOutput = &r.ok, r.reason
		if !r.ok {
			g.output = r.output
		}
	}
	v := g.tracker.Observe(time.Now(), s)
	g.tell(v.Reason)
	switch {
	case v.Ready:
		return true, nil
	case v.Failed:
		u := &Unhealthy{Container: c.Name, Reason: v.Reason, LastOutput: g.output, Restarts: g.restarts(), TimedOut: v.TimedOut, Abandoned: v.Abandoned}
		if !c.Running() {
			u.ExitCode = c.ExitCode
		}
		return true, u
	}
	g.mayProbe = c.Healthcheck != nil && c.State == docker.StateRunning
	g.remaining = v.Remaining
	return false, nil
}

// awaited reports whether the container should listen somewhere for connections.
func (g *gate) awaited() bool {
	return g.policy.Listens || slices.ContainsFunc(g.last.Exposed, func(port string) bool { return strings.HasSuffix(port, "/tcp") })
}

// startProbe runs a probe beside the loop, which goes on listening for exits.
func (g *gate) startProbe(ctx context.Context) {
	g.probing++
	c := g.last
	go func() { g.results <- g.p.probe(ctx, c) }()
}

func (g *gate) restarts() int {
	if g.tracker == nil {
		return 0
	}
	return g.tracker.Restarts()
}

func (g *gate) tell(reason string) {
	if reason == g.told || g.onChange == nil {
		return
	}
	g.told = reason
	g.onChange(reason)
}

// completedPoll is the pause between looks that no event asked for.
const completedPoll = time.Second

// Completed waits until a one-shot container has exited. It returns nil for
// exit code 0, *Unhealthy for another code, when time is up or when it is gone,
// and otherwise an error as Gate does. A restart policy of "on-failure" is
// given its chances. timeout 0 means DefaultTimeout, a negative one no limit.
func (p *Prober) Completed(ctx context.Context, containerID string, timeout time.Duration) error {
	wake, stop := p.watch(ctx, containerID)
	defer stop()
	var deadline <-chan time.Time
	if timeout = cmp.Or(timeout, DefaultTimeout); timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		deadline = t.C
	}
	poll := time.NewTicker(completedPoll)
	defer poll.Stop()
	name, late := containerID, false
	for {
		c, err := p.inspect(ctx, containerID)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case docker.IsNotFound(err):
			return &Unhealthy{Container: name, Reason: "the container was removed before its exit code was known"}
		case docker.IsUnavailable(err):
			if late {
				return err
			}
		case err != nil:
			return err
		default:
			name = c.Name
			if done, err := completed(c); done {
				return err
			}
			if late {
				return &Unhealthy{Container: name, Reason: fmt.Sprintf("still %s after %s", c.State, measure.Time(timeout)), Restarts: c.RestartCount, TimedOut: true}
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			late = true // one more look, in case it ended just now
		case <-wake:
		case <-poll.C:
		}
	}
}

// completed judges a one-shot.
func completed(c docker.Container) (done bool, err error) {
	fail := func(reason string) (bool, error) {
		return true, &Unhealthy{Container: c.Name, Reason: reason, ExitCode: c.ExitCode, Restarts: c.RestartCount}
	}
	switch c.State {
	case docker.StateExited, docker.StateDead:
		if c.ExitCode == 0 && c.Error == "" && !c.OOMKilled {
			return true, nil
		}
		if staysDown(c.RestartPolicy, c.ExitCode, c.RestartCount) {
			return fail(exitWords(sample(c)))
		}
	case docker.StateCreated:
		if c.Error != "" {
			return fail("the engine could not start it: " + c.Error)
		}
	}
	if c.RestartPolicy.Restarts(0) && (c.RestartCount > 0 || c.State == docker.StateRestarting) {
		return fail(fmt.Sprintf("it runs again after every exit, because its restart policy is %q; a one-shot service needs restart \"no\" or \"on-failure\"", c.RestartPolicy.Name))
	}
	return false, nil
}
