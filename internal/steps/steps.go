// SPDX-License-Identifier: Apache-2.0

// Package steps carries out the steps of an update, one file each. A step looks
// first at what is there, so that it can be run again after a crash at any
// point: what an earlier attempt finished is found and not done twice. Steps
// never write objects of the request: they record changes to its status, and
// the controller writes them.
package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/hooks"
	"github.com/fairlead-dev/fairlead/internal/jobs"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Recorder takes changes to the status of the request, to be written by the
// controller in order. A change must give the same result when applied twice.
type Recorder interface {
	Record(change func(*v1alpha1.UpdateRequestStatus))
	// Begun returns when it is written that the step begins, or with the cause of
	// the end of ctx: intent before effect.
	Begun(ctx context.Context) error
	// Written returns when, beside that, all that was recorded is written.
	Written(ctx context.Context) error
}

// Work is one step to do for one request.
type Work struct {
	Step        v1alpha1.StepName
	Request     *v1alpha1.UpdateRequest
	Application *v1alpha1.Application
	// FailedCommits of the application, not to be tried again by themselves.
	FailedCommits []v1alpha1.FailedCommit
}

// Traffic moves requests between containers. It is where a gateway comes in;
// without one, the engine's own name resolution already answers with every
// container that runs.
type Traffic interface {
	// Leave sends new requests elsewhere than to the container, and returns
	// when it has none left or after the drain timeout.
	Leave(ctx context.Context, c docker.Container, drain time.Duration) error
}

// Deps are the adapters that steps work with.
type Deps struct {
	Docker   *docker.Client
	Creator  *compose.Creator
	Prober   *health.Prober
	Builder  func(parallel int) *build.Builder
	Puller   *build.Puller
	Store    release.Store
	Secrets  Secrets
	Hooks    *hooks.Runner
	Restorer Restorer
	Traffic  Traffic
	// Gateways keeps the gateways of applications; nil where there can be none.
	Gateways *boxes.Keeper
	Self     Self
	Others   Quiescer
	Clock    clock.PassiveClock
	Version  string
	Endpoint string
}

// Secrets reads the Secrets that Applications name.
type Secrets interface {
	// Secret returns the data of a Secret. The error says what to do.
	Secret(ctx context.Context, namespace, name string) (map[string][]byte, error)
}

// Runner runs steps.
type Runner struct {
	Deps
	clones  clones
	sights  sights
	endings endings
	// engineRoot is the engine's directory, as the last preflight found it; nil before the first.
	engineRoot atomic.Pointer[string]
}

// run is one step being carried out.
type run struct {
	Deps
	Work
	rec        Recorder
	log        *updatelog.Log
	clones     *clones
	sights     *sights
	engineRoot *atomic.Pointer[string]
	endings    *endings
	// keyed are the images that were built under a key, if they are being listed already.
	keyed func() (build.Keyed, error)
	// mu guards the status of the request, which actions that run at the same
	// time add to, and told, which is when the progress was recorded last.
	mu   sync.Mutex
	told time.Time
}

// Run carries out work.Step and returns when it ended. The error is one of the
// four kinds of package failure.
func (r *Runner) Run(ctx context.Context, work Work, rec Recorder) error {
	log, err := updatelog.Open(work.Request.Status.LogFile)
	if err != nil && work.Step != v1alpha1.StepPreflight {
		// What was begun is ended, or undone, without a log too.
		log, err = updatelog.Lost(work.Request.Status.LogFile, err), nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return failure.Terminalf(v1alpha1.ReasonPreflightFailed,
			"the deployment directory %s does not exist: clone the repository there, or correct compose.directory of the Application",
			work.Application.Spec.Compose.Directory)
	}
	if err != nil {
		return failure.Terminalf(v1alpha1.ReasonPreflightFailed,
			"the log file cannot be written: %w; make the directory %s writable", err, updatelog.Dir(work.Application.Spec.Compose.Directory))
	}
	s := &run{Deps: r.Deps, Work: work, rec: rec, log: log, clones: &r.clones, sights: &r.sights, engineRoot: &r.engineRoot, endings: &r.endings}
	s.sights.meet(s.Request.UID, s.before())
	start := r.Clock.Now()
	s.told = start
	s.say("%s", s.opening())
	if !looksFirst(s.Step) {
		err = s.rec.Begun(ctx)
	}
	if err == nil && s.Step != v1alpha1.StepCleanUp && !s.Request.Spec.DryRun {
		err = s.stopEndings(ctx) // it is verified once more, or undone, or there is another one
	}
	if err == nil {
		err = s.claimed(ctx, s.guarded)
	}
	if s.endsHere(cmp.Or(context.Cause(ctx), err)) && s.rec.Begun(ctx) == nil { // or it does not end
		s.tidy(ctx)
	}
	switch {
	case err == nil:
		s.say("done in %s", r.Clock.Since(start).Round(time.Millisecond))
	case ctx.Err() != nil:
		cause := context.Cause(ctx)
		s.say("interrupted: %v", cause)
		if s.Step == v1alpha1.StepPreflight && errors.Is(cause, jobs.ErrWithdrawn) {
			s.sights.forget(s.Request.UID) // it may never come back
		}
		if errors.Is(cause, jobs.ErrShutdown) || errors.Is(cause, jobs.ErrCancelled) || errors.Is(cause, jobs.ErrWithdrawn) {
			err = &failure.Interrupted{Err: cause}
		}
	case failure.AsTerminal(err) != nil:
		s.say("failed: %v", err)
	default:
		s.say("met a disturbance and will be tried again: %v", err)
	}
	if err != nil {
		_ = log.Sync() // why it ended is worth the time
	}
	// A log that could not be written, as on a full disk, does not end an update.
	_ = log.Close()
	return err
}

