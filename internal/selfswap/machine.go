// SPDX-License-Identifier: Apache-2.0

// Package selfswap replaces the container that the daemon itself runs in, and
// puts it back if its successor does not become ready.
//
// A daemon cannot stop its own container and go on. It makes a short-lived
// helper container from its own image (see Launch), which does the swap by the
// state machine of this package (see Run), and ends. The helper may be killed at
// any point and started again: it looks at the engine first, and what the engine
// does not tell is in a file of its own. Whichever daemon runs afterwards reads
// there what became of the swap, and removes the helper.
//
// The files that the two exchange are a contract between versions: fields may be
// added, never changed or taken away.
package selfswap

import (
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Params say who takes whose place. They hold no secret.
type Params struct {
	// Helper is the name of the helper's own container.
	Helper string `json:"helper"`
	// From is the container that the daemon runs in, To its successor.
	From Party `json:"from"`
	To   Party `json:"to"`
	// Name is what the one that runs is called; "": names stay.
	Name string `json:"name,omitempty"`
	// StopTimeout is what either has between the stop signal and the kill.
	StopTimeout time.Duration `json:"stopTimeout"`
	// Health says when either counts as ready.
	Health health.Policy `json:"health"`
}

// Party is one of the two containers.
type Party struct {
	ID string `json:"id"`
	// Restart is its policy while it is the one that runs.
	Restart docker.RestartPolicy `json:"restart"`
}

// State is what the engine does not tell.
type State struct {
	// Started says that the container that is to run was started.
	Started bool `json:"started,omitempty"`
	// Failure is why To was given up; from then on the way leads back.
	Failure string `json:"failure,omitempty"`
	// Verdict is the end, nil before it.
	Verdict *Verdict `json:"verdict,omitempty"`
}

// Verdict is what became of a swap.
type Verdict struct {
	// Replaced says that To runs in the place of From.
	Replaced bool `json:"replaced"`
	// Reason in words why it was not replaced.
	Reason string `json:"reason,omitempty"`
	// Trouble says why From does not run again, empty if it does.
	Trouble string `json:"trouble,omitempty"`
}

// Sight is what the engine says of the two; nil: it is gone.
type Sight struct {
	From, To *docker.Container
}

// verb is what comes next.
type verb string

const (
	verbStop     verb = "stop"
	verbRename   verb = "rename"
	verbPolicy   verb = "set the restart policy of"
	verbStart    verb = "start"
	verbGate     verb = "wait for"
	verbGiveUp   verb = "give up"
	verbConclude verb = "conclude"
	verbEnd      verb = "end"
)

// action is one thing to do.
type action struct {
	verb verb
	// container that it is about.
	container docker.Container
	name      string
	policy    docker.RestartPolicy
	reason    string
	verdict   Verdict
}

// next says what comes next. It has no clock and no effects: what was done is
// seen on the engine, or remembered in the state.
func next(p Params, st State, seen Sight) action {
	if st.Verdict != nil {
		return action{verb: verbEnd}
	}
	back := st.Failure != ""
	out, in, policy := seen.From, seen.To, p.To.Restart
	if back {
		out, in, policy = seen.To, seen.From, p.From.Restart
	}
	if policy.Name == "" {
		policy.Name = "no"
	}
	switch {
	case in == nil && back:
		return conclude(st, "the container was removed")
	case in == nil:
		return action{verb: verbGiveUp, reason: "the new container was removed before it was started"}
	case out != nil && up(*out):
		return action{verb: verbStop, container: *out}
	case p.Name != "" && out != nil && out.Name == p.Name:
		return action{verb: verbRename, container: *out, name: plan.RetiredName(p.Name, out.ID)}
	case p.Name != "" && in.Name != p.Name:
		return action{verb: verbRename, container: *in, name: p.Name}
	case in.RestartPolicy != policy:
		return action{verb: verbPolicy, container: *in, policy: policy}
	case !up(*in) && !st.Started:
		return action{verb: verbStart, container: *in}
	default:
		return action{verb: verbGate, container: *in}
	}
}

// conclude ends a swap whose way back failed, or did not.
func conclude(st State, trouble string) action {
	return action{verb: verbConclude, verdict: Verdict{Reason: st.Failure, Trouble: trouble}}
}

// passed is the end for a container that became ready.
func passed(st State) Verdict {
	return Verdict{Replaced: st.Failure == "", Reason: st.Failure}
}

func up(c docker.Container) bool { return c.Running() || c.State == docker.StateRestarting }
