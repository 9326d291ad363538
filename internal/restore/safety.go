// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// safetyBackup saves what is there now, with the files that were changed by hand.
// Databases that run are dumped; of others, which nobody writes to, the files
// are saved.
func (w *work) safetyBackup(ctx context.Context) error {
	if w.o.NoSafetyBackup {
		return w.writeJournal()
	}
	if w.journal.Safety != "" {
		if err := w.tellSaved(ctx, w.journal.Safety); err != nil {
			return err
		}
		return w.writeJournal()
	}
	containers, err := w.containers(ctx)
	if err != nil {
		return err
	}
	in, err := w.offline.BackupInput(ctx, containers)
	if err != nil {
		return err
	}
	// What only the model has says nothing of what is on the host: see cover.
	in.Services = slices.DeleteFunc(in.Services, func(s backup.Service) bool { return s.Absent })
	in.Databases = backup.Selection{None: true}
	for _, s := range in.Services {
		if _, dumped := w.facts.Databases[s.Name]; dumped && s.Running && !slices.Contains(in.Databases.Names, s.Name) {
			if _, err := backup.Connect(ctx, w.Deps.Docker, s); err != nil {
				w.say("the database %s does not answer, so its files are saved and no dump: %v", s.Name, err)
				continue
			}
			in.Databases = backup.Selection{Names: append(in.Databases.Names, s.Name)}
		}
	}
	if len(in.Databases.Names) == 0 {
		// Their files are only whole when nobody writes to them.
		if err := w.stop(ctx, nil); err != nil {
			return err
		}
	}
	if err := w.cover(ctx, &in); err != nil {
		return err
	}
	in.Files = append(in.Files, w.savedBesides(in)...)
	in.ComposeFiles, in.Files = existing(in.ComposeFiles, w.o.Directory), existing(in.Files, w.o.Directory)
	id, request := w.safetyID, w.request
	if id == "" {
		id = backup.NewID(w.Deps.Clock.Now(), func(id string) bool {
			_, err := os.Lstat(filepath.Join(w.backups(), id))
			return err == nil
		})
		request = "before the restore of " + w.manifest.ID
	}
	runner := &backup.Runner{Engine: w.Deps.Docker, Clock: w.Deps.Clock.Now, Version: w.Deps.Version}
	m, err := runner.Run(ctx, backup.Job{ID: id, Request: request, Release: w.release, Input: in, Progress: func(p backup.Progress) {
		if p.Done {
			w.say("saved %s (%d of %d)", p.Artifact, p.Index, p.Total)
		}
	}})
	if err != nil {
		return fmt.Errorf("the safety backup failed: %w", err)
	}
	w.journal.Safety = m.ID
	if _, err := w.offline.Repo().Keep(ctx, m.ID, w.offline.Head().Commit); err != nil {
		return err
	}
	w.say("what was there is saved in %s", m.ID)
	if err := w.tellSaved(ctx, m.ID); err != nil {
		return err
	}
	return w.writeJournal()
}

// tellSaved tells whoever records backups of the safety backup. One that somebody
// removed since an earlier attempt is no reason not to go on.
func (w *work) tellSaved(ctx context.Context, id string) error {
	if w.saved == nil {
		return nil
	}
	m, err := backup.Open(w.backups(), id)
	if errors.Is(err, backup.ErrNotFound) {
		w.say("the safety backup %s of an earlier attempt is gone", id)
		return nil
	}
	if err != nil {
		return err
	}
	return w.saved(ctx, m)
}

// savedBesides are files that are going to be overwritten and that an update
// would not save.
func (w *work) savedBesides(in backup.Input) []string {
	var out []string
	for _, edit := range w.facts.Edits {
		out = append(out, filepath.Join(w.offline.Repo().Top(), edit))
	}
	for _, item := range w.plan.Of(ActionWrite) {
		place := placeIn(w.o.Directory)
		for _, f := range item.Artifact.Files {
			if target := place(f.Entry); target != "" {
				out = append(out, target)
			}
		}
	}
	return slices.DeleteFunc(out, func(f string) bool { return slices.Contains(in.Files, f) })
}

// existing leaves out files that are not there, as one that was removed by hand.
func existing(files []string, dir string) []string {
	var out []string
	for _, f := range files {
		full := f
		if !filepath.IsAbs(full) {
			full = filepath.Join(dir, f)
		}
		if _, err := os.Lstat(full); err == nil && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// cover sees to it that every place that is overwritten is in the safety backup,
// also where no container mounts it now, or where an update would leave it out.
func (w *work) cover(ctx context.Context, in *backup.Input) error {
	var images []string
	for _, s := range in.Services {
		images = append(images, s.ImageID)
	}
	images = append(images, w.offline.ImageIDs()...)
	add := func(service string, m backup.Mount) {
		same := func(have backup.Mount) bool {
			return have.Type == m.Type && have.VolumeName == m.VolumeName && (m.Type == "volume" || filepath.Clean(have.Source) == m.Source)
		}
		if slices.ContainsFunc(in.Services, func(s backup.Service) bool { return slices.ContainsFunc(s.Mounts, same) }) {
			return
		}
		entry := backup.Service{Name: service, Mounts: []backup.Mount{m}}
		if len(images) > 0 {
			entry.ImageID = images[0] // any will do to mount a volume with
		}
		in.Services = append(in.Services, entry)
	}
	var names []string
	place := func(service, volume, path string) error {
		m := backup.Mount{Type: "volume", VolumeName: volume, RW: true}
		if volume != "" {
			_, err := w.Deps.Docker.VolumeInspect(ctx, volume)
			if docker.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return err
			}
		} else {
			m = backup.Mount{Type: "bind", Source: filepath.Clean(path), SourceKind: backup.SourceKindOf(path), RW: true}
			if m.SourceKind == backup.SourceMissing {
				return nil
			}
		}
		add(service, m)
		names = append(names, volume+m.Source)
		return nil
	}
	for _, item := range w.plan.Of(ActionReplace) {
		path := ""
		if item.Artifact.Kind == backup.KindBind {
			path = w.bindPath(item.Artifact)
		}
		if err := place(item.Artifact.Service, item.Artifact.Volume, path); err != nil {
			return err
		}
	}
	for service, db := range w.facts.Databases {
		var err error
		switch {
		case db.Place == "" || w.o.Skip.Database:
		case filepath.IsAbs(db.Place):
			err = place(service, "", db.Place)
		default:
			err = place(service, db.Place, "")
		}
		if err != nil {
			return err
		}
	}
	auto, err := backup.NewPlan(*in)
	if err != nil {
		return err
	}
	for _, a := range auto.Artifacts {
		if a.Kind == backup.KindVolume || a.Kind == backup.KindBind {
			names = append(names, a.Volume+a.Path)
		}
	}
	slices.Sort(names)
	in.Volumes = backup.Selection{Names: slices.Compact(names)}
	return nil
}
