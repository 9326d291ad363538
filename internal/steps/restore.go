// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plural"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/source"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Restorer brings an application back to a backup. Package restore is one.
type Restorer interface {
	// Plan verifies the backup and says what would be overwritten.
	Plan(ctx context.Context, job RestoreJob) (*RestorePlan, error)
	// Restore carries it out. It goes on where an attempt before was cut off. The
	// error is a *RestoreError, or the end of ctx.
	Restore(ctx context.Context, job RestoreJob) (*Restored, error)
}

// RestoreJob is one restore of a request.
type RestoreJob struct {
	// Backup is the ID of the backup; Run that of the request's run, which its
	// safety backup gets; Request its UID.
	Backup, Run, Request string
	// Release that runs before, if one is known.
	Release     string
	Application *v1alpha1.Application
	// Self is the ID of the container that this process runs in, which is left as
	// it is; empty for none.
	Self string
	Log  *updatelog.Log
	// Saved is told of the safety backup before anything is overwritten. It may be
	// called again.
	Saved func(context.Context, *backup.Manifest) error
	// Record is told what becomes of the services and of the step, as
	// Recorder.Record is; nil for nobody.
	Record func(change func(*v1alpha1.UpdateRequestStatus))
}

// RestorePlan says what a restore overwrites.
type RestorePlan struct {
	// Commit that ran when the backup was made, at Made.
	Commit string
	Made   time.Time
	// Lines say what happens to each thing; Warnings what is not as it was; Blocked
	// why it cannot be carried out.
	Lines, Warnings, Blocked []string
}

// Restored is what runs after a restore.
type Restored struct {
	Commit   string
	Project  *compose.Project
	Services []v1alpha1.ServiceUpdate
}

// RestoreError says how far a restore came.
type RestoreError struct {
	Err error
	// Touched says that something was overwritten; otherwise what was stopped runs
	// again.
	Touched bool
	Done    []string
	// Safety is the ID of the backup of what was there before.
	Safety string
}

func (e *RestoreError) Error() string {
	if !e.Touched {
		return e.Err.Error() + "; nothing was overwritten"
	}
	text := fmt.Sprintf("%v; done: %s; what comes after that is not done, and what is not ready does not run: ask for the restore again, and it goes on",
		e.Err, strings.Join(e.Done, ", "))
	if e.Safety != "" {
		text += "; what was there before is in " + e.Safety
	}
	return text
}

// Unwrap returns the cause.
func (e *RestoreError) Unwrap() error { return e.Err }

// passes reports whether a restore that met err is worth another try by itself.
func (e *RestoreError) passes() bool {
	for _, cause := range []error{source.ErrUnreachable, source.ErrLocked} {
		if errors.Is(e.Err, cause) {
			return true
		}
	}
	var api apierrors.APIStatus
	return docker.IsUnavailable(e.Err) || build.Retryable(e.Err) || errors.As(e.Err, &api)
}

// backupWanted is the Backup that the request goes back to.
func (s *run) backupWanted(ctx context.Context) (*v1alpha1.Backup, error) {
	name := s.Request.Spec.RestoreFrom.Name
	all, err := s.Store.Backups(ctx, s.Application)
	if err != nil {
		return nil, trouble{err}
	}
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
	}
	return nil, failure.Terminalf(v1alpha1.ReasonBackupNotFound,
		"there is no Backup %s of the application %s: `kubectl get backups`, or the page of its backups, lists them", name, s.Application.Name)
}

func (s *run) restoreJob(ctx context.Context, id string) (RestoreJob, error) {
	own, err := s.ownContainer(ctx)
	return RestoreJob{
		Backup: id, Run: s.Request.Status.ID, Request: string(s.Request.UID), Release: s.Request.Status.PreviousRelease, Application: s.Application, Self: own, Log: s.log, Saved: s.recordSafety, Record: s.record,
	}, err
}