// looksFirst reports whether a step begins with what changes nothing that anybody has, such as to look at the application or
// to make images, and asks itself whether it is written that it begins before it goes beyond that.
func looksFirst(step v1alpha1.StepName) bool {
	switch step {
	case v1alpha1.StepPreflight, v1alpha1.StepFetch, v1alpha1.StepBuild, v1alpha1.StepRollout, v1alpha1.StepVerify:
		return true
	}
	return false
}

func (s *run) opening() string {
	for _, st := range s.Request.Status.Steps {
		if st.Name == s.Step && st.Attempt > 1 {
			return fmt.Sprintf("goes on (attempt %d)", st.Attempt)
		}
	}
	return "starts"
}

// guarded is dispatch, whose panic is an error that this log can still tell.
func (s *run) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = failure.Panicked(p)
			s.tellPanic(err)
		}
	}()
	return namedFullDisk(s.dispatch(ctx))
}

// tellPanic puts the stack of a panic into the log; the status gets one line.
func (s *run) tellPanic(err error) {
	if p := failure.AsPanic(err); p != nil {
		s.say("panic: %s\n%s", p.Value, p.Stack)
	}
}

func (s *run) dispatch(ctx context.Context) error {
	switch s.Step {
	case v1alpha1.StepPreflight:
		return s.preflight(ctx)
	case v1alpha1.StepBackup:
		return s.backup(ctx)
	case v1alpha1.StepFetch:
		return s.fetch(ctx)
	case v1alpha1.StepBuild:
		return s.build(ctx)
	case v1alpha1.StepRollout:
		return s.rollout(ctx)
	case v1alpha1.StepRestore:
		return s.restore(ctx)
	case v1alpha1.StepVerify:
		return s.afterRestore(s.verify(ctx))
	case v1alpha1.StepRollback:
		return s.rollback(ctx)
	case v1alpha1.StepCleanUp:
		return s.cleanUp(ctx)
	}
	return failure.Terminalf(v1alpha1.ReasonInvalidSpec, "there is no step %q", s.Step)
}

// Summarize ends the log of a request that ended. It may be called again.
func (r *Runner) Summarize(request *v1alpha1.UpdateRequest) error {
	r.clones.forget(request.UID)
	if r.sights.forget(request.UID) {
		observeDowntime(request) // once
	}
	st := request.Status
	if st.LogFile == "" {
		return nil
	}
	log, err := updatelog.Open(st.LogFile)
	if err != nil {
		return err
	}
	sum := updatelog.Summary{Result: string(st.Phase), Message: st.Message, Backup: st.BackupPath, Version: st.Release, Downtime: downtimeText(&st)}
	if st.Commit != "" && st.Phase == v1alpha1.PhaseSucceeded {
		sum.Version = Short(st.Commit)
		if st.Release != "" {
			sum.Version += " (release " + st.Release + ")"
		}
	}
	if st.StartedAt != nil && st.FinishedAt != nil {
		sum.Duration = st.FinishedAt.Sub(st.StartedAt.Time)
	}
	return errors.Join(log.Summary(sum), log.Close())
}

// say writes one line for people.
func (s *run) say(format string, args ...any) { s.log.Printf(string(s.Step), format, args...) }

// output is where a program's output goes.
func (s *run) output(prefix string) io.WriteCloser { return s.log.Writer(string(s.Step), prefix) }

func (s *run) record(change func(*v1alpha1.UpdateRequestStatus)) {
	s.mu.Lock()
	change(&s.Request.Status)
	s.mu.Unlock()
	s.rec.Record(change)
}

// Short is the commit as people write it.
func Short(commit string) string { return commit[:min(7, len(commit))] }
