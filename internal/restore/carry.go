// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/volume"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plural"
)

// part is one part of a restore.
type part struct {
	name string
	do   func(context.Context) error
	// touches says that something is overwritten from here on.
	touches bool
}

// carryOut does what the plan says. Every part can be done twice.
func (w *work) carryOut(ctx context.Context) error {
	if w.journal.Backup == "" {
		w.journal = journal{Backup: w.manifest.ID, At: w.Deps.Clock.Now().UTC()}
	}
	parts := []part{
		{name: "the images are here", do: w.offline.BringImages},
		{name: "what writes is stopped", do: func(ctx context.Context) error { return w.stop(ctx, w.isDatabase) }},
		{name: "the safety backup is made", do: w.safetyBackup},
		{name: "everything is stopped", do: func(ctx context.Context) error { return w.stop(ctx, nil) }},
		{name: "nobody else writes to the data", do: w.alone},
		{name: "the updates that were under way are ended", do: w.mark, touches: true},
		{name: "the code is back", do: w.code, touches: true},
		{name: "the settings are back", do: w.files, touches: true},
		{name: "networks and volumes are there", do: w.offline.EnsureResources, touches: true},
		{name: "the volumes and bind mounts are back", do: w.data, touches: true},
		{name: "the databases are back", do: w.databases, touches: true},
		{name: "the services run", do: func(ctx context.Context) error { return w.offline.Finish(ctx, w.facts.Self) }, touches: true},
		{name: "what is left over is removed", do: w.cleanUp, touches: true},
	}
	for i, p := range parts {
		w.tellProgress(i, len(parts), p.name)
		if p.touches && !w.touched {
			w.touched = true
		}
		if err := p.do(ctx); err != nil {
			return err
		}
		w.done = append(w.done, p.name)
		w.say("%s", p.name)
	}
	return nil
}

func (w *work) isDatabase(c docker.Container) bool {
	_, ok := w.facts.Databases[c.Service]
	return ok
}

