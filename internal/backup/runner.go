// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
)

// copies is how often an archive is tried while the application writes, before
// its writers are paused.
const copies = 3

// Runner makes backups. It has no state of its own and may be used by several
// goroutines.
type Runner struct {
	// Engine holds the application.
	Engine Engine
	// Clock tells the time; required.
	Clock func() time.Time
	// Version of Fairlead, for the manifest.
	Version string
	// Reserve is what stays free on the disk, in bytes; 0: DefaultReserve.
	Reserve int64

	filesystem filesystem // nil: the real one
}

// Job is one backup to make.
type Job struct {
	// ID of the backup; see NewID. The caller stores it before Run, so that after
	// a crash the same one is asked for again.
	ID string
	// Request is the UID of what the backup is made for, Release the name of what
	// runs. Both are recorded.
	Request, Release string
	// Input says what is there and what is wanted.
	Input Input
	// Progress, if not nil, is called from Run's goroutine and must be quick.
	Progress func(Progress)
}

// Run makes the backup, or returns it if an earlier Run for the same ID and
// request has completed it. What earlier, interrupted runs left is removed first.
//
// After an error there is no backup with the ID, and nothing but the backups
// directory was touched. The error holds an *Error; it is failure.Interrupted when
// ctx was cancelled, failure.Terminal (reason BackupFailed) where trying again does
// not help by itself (InputError, NoSpaceError, TornError, DumpError, ErrCorrupt),
// and any other error may pass.
func (r *Runner) Run(ctx context.Context, job Job) (*Manifest, error) {
	m, err := r.run(ctx, job)
	if err != nil {
		return nil, classify(ctx, job.ID, r.explain(Dir(job.Input.DeployDir), 0, err))
	}
	return m, nil
}

func (r *Runner) run(ctx context.Context, job Job) (*Manifest, error) {
	if err := checkID(job.ID); err != nil {
		return nil, &InputError{Message: err.Error()}
	}
	plan, err := NewPlan(job.Input)
	if err != nil {
		return nil, err
	}
	if SourceKindOf(job.Input.DeployDir) != SourceDirectory {
		return nil, inputErrorf("the deployment directory %s does not exist", job.Input.DeployDir)
	}
	dir := Dir(job.Input.DeployDir)
	if err := r.makeDir(dir); err != nil {
		return nil, err
	}
	if err := r.Sweep(ctx, dir); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(dir, job.ID)); !errors.Is(err, fs.ErrNotExist) {
		return r.existing(ctx, dir, job)
	}
	return r.make(ctx, dir, job, plan)
}

// makeDir makes the backups directory, for its owner only; .update, in which the
// logs are too, is open to others.
func (r *Runner) makeDir(dir string) error {
	update := filepath.Dir(dir)
	if err := r.fs().Mkdir(update, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	err := r.fs().Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.fs().SyncDir(filepath.Dir(update)); err != nil {
		return err
	}
	return r.fs().SyncDir(update)
}

// existing returns the backup that an earlier run completed.
func (r *Runner) existing(ctx context.Context, dir string, job Job) (*Manifest, error) {
	m, err := Open(dir, job.ID)
	if err != nil {
		return nil, err
	}
	if m.Request != job.Request || m.Application != job.Input.Application {
		return nil, inputErrorf("there is a backup %s already, made for another request (%s of %s)", job.ID, m.Request, m.Application)
	}
	if err := Verify(ctx, dir, job.ID); err != nil {
		return nil, err
	}
	return m, nil
}

func (r *Runner) make(ctx context.Context, dir string, job Job, plan *Plan) (_ *Manifest, err error) {
	m := r.manifest(job, plan)
	sources := make([]source, len(plan.Artifacts))
	for i, p := range plan.Artifacts {
		sources[i] = r.source(dir, job, p)
	}
	whole, _, err := List(dir)
	if err != nil {
		return nil, err
	}
	var last *Manifest
	if len(whole) > 0 {
		last = &whole[0]
	}
	estimate, err := r.estimate(ctx, plan.Artifacts, sources, last)
	if err != nil {
		return nil, err
	}
	if err := r.checkSpace(dir, estimate, estimate); err != nil {
		return nil, err
	}

	partial := filepath.Join(dir, partialName(job.ID))
	if err := r.fs().Mkdir(partial, 0o700); errors.Is(err, fs.ErrExist) {
		return nil, ErrBusy
	} else if err != nil {
		return nil, err
	}
	lock, err := lockDir(partial)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	defer func() {
		if err != nil {
			err = errors.Join(err, r.abandon(ctx, dir, job.ID))
		}
	}()

	for i, p := range plan.Artifacts {
		w := &work{runner: r, partial: partial, planned: p, source: sources[i], estimate: estimate, report: func(pr Progress) {
			if job.Progress != nil {
				pr.Artifact, pr.Index, pr.Total = p.Name, i+1, len(plan.Artifacts)
				job.Progress(pr)
			}
		}}
		a, err := w.artifact(ctx)
		if err != nil {
			return nil, &Error{ID: job.ID, Artifact: p.Name, Err: r.explain(dir, estimate, err)}
		}
		m.Artifacts = append(m.Artifacts, *a)
		m.Bytes += a.Bytes
	}
	m.CompletedAt = r.Clock().UTC()
	if err := r.complete(ctx, dir, m); err != nil {
		return nil, r.explain(dir, estimate, err)
	}
	return m, nil
}

// complete writes the manifest and gives the backup its name.
func (r *Runner) complete(ctx context.Context, dir string, m *Manifest) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	partial := filepath.Join(dir, partialName(m.ID))
	if err := r.fs().WriteFile(filepath.Join(partial, ManifestName), data); err != nil {
		return err
	}
	if err := r.fs().SyncDir(partial); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	final := filepath.Join(dir, m.ID)
	if err := r.fs().Rename(partial, final); err != nil {
		return err
	}
	if err := r.fs().SyncDir(dir); err != nil {
		// Not durable is not made: the name goes again.
		return errors.Join(err, r.fs().Rename(final, partial))
	}
	return nil
}

