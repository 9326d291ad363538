// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/plural"
)

// Defaults of Policy.
const (
	DefaultTimeout     = 2 * time.Minute
	DefaultMinHealthy  = 5 * time.Second
	DefaultMinRunning  = 10 * time.Second
	DefaultMaxRestarts = 3
)

// comeBack is how long a container that exited is given to be restarted by its
// policy, or half of the time that it has to become ready: so it may still be
// started again. An engine that has started again has done that before it answers.
const comeBack = 10 * time.Second

// Policy says when a container counts as ready and when as failed. In each
// field 0 means the default, a negative duration none at all.
type Policy struct {
	// Timeout is how long it may take to become ready, MinHealthy included;
	// default 2 minutes.
	Timeout time.Duration
	// MinHealthy is how long its healthcheck must pass without a failure or a
	// restart in between; default 5 s, negative: one success is enough.
	MinHealthy time.Duration
	// MinRunning is how long a container without a healthcheck must run
	// without a restart; default 10 s.
	MinRunning time.Duration
	// MaxRestarts is the number of restarts that counts as a crash loop and
	// fails at once; default 3, negative: no number does.
	MaxRestarts int
	// Listens says that the container is known to listen somewhere when it is ready, as its
	// predecessor did: until it does its healthcheck is run less often.
	Listens bool `json:",omitempty"`
}

// withDefaults resolves zero and negative values.
func (p Policy) withDefaults() Policy {
	restarts := cmp.Or(p.MaxRestarts, DefaultMaxRestarts)
	if restarts < 0 {
		restarts = math.MaxInt
	}
	return Policy{
		Timeout:     max(cmp.Or(p.Timeout, DefaultTimeout), 0),
		MinHealthy:  max(cmp.Or(p.MinHealthy, DefaultMinHealthy), 0),
		MinRunning:  max(cmp.Or(p.MinRunning, DefaultMinRunning), 0),
		MaxRestarts: restarts,
		Listens:     p.Listens,
	}
}

// Sample is what was seen of a container at one moment.
type Sample struct {
	// State is one of docker's State constants.
	State string
	// ExitCode, OOMKilled, Error and Ran (how long) are of the last run; they
	// matter when it is over.
	ExitCode  int
	OOMKilled bool
	Error     string
	Ran       time.Duration
	// RestartCount and StartedAt as the engine gives them; a change of either
	// means another run.
	RestartCount int
	StartedAt    time.Time
	// ProbeOK is the result of a probe of this run, nil without a new one.
	ProbeOK *bool
	// ProbeOutput says in one line what a failed probe answered, such as
	// "exit 1: connection refused".
	ProbeOutput string
}

// Verdict is what the tracker makes of all samples so far.
type Verdict struct {
	// Ready and Failed are final; neither means that it is still open.
	Ready, Failed bool
	// TimedOut says that it failed only because time was up.
	TimedOut bool
	// Abandoned says that it failed as the engine did not restart it, though its
	// policy says so: as when it was being started while the engine stopped.
	Abandoned bool
	// Reason says in words why it is not ready, or why it failed. While open,
	// it changes only with the kind of trouble, not with every sample.
	Reason string
	// Remaining is when it will be ready if nothing happens; 0: not to be told.
	Remaining time.Duration
}

// Tracker decides from samples whether a container became ready. It has no
// clock and no effects.
type Tracker struct {
	policy  Policy
	probed  bool
	restart docker.RestartPolicy
	began   time.Time

	seen     bool
	count    int       // the engine's restart count at the last sample
	run      time.Time // StartedAt at the last sample
	restarts int       // since tracking began
	lastExit string    // how the last run that was seen to end ended
	down     time.Time // since when it is seen to have exited; zero: it has not
	good     time.Time // since when it is continuously good; zero: it is not
	attempts int       // failed probes
	failure  string    // what the last failed probe said
	final    *Verdict
}

// NewTracker starts tracking at now. probed says that samples will carry probe
// results; without, running is all that can be asked for. restart is the
// container's restart policy.
func NewTracker(policy Policy, probed bool, restart docker.RestartPolicy, now time.Time) *Tracker {
	return &Tracker{policy: policy.withDefaults(), probed: probed, restart: restart, began: now}
}

// Restarts returns the number of restarts seen.
func (t *Tracker) Restarts() int { return t.restarts }

// Observe takes the sample of time now into account. Times must not go back.
// After a final verdict all further ones are the same.
func (t *Tracker) Observe(now time.Time, s Sample) Verdict {
	if t.final != nil {
		return *t.final
	}
	t.follow(now, s)
	v := t.judge(now, s)
	if !v.Ready && !v.Failed && now.Sub(t.began) >= t.policy.Timeout {
		reason := v.Reason
		if t.failure != "" && s.State == docker.StateRunning {
			reason = fmt.Sprintf("%s (%d failed attempts)", reason, t.attempts)
		}
		v = Verdict{Failed: true, TimedOut: true, Reason: fmt.Sprintf("not healthy within %s: %s", measure.Time(t.policy.Timeout), reason)}
	}
	if v.Ready || v.Failed {
		t.final = &v
	}
	return v
}

