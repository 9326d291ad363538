// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/source"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

// prepare looks at everything that the plan is made from. It writes to .update
// only.
func (w *work) prepare(ctx context.Context) error {
	if err := w.Deps.Docker.Check(ctx); err != nil {
		return err
	}
	var err error
	if w.offline, err = steps.NewOffline(ctx, w.Deps, w.app, w.id, w.log); err != nil {
		return err
	}
	commit, err := w.commit(ctx)
	if err != nil {
		return err
	}
	if err := w.layOut(ctx); err != nil {
		return err
	}
	if err := w.load(ctx, commit); err != nil {
		return err
	}
	containers, err := w.containers(ctx)
	if err != nil {
		return err
	}
	ran := w.manifest.Images
	if w.o.Skip.Code {
		ran = imagesOf(containers)
	}
	images, err := w.offline.PlanImages(ctx, ran)
	if err != nil {
		return err
	}
	w.volumes = volumes{
		engine: w.Deps.Docker, program: w.Program, images: imageIDs(w.manifest, containers),
		labels: backup.TemporaryLabels(w.backups(), w.manifest.ID),
	}
	f := Facts{
		Manifest: *w.manifest, Directory: w.o.Directory, Skip: w.o.Skip,
		Head: w.offline.Head().Commit, Branch: w.offline.Head().Branch,
		SafetyBackup: !w.o.NoSafetyBackup, EarlierID: w.journal.Safety, NewCluster: w.o.NewCluster,
		Present: map[string]Present{}, Databases: map[string]Database{},
	}
	for _, i := range images {
		f.Images = append(f.Images, ImageSource{Service: i.Service, How: i.How, Exact: i.Exact})
	}
	for _, c := range containers {
		if c.ID == w.Self && c.ID != "" {
			f.Self = c.Service
		} else if c.Running() || c.State == docker.StateRestarting {
			f.Containers = append(f.Containers, c.Name)
		}
	}
	if !w.o.Skip.Code && w.manifest.Commit != "" {
		if f.Edits, err = w.offline.Repo().LocalEdits(ctx, commit); err != nil {
			return err
		}
		ahead, err := w.offline.Repo().UnpushedCommits(ctx, commit)
		if err != nil {
			return err
		}
		f.Ahead = len(ahead)
	}
	for _, a := range w.manifest.Artifacts {
		if f.Present[a.Name], err = w.present(ctx, a); err != nil {
			return err
		}
		if a.Kind == backup.KindPostgreSQL {
			if f.Databases[a.Service], err = w.database(ctx, a.Service); err != nil {
				return err
			}
		}
	}
	running, err := w.Deps.Docker.MountingContainers(ctx)
	if err != nil {
		return err
	}
	f.Users = users(running, containers, w.Self)
	w.facts, w.plan = f, NewPlan(f)
	return nil
}

// imagesOf are the images that the services run now, or ran last.
func imagesOf(containers []docker.Container) []backup.Image {
	var out []backup.Image
	for _, running := range []bool{true, false} {
		for _, c := range containers {
			if c.Running() == running {
				out = append(out, backup.Image{Service: c.Service, Ref: c.Image, ID: c.ImageID})
			}
		}
	}
	return out
}

// commit is the one that the backup's containers were made at, fetched if it is
// not here; the one that is checked out, if that is to stay.
func (w *work) commit(ctx context.Context) (string, error) {
	want := w.manifest.Commit
	if want == "" || w.o.Skip.Code {
		return w.offline.Head().Commit, nil
	}
	repo := w.offline.Repo()
	if _, err := repo.Resolve(ctx, want); err == nil || !errors.Is(err, source.ErrNotFound) {
		return want, err
	}
	w.say("the commit %s is not in the clone: fetching it", short(want))
	if _, err := repo.Fetch(ctx, want); err != nil {
		return "", fmt.Errorf("the commit %s of the backup is not in the clone %s and cannot be fetched: %w", want, repo.Top(), err)
	}
	return want, nil
}

