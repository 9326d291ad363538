// SPDX-License-Identifier: Apache-2.0

// Package health finds out whether a container, and then the application, does
// its work. It does not wait for the engine's healthcheck, whose first result
// comes after a whole interval: it runs the service's own test at once and
// often, follows the engine's events for exits and restarts, and says in words
// why something is not ready.
//
//   - Tracker turns samples into a verdict; pure.
//   - Prober.Gate waits until a container is ready, Prober.Completed until a
//     one-shot has done its work, Prober.Soak watches that all stays well.
//   - Verify runs an application's own checks: HTTP, TCP, or a command.
package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/measure"
)

// Engine is what probing needs of a Docker engine; *docker.Client is one.
type Engine interface {
	// InspectContainer fails with docker.IsNotFound when it is gone and with
	// docker.IsUnavailable while the engine is away.
	InspectContainer(ctx context.Context, id string) (docker.Container, error)
	Execer
	// Watch calls fn for events until ctx ends, first with Resync.
	Watch(ctx context.Context, filter docker.EventFilter, fn func(docker.Event)) error
}

// Execer runs commands in containers; *docker.Client is one.
type Execer interface {
	// ExecOutput returns promptly when ctx ends, fails with docker.IsConflict
	// when the container does not run, and keeps limit bytes of each stream.
	ExecOutput(ctx context.Context, containerID string, cmd []string, o docker.ExecOptions, limit int) (docker.Output, error)
}

const (
	// DefaultParallelProbes suits the engine of one host: a probe by exec
	// costs about 45 ms of processor time over all processes involved.
	DefaultParallelProbes = 2
	// slotHold is the longest that a probe keeps its slot. What takes longer
	// waits rather than computes, and must not hold up other services' probes.
	slotHold = time.Second
	// probeOutputBytes is what is kept of a probe's output.
	probeOutputBytes = 4 << 10
	// inspectTimeout is after how long an engine counts as away.
	inspectTimeout = 15 * time.Second
	// reasonRunes bounds the output that is quoted in a reason.
	reasonRunes = 300
)

// Prober probes the containers of one engine. There should be one per engine,
// since it is what limits the probes at a time. It is safe for concurrent use.
type Prober struct {
	engine Engine
	slots  chan struct{}
}

// NewProber returns a Prober that runs at most parallel probes at once;
// 0 or less means DefaultParallelProbes.
func NewProber(engine Engine, parallel int) *Prober {
	if parallel <= 0 {
		parallel = DefaultParallelProbes
	}
	return &Prober{engine: engine, slots: make(chan struct{}, parallel)}
}

// Unhealthy says that a container is not what it should be. It is final: the
// engine answered, and waiting longer is not wanted or cannot help.
type Unhealthy struct {
	// Container is its name.
	Container string
	// Reason in words, one line.
	Reason string
	// LastOutput is what the last failed probe printed, up to 4 KiB; empty
	// without a healthcheck.
	LastOutput string
	// ExitCode of the container when it is not running, else 0.
	ExitCode int
	// Restarts seen while watching.
	Restarts int
	// TimedOut says that only the time was up.
	TimedOut bool
	// Abandoned says that it exited and the engine did not restart it, though
	// its policy says so.
	Abandoned bool
}

func (e *Unhealthy) Error() string {
	return fmt.Sprintf("container %s: %s", e.Container, e.Reason)
}

// probeResult is the outcome of one run of a healthcheck.
type probeResult struct {
	// known is false when nothing was learnt: the engine was away or the
	// container not running.
	known bool
	ok    bool
	// reason is for people, output is what was printed.
	reason, output string
	// run is the StartedAt of the run that was probed.
	run time.Time
}

// probe runs the container's healthcheck once, as soon as a slot is free.
func (p *Prober) probe(ctx context.Context, c docker.Container) probeResult {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return probeResult{}
	}
	release := sync.OnceFunc(func() { <-p.slots })
	defer release()
	early := time.AfterFunc(slotHold, release)
	defer early.Stop()

	h := c.Healthcheck
	ctx, cancel := context.WithTimeoutCause(ctx, h.Timeout, errProbeTimeout)
	defer cancel()
	out, err := p.engine.ExecOutput(ctx, c.ID, h.Command(), docker.ExecOptions{}, probeOutputBytes)
	printed := strings.TrimSpace(string(out.Stdout) + "\n" + string(out.Stderr))
	r := probeResult{known: true, output: printed, run: c.StartedAt}
	switch {
	case errors.Is(context.Cause(ctx), errProbeTimeout):
		r.reason = "timed out after " + measure.Time(h.Timeout)
	case err != nil && (ctx.Err() != nil || docker.IsUnavailable(err) || docker.IsConflict(err) || docker.IsNotFound(err)):
		return probeResult{}
	case err != nil:
		r.reason = "could not be run: " + err.Error()
	case out.ExitCode == 0:
		r.ok = true
		return r
	default:
		r.reason = fmt.Sprintf("exit %d", out.ExitCode)
	}
	if line := oneLine(printed); line != "" {
		r.reason += ": " + line
	}
	return r
}

var errProbeTimeout = errors.New("the healthcheck's own timeout")

// oneLine makes printable text of a bounded length out of a program's output.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > reasonRunes {
		return string(runes[:reasonRunes]) + "…"
	}
	return s
}

// inspect is the engine's, bounded: an engine that is frozen is one that is away.
func (p *Prober) inspect(ctx context.Context, id string) (docker.Container, error) {
	bounded, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	c, err := p.engine.InspectContainer(bounded, id)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return c, fmt.Errorf("the Docker engine did not answer within %s: %w", measure.Time(inspectTimeout), cerrdefs.ErrUnavailable)
	}
	return c, err
}

// watch wakes a loop whenever something happens to the container. The returned
// function ends the watching and waits for that.
func (p *Prober) watch(ctx context.Context, id string) (wake <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ch := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		filter := docker.EventFilter{
			Types: []string{"container"}, Containers: []string{id},
			Actions: []string{"start", "die", "oom", "restart", "pause", "unpause", "destroy", "health_status"},
		}
		// Events only make the loops faster, which poll as well: an engine
		// that refuses the subscription is not an error.
		_ = p.engine.Watch(ctx, filter, func(docker.Event) {
			select {
			case ch <- struct{}{}:
			default:
			}
		})
	}()
	return ch, func() { cancel(); <-done }
}

// sample turns a container into what the tracker looks at.
func sample(c docker.Container) Sample {
	s := Sample{
		State: c.State, ExitCode: c.ExitCode, OOMKilled: c.OOMKilled, Error: c.Error,
		RestartCount: c.RestartCount, StartedAt: c.StartedAt,
	}
	if !c.StartedAt.IsZero() && c.FinishedAt.After(c.StartedAt) {
		s.Ran = c.FinishedAt.Sub(c.StartedAt)
	}
	return s
}