// follow notices another run.
func (t *Tracker) follow(now time.Time, s Sample) {
	if t.seen {
		if s.RestartCount > t.count {
			t.restarts += s.RestartCount - t.count
		}
		if s.RestartCount != t.count || !s.StartedAt.Equal(t.run) {
			t.good, t.down, t.failure = time.Time{}, time.Time{}, ""
		}
	}
	switch {
	case s.State != docker.StateExited:
		t.down = time.Time{}
	case t.down.IsZero():
		t.down = now
	}
	t.seen, t.count, t.run = true, s.RestartCount, s.StartedAt
	if s.State == docker.StateExited || s.State == docker.StateRestarting {
		t.lastExit = exitWords(s)
	}
}

func (t *Tracker) judge(now time.Time, s Sample) Verdict {
	if t.restarts >= t.policy.MaxRestarts {
		reason := "restarted " + plural.Of(t.restarts, "time")
		if t.lastExit != "" {
			reason += ", last " + t.lastExit
		}
		return Verdict{Failed: true, Reason: reason}
	}
	switch s.State {
	case docker.StateRunning:
		if t.probed {
			return t.judgeProbe(now, s)
		}
		return t.judgeRunning(now)
	case docker.StateExited, docker.StateDead:
		t.good = time.Time{}
		if staysDown(t.restart, s.ExitCode, s.RestartCount) {
			return Verdict{Failed: true, Reason: exitWords(s)}
		}
		if !t.down.IsZero() && now.Sub(t.down) >= min(comeBack, t.policy.Timeout/2) {
			return Verdict{Failed: true, Abandoned: true, Reason: exitWords(s) + ", and the engine did not restart it"}
		}
		return Verdict{Reason: exitWords(s)}
	case docker.StateRestarting:
		t.good = time.Time{}
		return Verdict{Reason: exitWords(s) + ", being restarted"}
	case docker.StateRemoving:
		return Verdict{Failed: true, Reason: "the container is being removed"}
	case docker.StateCreated:
		t.good = time.Time{}
		if s.Error != "" {
			return Verdict{Failed: true, Reason: "the engine could not start it: " + s.Error}
		}
		return Verdict{Reason: "not started"}
	default: // paused, or a state of a newer engine
		t.good = time.Time{}
		return Verdict{Reason: "the container is " + s.State}
	}
}

func (t *Tracker) judgeRunning(now time.Time) Verdict {
	if t.good.IsZero() {
		t.good = now
	}
	left := t.policy.MinRunning - now.Sub(t.good)
	if left <= 0 {
		return Verdict{Ready: true, Reason: fmt.Sprintf("running for %s", measure.Time(t.policy.MinRunning))}
	}
	return Verdict{Reason: fmt.Sprintf("has no healthcheck, must run for %s", measure.Time(t.policy.MinRunning)), Remaining: left}
}

func (t *Tracker) judgeProbe(now time.Time, s Sample) Verdict {
	switch {
	case s.ProbeOK == nil:
	case *s.ProbeOK:
		if t.good.IsZero() {
			t.good = now
		}
		t.failure = ""
		if now.Sub(t.good) >= t.policy.MinHealthy {
			return Verdict{Ready: true, Reason: "healthy"}
		}
	default:
		t.good = time.Time{}
		t.attempts++
		t.failure = s.ProbeOutput
	}
	switch {
	case !t.good.IsZero():
		return Verdict{
			Reason:    fmt.Sprintf("healthy, but not yet for %s", measure.Time(t.policy.MinHealthy)),
			Remaining: max(t.policy.MinHealthy-now.Sub(t.good), 0),
		}
	case t.failure != "":
		return Verdict{Reason: "healthcheck " + t.failure}
	default:
		return Verdict{Reason: "waiting for its healthcheck"}
	}
}

// staysDown says that the engine will not start an exited container again. An
// exited container whose policy would restart it is seen after a restart of
// the engine, or when somebody stopped it.
func staysDown(p docker.RestartPolicy, exitCode, restarts int) bool {
	used := p.MaximumRetryCount > 0 && restarts >= p.MaximumRetryCount
	return used || !p.Restarts(exitCode)
}

// exitWords says how the last run ended.
func exitWords(s Sample) string {
	out := fmt.Sprintf("exited with code %d", s.ExitCode)
	if s.Ran > 0 {
		out += " after " + measure.Time(s.Ran)
	}
	if s.OOMKilled {
		out += ", killed because it ran out of memory"
	}
	if s.Error != "" {
		out += ": " + s.Error
	}
	return out
}