// layOut unpacks the settings of the backup to where the Compose model is loaded
// with them.
func (w *work) layOut(ctx context.Context) error {
	if err := os.RemoveAll(w.overlay()); err != nil {
		return err
	}
	if err := os.MkdirAll(w.overlay(), 0o700); err != nil {
		return err
	}
	for _, a := range w.manifest.Artifacts {
		if a.Kind != backup.KindFiles || w.o.Skip.Files {
			continue
		}
		r, err := backup.OpenArtifact(w.backups(), w.manifest.ID, a)
		if err != nil {
			return err
		}
		_, err = writeFiles(ctx, r, placeOverlay(w.overlay()))
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// load loads the model of the backup. An older backup does not name the active
// profiles: then those are active whose services ran.
func (w *work) load(ctx context.Context, commit string) error {
	var err error
	if w.project, err = w.offline.Load(ctx, commit, w.overlay()); err != nil {
		return err
	}
	var missing []string
	for _, i := range w.manifest.Images {
		if _, ok := w.project.Service(i.Service); !ok && slices.Contains(w.project.AllServices(), i.Service) {
			missing = append(missing, w.project.ProfilesOf(i.Service)...)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	w.say("the profiles %s are active, as their services ran", strings.Join(missing, ", "))
	w.app.Spec.Compose.Profiles = append(w.app.Spec.Compose.Profiles, missing...)
	w.project, err = w.offline.Load(ctx, commit, w.overlay())
	return err
}

func (w *work) containers(ctx context.Context) ([]docker.Container, error) {
	return w.Deps.Docker.ProjectContainers(ctx, w.project.Name())
}

// present looks at the place of an artifact.
func (w *work) present(ctx context.Context, a backup.Artifact) (Present, error) {
	switch a.Kind {
	case backup.KindVolume:
		_, err := w.Deps.Docker.VolumeInspect(ctx, a.Volume)
		if docker.IsNotFound(err) {
			return Present{}, nil
		}
		return Present{Exists: true, Bytes: -1}, err
	case backup.KindBind:
		return w.presentBind(a)
	}
	return Present{Exists: true, Bytes: -1}, nil
}

func (w *work) presentBind(a backup.Artifact) (Present, error) {
	place := w.bindPath(a)
	for _, e := range a.Excluded {
		if strings.Contains(e, "/") {
			return Present{Impossible: "the deployment directory is inside of it; unpack it by hand, as docs/guides/operations.md says"}, nil
		}
	}
	info, err := os.Stat(place)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Present{}, nil
	case err != nil:
		return Present{}, err
	case info.Mode().IsRegular():
		return Present{Exists: true, Bytes: info.Size()}, nil
	case !info.IsDir():
		return Present{Impossible: place + " is neither a file nor a directory"}, nil
	}
	return Present{Exists: true, Bytes: -1}, nil
}

func (w *work) bindPath(a backup.Artifact) string {
	return move(a.Path, w.manifest.DeployDir, w.o.Directory)
}

// defaultData are where images keep their databases that do not say so.
var defaultData = []string{"/var/lib/postgresql/data", "/bitnami/postgresql/data", "/home/postgres/pgdata"}

// database finds where a dumped service keeps its files, and which version wrote
// those that are there now.
func (w *work) database(ctx context.Context, service string) (Database, error) {
	svc, ok := w.project.Service(service)
	if !ok {
		return Database{}, nil
	}
	db := Database{InModel: true}
	places := defaultData
	if data := cmp.Or(svc.Environment["PGDATA"], w.imageEnv(ctx, service, svc.ImageName, "PGDATA")); data != "" {
		places = []string{data}
	}
	for _, data := range places {
		m, ok := mountOf(svc, data)
		if !ok {
			continue
		}
		rel, err := filepath.Rel(m.Target, data)
		if err != nil {
			return db, err
		}
		db.Place = m.Source
		version := path.Join(filepath.ToSlash(rel), "PG_VERSION")
		if m.Type == compose.MountBind {
			db.Place = move(m.Source, w.manifest.DeployDir, w.o.Directory)
			data, err := os.ReadFile(filepath.Join(db.Place, version))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return db, err
			}
			db.Major = strings.TrimSpace(string(data))
		} else if _, err := w.Deps.Docker.VolumeInspect(ctx, m.Source); err == nil {
			content, err := w.volumes.read(ctx, m.Source, version)
			if err != nil {
				return db, err
			}
			db.Major = strings.TrimSpace(content)
		} else if !docker.IsNotFound(err) {
			return db, err
		}
		for _, a := range w.manifest.Artifacts {
			if a.Kind == backup.KindVolume && m.Type == compose.MountVolume && a.Volume == m.Source ||
				a.Kind == backup.KindBind && m.Type == compose.MountBind && w.bindPath(a) == db.Place {
				db.Data = a.Name
			}
		}
		return db, nil
	}
	return db, nil
}

// mountOf finds the mount that a path in a container lies in.
func mountOf(svc compose.Service, inside string) (compose.Mount, bool) {
	best := -1
	for i, m := range svc.Mounts {
		rel, err := filepath.Rel(m.Target, inside)
		if err != nil || !filepath.IsLocal(rel) || m.Anonymous || m.Type != compose.MountVolume && m.Type != compose.MountBind {
			continue
		}
		if best < 0 || len(m.Target) > len(svc.Mounts[best].Target) {
			best = i
		}
	}
	if best < 0 {
		return compose.Mount{}, false
	}
	return svc.Mounts[best], true
}

// imageEnv reads a variable that the image of a service sets; "" where it is not
// known.
func (w *work) imageEnv(ctx context.Context, service, name, key string) string {
	refs := []string{name}
	for _, i := range w.manifest.Images {
		if i.Service == service && i.ID != "" {
			refs = append([]string{i.ID}, refs...)
		}
	}
	for _, ref := range refs {
		r, err := w.Deps.Docker.ImageInspect(ctx, ref)
		if err != nil || r.Config == nil {
			continue
		}
		for _, entry := range r.Config.Env {
			if k, v, ok := strings.Cut(entry, "="); ok && k == key {
				return v
			}
		}
	}
	return ""
}