// checkRestore verifies the backup and plans the restore.
func (p *preflightRun) checkRestore(ctx context.Context) (string, error) {
	if p.w == nil {
		return "", errUnanswered
	}
	b, err := p.backupWanted(ctx)
	if err != nil {
		return "", err
	}
	job, err := p.restoreJob(ctx, b.Spec.ID)
	if err != nil {
		return "", trouble{err}
	}
	if err := p.rec.Begun(ctx); err != nil { // it may make a container to look into a volume, and unpacks settings
		return "", trouble{err}
	}
	plan, err := p.Restorer.Plan(ctx, job)
	if err != nil {
		if (&RestoreError{Err: err}).passes() {
			return "", trouble{err}
		}
		return "", failure.Terminalf(v1alpha1.ReasonBackupUnusable, "%s cannot be gone back to: %w", b.Spec.ID, err)
	}
	if len(plan.Blocked) > 0 {
		return "", failure.Terminalf(v1alpha1.ReasonBackupUnusable, "%s cannot be gone back to as things are: %s", b.Spec.ID, strings.Join(plan.Blocked, "; "))
	}
	p.restore = plan
	if len(plan.Warnings) > 0 {
		return "", warn{strings.Join(plan.Warnings, "; ")}
	}
	return b.Spec.ID + " is whole", nil
}

// decideRestore records what is overwritten.
func (p *preflightRun) decideRestore(ctx context.Context) error {
	if p.Gateways != nil && p.Application.Spec.Gateway.Mode == v1alpha1.GatewayAuto {
		if err := p.Gateways.Fit(); err != nil {
			return p.refuse("Gateway", err)
		}
	}
	releases, err := p.Store.Releases(ctx, p.Application)
	if err != nil {
		return err
	}
	previous, current := p.w.head.Commit, release.Current(releases)
	if current != nil && current.Spec.Commit != "" {
		previous = current.Spec.Commit
	}
	up := &v1alpha1.UpdatePlan{
		Summary: fmt.Sprintf("goes back to %s of %s: what is there now is saved first, then overwritten; the application is down meanwhile",
			p.Request.Spec.RestoreFrom.Name, p.restore.Made.UTC().Format(time.RFC3339)),
		Backup: []string{"everything that is overwritten"},
	}
	for _, line := range p.restore.Lines {
		up.Restore = append(up.Restore, limitTo(line, 4096))
	}
	if err := p.forecastDisk(ctx, up, nil, p.backups(ctx)); err != nil {
		return err
	}
	sha, tree := p.restore.Commit, p.w.head.Commit
	p.record(func(st *v1alpha1.UpdateRequestStatus) {
		st.Commit, st.PreviousCommit, st.PreviousTree, st.Plan = sha, previous, tree, up
		if current != nil && !p.Request.Spec.DryRun {
			st.PreviousRelease = current.Name
		}
	})
	for _, line := range up.Restore {
		p.say("  %s", line)
	}
	return nil
}

// recordSafety makes the backup of what was there before known.
func (s *run) recordSafety(ctx context.Context, m *backup.Manifest) error {
	path := filepath.Join(backup.Dir(s.Application.Spec.Compose.Directory), m.ID)
	if err := s.Store.RecordBackup(ctx, backupObject(s.Application, s.Request, m, path)); err != nil {
		return err
	}
	if m.Release != "" {
		if err := s.refer(ctx, m); err != nil {
			return err
		}
	}
	id := m.ID
	s.record(func(st *v1alpha1.UpdateRequestStatus) { st.Backup, st.BackupPath = id, path })
	return s.rec.Written(ctx)
}