// explain turns a full disk into an error that says so.
func (r *Runner) explain(dir string, estimate int64, err error) error {
	var space *NoSpaceError
	if !failure.IsNoSpace(err) || errors.As(err, &space) {
		return err
	}
	free, _ := r.fs().Free(dir) // 0, which is as good, where even that cannot be told
	return &NoSpaceError{Dir: dir, Needed: estimate, Reserve: r.reserve(), Free: free}
}

func (r *Runner) manifest(job Job, plan *Plan) *Manifest {
	in := job.Input
	m := &Manifest{
		SchemaVersion: SchemaVersion, ID: job.ID, Application: in.Application, Project: in.Project, Request: job.Request, Release: job.Release,
		CreatedAt: r.Clock().UTC(), Commit: in.Commit, Branch: in.Branch, DeployDir: in.DeployDir,
		ComposeFiles: append([]string{}, in.ComposeFiles...), EnvFiles: in.EnvFiles, Profiles: in.Profiles, Variables: in.Variables, Images: []Image{}, Artifacts: []Artifact{},
		Skipped: plan.Skipped, Warnings: plan.Warnings, Verified: VerifiedChecksums, Version: r.Version,
	}
	for _, s := range in.Services {
		if s.Absent {
			continue
		}
		image := Image{Service: s.Name, Ref: s.Image, ID: s.ImageID, RepoDigests: s.RepoDigests}
		if !slices.ContainsFunc(m.Images, func(i Image) bool { return i.Service == s.Name && i.Ref == s.Image && i.ID == s.ImageID }) {
			m.Images = append(m.Images, image)
		}
	}
	return m
}

func (r *Runner) source(dir string, job Job, p Planned) source {
	switch p.Kind {
	case KindFiles:
		return filesSource{dirs: job.Input.deployDirs(), paths: p.Files}
	case KindBind:
		return bindSource{path: p.Path, exclude: p.Exclude}
	case KindPostgreSQL:
		i := slices.IndexFunc(job.Input.Services, func(s Service) bool { return s.ContainerID == p.Container })
		return &postgresSource{engine: r.Engine, clock: r.Clock, service: job.Input.Services[i]}
	default:
		return volumeSource{engine: r.Engine, volume: p.Volume, service: p.Service, images: append(images(job.Input.Services, p.Service), job.Input.Images...), labels: TemporaryLabels(dir, job.ID)}
	}
}

// images lists the image IDs of the services, that of one service first.
func images(services []Service, first string) []string {
	var ids []string
	for _, mine := range []bool{true, false} {
		for _, s := range services {
			if (s.Name == first) == mine && s.ImageID != "" && !slices.Contains(ids, s.ImageID) {
				ids = append(ids, s.ImageID)
			}
		}
	}
	return ids
}

// abandon removes all that an unfinished backup left behind, also when ctx has
// been cancelled. The caller holds the lock.
func (r *Runner) abandon(ctx context.Context, dir, id string) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	partial := filepath.Join(dir, partialName(id))
	containersErr := r.sweepContainers(ctx, dir, func(backup string) bool { return backup == id })
	if err := r.resume(ctx, partial); err != nil {
		// The journal stays for Sweep.
		return errors.Join(err, containersErr)
	}
	return errors.Join(containersErr, r.fs().RemoveAll(partial))
}

// Sweep removes from dir what interrupted backups and removals left: it resumes
// containers that were paused, and removes temporary containers and directories.
// Backups that are being made, by any process, are left alone. To be called when
// the daemon starts; Run calls it too.
func (r *Runner) Sweep(ctx context.Context, dir string) error {
	partial, trash, err := leftovers(dir)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	log := logr.FromContextOrDiscard(ctx).WithName("backup")
	busy := map[string]bool{}
	for _, id := range partial {
		path := filepath.Join(dir, partialName(id))
		lock, err := lockDir(path)
		if errors.Is(err, ErrBusy) {
			busy[id] = true
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("sweep %s: %w", dir, err)
		}
		err = r.resume(ctx, path)
		if err == nil {
			log.Info("removing what an interrupted backup left", "backup", id)
			err = r.fs().RemoveAll(path)
		}
		lock.release()
		if err != nil {
			return fmt.Errorf("sweep %s: %w", dir, err)
		}
	}
	for _, name := range trash {
		if err := r.fs().RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("sweep %s: %w", dir, err)
		}
	}
	return r.sweepContainers(ctx, dir, func(id string) bool { return !busy[id] })
}

// sweepContainers removes the temporary containers of dir's backups that match.
func (r *Runner) sweepContainers(ctx context.Context, dir string, match func(id string) bool) error {
	found, err := r.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelTemporary+"="+temporaryBackup), filters.Arg("label", labelDirectory+"="+dir))})
	if err != nil {
		return fmt.Errorf("list temporary containers: %w", err)
	}
	var errs []error
	for _, c := range found {
		if match(c.Labels[labelBackup]) {
			errs = append(errs, removeContainer(ctx, r.Engine, c.ID))
		}
	}
	return errors.Join(errs...)
}

func (r *Runner) fs() filesystem {
	if r.filesystem != nil {
		return r.filesystem
	}
	return disk{}
}

var _ Engine = (*docker.Client)(nil)
