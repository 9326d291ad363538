// SPDX-License-Identifier: Apache-2.0

package selfswap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/health"
)

// Dir is where the helper's container has its files: the parameters and the
// confirmation, which the daemon puts there, and its own state.
const Dir = "/fairlead-swap"

const (
	paramsFile  = "params.json"
	stateFile   = "state.json"
	confirmFile = "confirmed.json"

	// Times that an effect which the engine refuses is tried: a port, for
	// instance, is free some time after its container stopped. The way back is
	// the last one, so that it is tried for longer.
	triesForth, triesBack = 5, 30
	firstPause, lastPause = 200 * time.Millisecond, 5 * time.Second
	awayPause             = time.Second
	// confirmPoll is the pause between looks at a file of our own.
	confirmPoll = 100 * time.Millisecond
)

// Engine is what a swap needs of a Docker engine; *docker.Client is one. Each
// method succeeds when what it asks for is so already.
type Engine interface {
	InspectContainer(ctx context.Context, id string) (docker.Container, error)
	StopAndKeep(ctx context.Context, id string, timeout time.Duration, signal string) (docker.RestartPolicy, error)
	Start(ctx context.Context, id string) error
	Rename(ctx context.Context, id, name string) error
	SetRestartPolicy(ctx context.Context, id string, p docker.RestartPolicy) error
}

// Prober judges containers; *health.Prober is one.
type Prober interface {
	Gate(ctx context.Context, containerID string, policy health.Policy, onChange func(reason string)) error
	Soak(ctx context.Context, containerIDs []string, duration time.Duration) error
}

// Helper carries out one swap.
type Helper struct {
	Engine Engine
	Prober Prober
	// Dir has the files; see the constant of that name.
	Dir string
	// Out is where it tells people what it does.
	Out   io.Writer
	Clock clock.WithTicker
}

// confirmation is the daemon's word that it runs.
type confirmation struct {
	Container string `json:"container"`
}