// TellServices puts services into a status, and keeps what is known there of their
// containers and health.
func TellServices(st *v1alpha1.UpdateRequestStatus, services []v1alpha1.ServiceUpdate) {
	before := st.Services
	st.Services = slices.Clone(services)
	for i := range st.Services {
		u := &st.Services[i]
		j := slices.IndexFunc(before, func(o v1alpha1.ServiceUpdate) bool { return o.Name == u.Name })
		if j < 0 {
			continue
		}
		u.Health, u.Log, u.NewContainers = before[j].Health, before[j].Log, before[j].NewContainers
		if len(before[j].OldContainers) > 0 {
			u.OldContainers = before[j].OldContainers
		}
	}
}

// restore goes back to a backup. What runs then is verified, and recorded as a
// release, by the next step.
func (s *run) restore(ctx context.Context) error {
	b, err := s.backupWanted(ctx)
	if err != nil {
		return err
	}
	job, err := s.restoreJob(ctx, b.Spec.ID)
	if err != nil {
		return err
	}
	done, err := s.Restorer.Restore(ctx, job)
	if err != nil {
		var how *RestoreError
		if ctx.Err() != nil || !errors.As(err, &how) || how.passes() {
			return err
		}
		reason := v1alpha1.ReasonRestoreFailed
		if t := failure.AsTerminal(err); t != nil && !how.Touched {
			reason = t.Reason
		}
		return &failure.Terminal{Reason: reason, Message: err.Error(), Err: err}
	}
	w, err := s.workspace(ctx)
	if err != nil {
		return err
	}
	if _, err := writeModel(w.modelPath(s.Request.Status.ID), done.Project); err != nil {
		return err
	}
	commit := w.head.Commit
	s.record(func(st *v1alpha1.UpdateRequestStatus) {
		st.Commit = commit
		TellServices(st, done.Services)
	})
	s.say("%s is restored: the application runs %s, as %s", b.Spec.ID, Short(w.head.Commit), b.Name)
	return nil
}

// afterRestore tells, where what was restored does not pass its verification, that
// what was there before can come back.
func (s *run) afterRestore(err error) error {
	t := failure.AsTerminal(err)
	if t == nil || s.Request.Spec.RestoreFrom == nil || s.Request.Status.Backup == "" {
		return err
	}
	return &failure.Terminal{Reason: t.Reason, Err: err, Message: fmt.Sprintf(
		"%s; what was restored is left as it is, what was there before is in %s", t.Error(), s.Request.Status.Backup)}
}

// checkRunning loads what is checked out, for what a backup has to save.
func (p *preflightRun) checkRunning(ctx context.Context) (string, error) {
	if p.w == nil || p.variablesAllowed() != nil {
		return "", errUnanswered
	}
	project, err := observe.LoadCheckedOut(ctx, p.Application)
	if err != nil {
		return "", err
	}
	p.project = project
	if p.containers, err = observe.Containers(ctx, p.Docker, project.Name()); err != nil {
		return "", trouble{err}
	}
	return plural.Of(len(project.Services()), "service"), nil
}

// decideBackup records what is saved.
func (p *preflightRun) decideBackup(ctx context.Context) error {
	forecast, err := p.forecastBackup(ctx, p.w, p.project, p.containers)
	if impossible := (*backup.InputError)(nil); errors.As(err, &impossible) {
		return p.refuse("Backup", err)
	}
	if err != nil {
		return err
	}
	releases, err := p.Store.Releases(ctx, p.Application)
	if err != nil {
		return err
	}
	current := release.Current(releases)
	up := &v1alpha1.UpdatePlan{Summary: fmt.Sprintf("makes a backup of %d parts; nothing else is changed", len(forecast)), Backup: forecast}
	if err := p.forecastDisk(ctx, up, nil, p.backups(ctx)); err != nil {
		return err
	}
	sha := p.w.head.Commit
	p.record(func(st *v1alpha1.UpdateRequestStatus) {
		st.PreviousCommit, st.PreviousTree, st.Plan = sha, sha, up
		if current != nil && !p.Request.Spec.DryRun {
			st.PreviousRelease = current.Name
		}
	})
	return nil
}