// stop stops the containers of the application, but for those that keep names,
// dependents first. They keep stopped also when the engine restarts.
func (w *work) stop(ctx context.Context, keep func(docker.Container) bool) error {
	containers, err := w.containers(ctx)
	if err != nil {
		return err
	}
	byDepth := map[int][]docker.Container{}
	deepest := 0
	for _, c := range containers {
		up := c.Running() || c.State == docker.StateRestarting
		if !up || c.ID == w.Self || keep != nil && keep(c) {
			continue
		}
		d := w.depth(c.Service, nil)
		byDepth[d], deepest = append(byDepth[d], c), max(deepest, d)
	}
	before := len(w.stopped)
	for _, cs := range byDepth {
		for _, c := range cs {
			if _, known := w.stopped[c.ID]; !known { // an attempt before may have taken its policy
				w.stopped[c.ID] = c.RestartPolicy
			}
		}
	}
	if len(w.stopped) > before {
		// First of all: whoever goes on after a crash must know what to start.
		if err := w.writeJournal(); err != nil {
			return err
		}
	}
	for d := deepest; d >= 0; d-- {
		g, gctx := errgroup.WithContext(ctx)
		for _, c := range byDepth[d] {
			g.Go(func() error {
				w.say("stopping %s", c.Name)
				w.tellStopped(c.Service)
				if c.State == docker.StatePaused {
					if err := w.Deps.Docker.ContainerUnpause(gctx, c.ID); err != nil {
						return fmt.Errorf("resume %s: %w", c.Name, err)
					}
				}
				_, err := w.Deps.Docker.StopAndKeep(gctx, c.ID, docker.OwnStopTimeout, "")
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// depth is how many services a service stands on.
func (w *work) depth(service string, seen []string) int {
	svc, ok := w.project.Service(service)
	if !ok || slices.Contains(seen, service) {
		return 0
	}
	d := 0
	for _, dep := range svc.DependsOn {
		d = max(d, w.depth(dep.Service, append(seen, service))+1)
	}
	return d
}

// startAgain starts what was stopped, the deepest dependency first.
func (w *work) startAgain(ctx context.Context) error {
	containers, err := w.containers(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(containers, func(a, b docker.Container) int { return w.depth(a.Service, nil) - w.depth(b.Service, nil) })
	var errs []error
	for _, c := range containers {
		policy, ok := w.stopped[c.ID]
		if !ok || c.Running() {
			continue
		}
		errs = append(errs, w.Deps.Docker.SetRestartPolicy(ctx, c.ID, policy), w.Deps.Docker.Start(ctx, c.ID))
	}
	return errors.Join(errs...)
}

// mark records the restore, so that an update which was cut off does not go on
// with what is not there any more.
func (w *work) mark(context.Context) error {
	if err := w.writeJournal(); err != nil {
		return err
	}
	return claim.MarkRestored(w.o.Directory, w.application(), claim.Restored{Backup: w.manifest.ID, At: w.Deps.Clock.Now().UTC(), Request: w.request})
}

func (w *work) code(ctx context.Context) error {
	if w.plan.Code == "" && len(w.facts.Edits) == 0 || w.o.Skip.Code {
		return nil
	}
	repo := w.offline.Repo()
	edits, err := repo.LocalEdits(ctx, w.manifest.Commit)
	if err != nil {
		return err
	}
	for _, e := range edits {
		if !slices.Contains(w.facts.Edits, e) {
			return fmt.Errorf("%s was changed since the plan was shown", e)
		}
	}
	if err := repo.Discard(ctx, edits); err != nil {
		return err
	}
	return repo.MoveTo(ctx, w.manifest.Commit)
}

func (w *work) files(ctx context.Context) error {
	for _, item := range w.plan.Of(ActionWrite) {
		written := 0
		err := w.read(item.Artifact, func(r io.Reader) error {
			files, err := writeFiles(ctx, r, placeIn(w.o.Directory))
			written = len(files)
			return err
		})
		if err != nil {
			return err
		}
		w.say("%s: %s written", item.Artifact.Name, plural.Of(written, "file"))
	}
	return nil
}

// data restores volumes and bind mounts, and empties data directories that are
// made anew.
func (w *work) data(ctx context.Context) error {
	w.volumes.images = append(w.volumes.images, w.offline.ImageIDs()...)
	for _, item := range w.plan.Of(ActionReplace) {
		a := item.Artifact
		err := w.read(a, func(r io.Reader) error {
			var notes []string
			var err error
			if a.Kind == backup.KindVolume {
				notes, err = w.volume(ctx, a.Volume, r)
			} else {
				notes, err = w.bind(ctx, a, r)
			}
			for _, note := range notes {
				w.say("%s: %s", a.Name, note)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
		w.say("%s: its content is back", a.Name)
	}
	for service, place := range w.plan.Empty {
		if err := w.emptyPlace(ctx, place); err != nil {
			return fmt.Errorf("empty the data directory of %s: %w", service, err)
		}
	}
	return nil
}

func (w *work) volume(ctx context.Context, name string, r io.Reader) ([]string, error) {
	_, err := w.Deps.Docker.VolumeInspect(ctx, name)
	if docker.IsNotFound(err) { // one that the model does not make
		_, err = w.Deps.Docker.VolumeCreate(ctx, volume.CreateOptions{Name: name})
	}
	if err != nil {
		return nil, err
	}
	return w.volumes.replace(ctx, name, r)
}

func (w *work) bind(ctx context.Context, a backup.Artifact, r io.Reader) ([]string, error) {
	place := w.bindPath(a)
	info, err := os.Stat(place)
	if errors.Is(err, os.ErrNotExist) && a.Entries == 1 || err == nil && info.Mode().IsRegular() {
		base := filepath.Base(a.Path)
		_, err := writeFiles(ctx, r, func(entry string) string {
			if entry == base {
				return place
			}
			return ""
		})
		return nil, err
	}
	if err := os.MkdirAll(place, 0o755); err != nil { //nolint:gosec // its own mode comes with the archive
		return nil, err
	}
	if place, err = filepath.EvalSymlinks(place); err != nil {
		return nil, err
	}
	return Unpack(ctx, place, r, a.Excluded)
}

func (w *work) emptyPlace(ctx context.Context, place string) error {
	w.say("removing the database's files in %s", place)
	if !filepath.IsAbs(place) {
		return w.volumes.empty(ctx, place)
	}
	if err := os.MkdirAll(place, 0o700); err != nil {
		return err
	}
	_, err := Unpack(ctx, place, emptyArchive(), nil)
	return err
}

func (w *work) read(a backup.Artifact, use func(io.Reader) error) error {
	r, err := backup.OpenArtifact(w.backups(), w.manifest.ID, a)
	if err != nil {
		return err
	}
	return errors.Join(use(r), r.Close())
}

// databases starts the dumped servers with what they need, and feeds the dumps.
func (w *work) databases(ctx context.Context) error {
	dumps := w.plan.Of(ActionFeed)
	if len(dumps) == 0 {
		return nil
	}
	need := map[string]bool{}
	for _, d := range dumps {
		w.needs(d.Artifact.Service, need)
	}
	if err := w.offline.Rollout(ctx, func(service string) bool { return need[service] }); err != nil {
		return fmt.Errorf("%w; if a database server does not start with the files that are there, add --new-database-cluster", err)
	}
	for _, d := range dumps {
		service, err := w.serverOf(ctx, d.Artifact.Service)
		if err != nil {
			return err
		}
		began := w.Deps.Clock.Now()
		if err := w.read(d.Artifact, func(r io.Reader) error { return feedDump(ctx, w.Deps.Docker, service, r) }); err != nil {
			return fmt.Errorf("restore the dump %s: %w", d.Artifact.Name, err)
		}
		w.say("%s: the databases %s are back after %s", d.Artifact.Name, strings.Join(d.Artifact.Databases, ", "), w.Deps.Clock.Since(began).Round(time.Millisecond))
	}
	return nil
}

func (w *work) needs(service string, into map[string]bool) {
	if into[service] {
		return
	}
	into[service] = true
	svc, _ := w.project.Service(service)
	for _, d := range svc.DependsOn {
		w.needs(d.Service, into)
	}
}

// serverOf is the container of a database that runs.
func (w *work) serverOf(ctx context.Context, service string) (backup.Service, error) {
	containers, err := w.containers(ctx)
	if err != nil {
		return backup.Service{}, err
	}
	for _, c := range containers {
		if c.Service == service && c.Running() {
			env, err := w.Deps.Docker.ContainerEnv(ctx, c.ID, backup.EnvKeys())
			return backup.Service{Name: service, ContainerID: c.ID, Running: true, Env: env}, err
		}
	}
	return backup.Service{}, fmt.Errorf("no container of the database %s runs", service)
}

func (w *work) cleanUp(ctx context.Context) error {
	if err := w.offline.CleanUp(ctx, func(c docker.Container) bool { return c.ID == w.Self || c.Service == w.facts.Self }); err != nil {
		w.say("not everything that is left over could be removed: %v", err)
	}
	return nil
}

// summary verifies that everything runs, and says so.
func (w *work) summary(ctx context.Context) error {
	if err := w.complete(ctx); err != nil {
		return w.explain(ctx, err)
	}
	w.say("%s is restored: %s at %s, all services run", w.manifest.ID, w.manifest.Application, short(w.manifest.Commit))
	if w.journal.Safety != "" {
		w.say("what was there before is in %s: fairlead rollback-offline %s --directory %s", w.journal.Safety, w.journal.Safety, w.o.Directory)
	}
	w.say("the log is %s", w.log.Path())
	return nil
}

// complete verifies that everything runs, and ends the journal.
func (w *work) complete(ctx context.Context) error {
	containers, err := w.containers(ctx)
	if err != nil {
		return err
	}
	var bad []string
	for _, svc := range w.project.Services() {
		if svc.OneShot || svc.Replicas == 0 || svc.Name == w.facts.Self {
			continue
		}
		n := 0
		for _, c := range containers {
			if c.Service == svc.Name && c.State == docker.StateRunning && c.Health != docker.HealthUnhealthy {
				n++
			}
		}
		if n < svc.Replicas {
			bad = append(bad, fmt.Sprintf("%s: %d of %d containers run", svc.Name, n, svc.Replicas))
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	if err := os.Remove(w.journalPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