// Run carries out the swap, or goes on with it, and returns nil when it ended,
// well or not: the verdict is in the state. It returns an error when ctx ends,
// or when its files cannot be read or written; then it is to be started again.
func (h *Helper) Run(ctx context.Context) error {
	var p Params
	if err := readJSON(filepath.Join(h.Dir, paramsFile), &p); err != nil {
		return fmt.Errorf("what is to be swapped is not known: %w", err)
	}
	var st State
	if err := readJSON(filepath.Join(h.Dir, stateFile), &st); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s := &swap{Helper: h, p: p, st: st}
	for ctx.Err() == nil {
		seen, err := s.look(ctx)
		var a action
		if err == nil {
			a = next(p, s.st, seen)
			err = s.do(ctx, a)
		}
		if err == nil && a.verb == verbEnd {
			return nil
		}
		if err = s.settle(ctx, a, err); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// swap is a swap being carried out.
type swap struct {
	*Helper
	p     Params
	st    State
	tries int
	away  bool
}

func (s *swap) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.Out, "%s %s\n", s.Clock.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

func (s *swap) look(ctx context.Context) (Sight, error) {
	var seen Sight
	for id, into := range map[string]**docker.Container{s.p.From.ID: &seen.From, s.p.To.ID: &seen.To} {
		c, err := s.Engine.InspectContainer(ctx, id)
		switch {
		case docker.IsNotFound(err):
		case err != nil:
			return seen, err
		case c.State != docker.StateRemoving && c.State != docker.StateDead:
			*into = &c
		}
	}
	return seen, nil
}

func (s *swap) do(ctx context.Context, a action) error {
	c := a.container
	var err error
	switch a.verb {
	case verbStop:
		s.say("stopping %s", c.Name)
		_, err = s.Engine.StopAndKeep(ctx, c.ID, s.p.StopTimeout, "")
	case verbRename:
		s.say("%s is called %s from now on", c.Name, a.name)
		err = s.Engine.Rename(ctx, c.ID, a.name)
	case verbPolicy:
		err = s.Engine.SetRestartPolicy(ctx, c.ID, a.policy)
	case verbStart:
		s.say("starting %s", c.Name)
		if err = s.Engine.Start(ctx, c.ID); err == nil {
			err = s.save(func(st *State) { st.Started = true })
		}
	case verbGate:
		err = s.gate(ctx, c)
	case verbGiveUp:
		err = s.giveUp(a.reason)
	case verbConclude:
		err = s.conclude(a.verdict)
	case verbEnd:
		// Or the engine would start the helper again. A refusal does no harm: the
		// verdict stands.
		err = s.Engine.SetRestartPolicy(ctx, s.p.Helper, docker.RestartPolicy{Name: "no"})
		if !docker.IsUnavailable(err) {
			err = nil
		}
	}
	return err
}

// gate waits until the container is ready. The successor must also have said so
// itself: that its process runs and its healthcheck, if there is one, passes,
// does not mean that a daemon of this installation works there.
func (s *swap) gate(ctx context.Context, c docker.Container) error {
	began := s.Clock.Now()
	s.say("waiting for %s to be ready", c.Name)
	err := s.Prober.Gate(ctx, c.ID, s.p.Health, func(reason string) { s.say("%s: %s", c.Name, reason) })
	if err == nil && s.st.Failure == "" {
		timeout := s.p.Health.Timeout
		if timeout <= 0 {
			timeout = health.DefaultTimeout
		}
		err = s.confirmed(ctx, c, began.Add(timeout))
	}
	u := health.AsUnhealthy(err)
	switch {
	case err == nil:
		s.say("%s is ready", c.Name)
		return s.conclude(passed(s.st))
	case u == nil:
		return err
	case s.st.Failure == "":
		return s.giveUp(reasonOf(u))
	default:
		return s.conclude(conclude(s.st, reasonOf(u)).verdict)
	}
}

func reasonOf(u *health.Unhealthy) string {
	if u.LastOutput != "" && !strings.Contains(u.Reason, u.LastOutput) {
		return u.Reason + ": " + u.LastOutput
	}
	return u.Reason
}

// confirmed waits until the daemon in the container said that it works, and
// watches meanwhile that the container stays well.
func (s *swap) confirmed(ctx context.Context, c docker.Container, deadline time.Time) error {
	if s.isConfirmed() {
		return nil
	}
	s.say("%s: healthy, waiting for its daemon to report", c.Name)
	watch, stop := context.WithCancel(ctx)
	defer stop()
	told := make(chan struct{})
	go func() {
		defer close(told)
		ticker := s.Clock.NewTicker(confirmPoll)
		defer ticker.Stop()
		for {
			select {
			case <-watch.Done():
				return
			case <-ticker.C():
			}
			if s.isConfirmed() {
				stop()
				return
			}
		}
	}()
	err := s.Prober.Soak(watch, []string{c.ID}, max(0, deadline.Sub(s.Clock.Now())))
	stop()
	<-told
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.isConfirmed():
		return nil
	case err != nil && watch.Err() == nil:
		return err
	case health.AsUnhealthy(err) != nil:
		return err
	}
	return &health.Unhealthy{
		Container: c.Name, TimedOut: true,
		Reason: "its daemon did not report that it works: look whether it runs `fairlead serve` and reaches the Docker engine",
	}
}

func (s *swap) isConfirmed() bool {
	var c confirmation
	return readJSON(filepath.Join(s.Dir, confirmFile), &c) == nil && c.Container == s.p.To.ID
}

// giveUp turns back.
func (s *swap) giveUp(reason string) error {
	s.say("the new container does not become ready: %s; putting the old one back", reason)
	return s.save(func(st *State) { st.Failure, st.Started = reason, false })
}

func (s *swap) conclude(v Verdict) error {
	switch {
	case v.Replaced:
		s.say("done: the new container has taken over")
	case v.Trouble == "":
		s.say("the old container runs again")
	default:
		s.say("the old container does not run either: %s; start it by hand: docker start %s", v.Trouble, s.p.From.ID)
	}
	return s.save(func(st *State) { st.Verdict = &v })
}

func (s *swap) save(change func(*State)) error {
	change(&s.st)
	data, err := json.Marshal(s.st)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(s.Dir, stateFile), data, 0o644)
}

// settle decides what the outcome of an action means. It returns nil when it is
// worth looking again, after a pause where that helps; an engine that is away is
// waited for without end.
func (s *swap) settle(ctx context.Context, a action, err error) error {
	var file *fs.PathError
	switch {
	case err == nil:
		s.tries, s.away = 0, false
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &file) && !docker.IsUnavailable(err):
		return err
	case docker.IsUnavailable(err):
		if !s.away {
			s.say("the Docker engine is away: %v", err)
		}
		s.away = true
		return s.pause(ctx, awayPause)
	case docker.IsNotFound(err):
		return s.pause(ctx, firstPause) // the next look tells which one is gone
	}
	s.tries++
	trouble := fmt.Sprintf("could not %s the container %s: %v", a.verb, a.container.Name, err)
	s.say("%s", trouble)
	back := s.st.Failure != ""
	switch {
	case !back && s.tries >= triesForth:
		return s.giveUp(trouble)
	case back && s.tries >= triesBack:
		return s.conclude(conclude(s.st, trouble).verdict)
	}
	return s.pause(ctx, min(firstPause<<min(s.tries-1, 10), lastPause))
}

func (s *swap) pause(ctx context.Context, d time.Duration) error {
	t := s.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
