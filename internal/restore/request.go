// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// Steps restores backups as a step of a request. It is steps.Restorer.
type Steps struct {
	// Deps are those of the steps.
	Deps steps.Deps
	// Program is this executable, which unpacks volumes in a container.
	Program string
}

// Plan verifies the backup and says what would be overwritten. It writes below
// .update only.
func (r *Steps) Plan(ctx context.Context, job steps.RestoreJob) (_ *steps.RestorePlan, err error) {
	w, err := r.open(ctx, job)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(w.overlay())) }()
	if err := w.prepare(ctx); err != nil {
		return nil, err
	}
	return &steps.RestorePlan{
		Commit: w.manifest.Commit, Made: w.manifest.CreatedAt,
		Lines: w.plan.Lines, Warnings: w.plan.Warnings, Blocked: w.plan.Blocked,
	}, nil
}

// Restore carries it out, and returns when everything runs. It goes on where an
// attempt before was cut off. The error is a *steps.RestoreError, or the end of
// ctx.
func (r *Steps) Restore(ctx context.Context, job steps.RestoreJob) (_ *steps.Restored, err error) {
	w, err := r.open(ctx, job)
	if err != nil {
		return nil, &steps.RestoreError{Err: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(w.overlay())) }()
	if err := w.readJournal(); err != nil {
		return nil, &steps.RestoreError{Err: err}
	}
	done, err := w.doneBefore()
	if err != nil {
		return nil, &steps.RestoreError{Err: err}
	}
	if err := w.prepare(ctx); err != nil {
		return nil, w.failed(ctx, err)
	}
	if done {
		w.say("an earlier attempt came to its end")
		return &steps.Restored{Commit: w.manifest.Commit, Project: w.project, Services: w.offline.Services()}, nil
	}
	for _, line := range append(w.plan.Lines, w.plan.Warnings...) {
		w.say("%s", line)
	}
	if len(w.plan.Blocked) > 0 {
		return nil, w.failed(ctx, errors.New(strings.Join(w.plan.Blocked, "; ")))
	}
	err = w.tellServices(ctx)
	if err == nil {
		err = w.carryOut(ctx)
	}
	if err == nil {
		err = w.complete(ctx)
	}
	if err != nil {
		return nil, w.failed(ctx, err)
	}
	return &steps.Restored{Commit: w.manifest.Commit, Project: w.project, Services: w.offline.Services()}, nil
}

// doneBefore reports whether an attempt of the same request came to its end, and
// only its answer was lost. Without that, it removes the safety backup of an
// attempt that was undone: the application has run since.
func (w *work) doneBefore() (bool, error) {
	if w.journal.Backup != "" {
		return false, nil
	}
	last, err := claim.LastRestored(w.o.Directory, w.application())
	if err != nil {
		return false, err
	}
	if last != nil && last.Request == w.request {
		return true, nil
	}
	m, err := backup.Open(w.backups(), w.safetyID)
	if err != nil || m.Request != w.request {
		return false, nil //nolint:nilerr // it is not there, or not ours: making it will tell
	}
	return false, backup.Remove(w.backups(), w.safetyID)
}

// open verifies the backup and makes the work of it.
func (r *Steps) open(ctx context.Context, job steps.RestoreJob) (*work, error) {
	dir := job.Application.Spec.Compose.Directory
	backups := backup.Dir(dir)
	manifest, err := backup.Open(backups, job.Backup)
	if err == nil {
		err = backup.Verify(ctx, backups, job.Backup)
	}
	if err != nil {
		return nil, err
	}
	if sameDirectory(dir, manifest.DeployDir) {
		dir = manifest.DeployDir // by the name that the engine and the labels of containers know
	}
	o := Options{Directory: dir, ID: job.Backup}
	w := &work{
		Runner: &Runner{Deps: r.Deps, Program: r.Program, Out: io.Discard, Self: job.Self}, o: o, manifest: manifest,
		id: strings.TrimPrefix(job.Backup, "backup_"), run: job.Run, request: job.Request, release: job.Release, safetyID: "backup_" + job.Run, saved: job.Saved, record: job.Record,
		log: job.Log, app: application(dir, manifest, o), stopped: map[string]docker.RestartPolicy{},
	}
	// The backup knows the model, the Application how it is brought up.
	w.app.ObjectMeta = *job.Application.ObjectMeta.DeepCopy()
	spec := job.Application.DeepCopy().Spec
	w.app.Spec.Source, w.app.Spec.Rollout, w.app.Spec.Backup = spec.Source, spec.Rollout, spec.Backup
	return w, nil
}

// failed starts again what was stopped, if nothing was overwritten, and says what
// was done.
func (w *work) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	out := &steps.RestoreError{Err: err, Touched: w.touched, Done: w.done, Safety: w.journal.Safety}
	if w.touched || len(w.stopped) == 0 {
		return out
	}
	if again := w.giveUp(context.WithoutCancel(ctx)); again != nil {
		out.Err = errors.Join(err, again)
	}
	return out
}
