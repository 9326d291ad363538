// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/observe"
	"github.com/fairlead-dev/fairlead/internal/plural"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// backup saves what the update could spoil, before it touches anything.
func (s *run) backup(ctx context.Context) error {
	w, err := s.workspace(ctx)
	if err != nil {
		return err
	}
	project, err := observe.LoadCheckedOut(ctx, s.Application)
	if err != nil {
		// What is checked out is broken: the wanted model names the same data.
		if project, err = s.wantedModel(ctx, w); err != nil {
			return err
		}
	}
	containers, err := observe.Containers(ctx, s.Docker, project.Name())
	if err != nil {
		return err
	}
	if err := s.hooksAt(ctx, v1alpha1.HookBeforeBackup, "", project.Name()); err != nil {
		return err
	}
	input, err := s.backupInput(ctx, w, project, containers)
	if err != nil {
		return err
	}
	if err := s.nameWanted(ctx, w, &input); err != nil {
		return err
	}
	progress, err := s.backupProgress(ctx)
	if err != nil {
		return err
	}
	job := backup.Job{
		ID: "backup_" + s.Request.Status.ID, Request: string(s.Request.UID), Release: s.Request.Status.PreviousRelease,
		Input: input, Progress: progress,
	}
	runner := &backup.Runner{Engine: s.Docker, Clock: s.Clock.Now, Version: s.Version}
	m, err := runner.Run(ctx, job)
	if err != nil {
		return err
	}
	for _, warn := range m.Warnings {
		s.say("warning: %s", warn)
	}
	path := filepath.Join(backup.Dir(w.dir), m.ID)
	object := backupObject(s.Application, s.Request, m, path)
	if err := s.Store.RecordBackup(ctx, object); err != nil {
		return err
	}
	if m.Release != "" {
		if err := s.refer(ctx, m); err != nil {
			return err
		}
	}
	id := m.ID
	s.record(func(st *v1alpha1.UpdateRequestStatus) { st.Backup, st.BackupPath = id, path })
	s.say("%s in %s: %s, %s, checksums verified", m.ID, path, plural.Of(len(m.Artifacts), "artifact"), measure.Bytes(m.Bytes))
	return s.hooksAt(ctx, v1alpha1.HookAfterBackup, "", project.Name())
}

// refer has the release that ran refer to its backup, which is kept as long as the
// release is. One that has data which the new one lacks, as after volumes were
// removed or left out, stays.
func (s *run) refer(ctx context.Context, m *backup.Manifest) error {
	releases, err := s.Store.Releases(ctx, s.Application)
	if err != nil {
		return err
	}
	if r := release.Find(releases, m.Release); r != nil && r.Status.Backup != "" && r.Status.Backup != m.ID {
		former, err := backup.Open(backup.Dir(s.Application.Spec.Compose.Directory), r.Status.Backup)
		if err == nil && len(m.Lacks(former)) > 0 {
			s.say("warning: %s has no %s; %s, which has, stays the backup of the release %s",
				m.ID, strings.Join(m.Lacks(former), ", "), former.ID, r.Name)
			return nil
		}
		if err != nil && !errors.Is(err, backup.ErrNotFound) && !errors.Is(err, backup.ErrCorrupt) {
			return err
		}
	}
	return s.Store.SetBackup(ctx, s.Application, m.Release, m.ID)
}

// wantedModel is the model that the request rolls out.
func (s *run) wantedModel(ctx context.Context, w *workspace) (*compose.Project, error) {
	if s.Request.Spec.RollbackTo != nil {
		p, _, err := readModel(w.modelPath(s.Request.Status.ID))
		return p, err
	}
	if err := w.export(ctx, s.Request.Status.Commit); err != nil {
		return nil, err
	}
	p, err := w.load(ctx, s.Request.Status.Commit)
	if wrong := (*compose.ModelError)(nil); errors.As(err, &wrong) {
		return nil, failure.Terminalf(v1alpha1.ReasonPreflightFailed, "the Compose model does not load any more, though preflight could: %w", err)
	}
	return p, err
}

// backupProgress tells how far a backup is, by the sizes of the one before.
func (s *run) backupProgress(ctx context.Context) (func(backup.Progress), error) {
	backups, err := s.Store.Backups(ctx, s.Application)
	if err != nil {
		return nil, err
	}
	g := newBackupGauge(backups)
	return func(p backup.Progress) {
		if p.Done {
			s.say("saved %s (%d of %d): %s", p.Artifact, p.Index, p.Total, measure.Bytes(p.Written))
		}
		s.progress(g.at(p), p.Done)
	}, nil
}

// backupInput gathers what there is to save.
func (s *run) backupInput(ctx context.Context, w *workspace, project *compose.Project, containers []docker.Container) (backup.Input, error) {
	spec := s.Application.Spec
	resolved, err := filepath.EvalSymlinks(w.dir)
	if err != nil {
		return backup.Input{}, err
	}
	in := backup.Input{
		Application: s.applicationName(), Project: project.Name(),
		DeployDir: w.dir, RealDeployDir: resolved, Commit: w.head.Commit, Branch: w.head.Branch,
		Volumes:   backup.ParseSelection(string(spec.Backup.Volumes)),
		Databases: backup.ParseSelection(string(spec.Backup.Databases)),
		Files:     slices.Clone(spec.Backup.Paths),
		EnvFiles:  spec.Compose.EnvFiles, Profiles: slices.Concat(spec.Compose.Profiles, s.Request.Spec.Profiles),
		Variables: map[string]string{},
	}
	// A request usually brings the same ones as the request before it did.
	maps.Copy(in.Variables, spec.Compose.Variables)
	maps.Copy(in.Variables, s.Request.Spec.Variables)
	for _, f := range project.Files() {
		if _, err := os.Stat(f); err == nil {
			in.ComposeFiles = append(in.ComposeFiles, f)
		}
	}
	for _, f := range append(slices.Clone(spec.Compose.EnvFiles), project.EnvFiles()...) {
		if !filepath.IsAbs(f) {
			f = filepath.Join(w.dir, f)
		}
		in.Files = append(in.Files, f)
	}
	if len(spec.Compose.EnvFiles) == 0 {
		if _, err := os.Stat(filepath.Join(w.dir, ".env")); err == nil {
			in.Files = append(in.Files, ".env")
		}
	}
	own, err := s.ownContainer(ctx)
	if err != nil {
		return backup.Input{}, err
	}
	keys := map[string]string{}
	for _, v := range project.Volumes() {
		keys[v.Name] = v.Key
	}
	for _, c := range containers {
		svc, _ := project.Service(c.Service)
		entry := backup.Service{
			Name: c.Service, Image: c.Image, ImageID: c.ImageID, ContainerID: c.ID, Running: c.Running(), Own: c.ID == own,
			OneShot: svc.OneShot,
		}
		if entry.Env, err = s.databaseEnv(ctx, c.ID); err != nil {
			return backup.Input{}, err
		}
		if img, err := s.Docker.ImageContent(ctx, c.ImageID); err == nil {
			entry.RepoDigests = img.RepoDigests
		}
		for _, m := range c.Mounts {
			entry.Mounts = append(entry.Mounts, backup.Mount{
				Type: m.Type, VolumeName: m.Name, VolumeKey: keys[m.Name], Source: m.Source,
				SourceKind: sourceKind(m), Destination: m.Destination, RW: m.RW,
			})
		}
		in.Services = append(in.Services, entry)
	}
	if err := s.addAbsent(ctx, &in, project); err != nil {
		return backup.Input{}, err
	}
	running, err := s.Docker.MountingContainers(ctx)
	if err != nil {
		return backup.Input{}, err
	}
	addOthers(&in, running, own)
	return in, nil
}

// addOthers tells of the containers that run and are not of the application, and
// may write to what it mounts.
func addOthers(in *backup.Input, running []docker.Container, own string) {
	writers := docker.Writers(slices.DeleteFunc(running, func(c docker.Container) bool {
		return c.ID == own || slices.ContainsFunc(in.Services, func(s backup.Service) bool { return s.ContainerID == c.ID })
	}))
	for _, s := range in.Services {
		for i, m := range s.Mounts {
			s.Mounts[i].Others = writers[docker.Mount{Type: m.Type, Name: m.VolumeName, Source: m.Source}.Place()]
		}
	}
}

// addAbsent adds what a model has and no container has: not yet, or not any more,
// as after `docker compose down`, which leaves the data.
func (s *run) addAbsent(ctx context.Context, in *backup.Input, project *compose.Project) error {
	volumes, err := addAbsent(in, project, func(volume string) (bool, error) {
		_, err := s.Docker.VolumeInspect(ctx, volume)
		if docker.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil || !volumes || slices.ContainsFunc(in.Services, func(s backup.Service) bool { return s.ImageID != "" }) {
		return err
	}
	// Any image does to look into a volume.
	images, err := s.Docker.Images(ctx)
	for _, img := range images {
		in.Images = append(in.Images, img.ID)
	}
	return err
}

func addAbsent(in *backup.Input, project *compose.Project, exists func(volume string) (bool, error)) (volumes bool, err error) {
	for _, svc := range project.Services() {
		if slices.ContainsFunc(in.Services, func(s backup.Service) bool { return s.Name == svc.Name }) {
			continue
		}
		entry := backup.Service{Name: svc.Name, Image: svc.ImageName, OneShot: svc.OneShot, Absent: true}
		for _, m := range svc.Mounts {
			mount := backup.Mount{Type: m.Type, VolumeKey: m.Key, Destination: m.Target, RW: !m.ReadOnly}
			switch m.Type {
			case compose.MountBind:
				mount.Source, mount.SourceKind = m.Source, backup.SourceKindOf(m.Source)
				mount.Exists = mount.SourceKind != backup.SourceMissing
			case compose.MountVolume:
				mount.VolumeName = m.Source
				if m.Source != "" {
					if mount.Exists, err = exists(m.Source); err != nil {
						return false, err
					}
				}
				volumes = volumes || mount.Exists
			}
			entry.Mounts = append(entry.Mounts, mount)
		}
		in.Services = append(in.Services, entry)
	}
	return volumes, nil
}

// nameWanted adds what only the model has that the request brings, if anything is
// asked for by name.
func (s *run) nameWanted(ctx context.Context, w *workspace, in *backup.Input) error {
	if len(in.Databases.Names) == 0 && len(in.Volumes.Names) == 0 || s.Request.Spec.BackupOnly {
		return nil
	}
	wanted, err := s.wantedModel(ctx, w)
	if err != nil {
		return err
	}
	return s.addAbsent(ctx, in, wanted)
}

func sourceKind(m docker.Mount) backup.SourceKind {
	if m.Type != "bind" {
		return ""
	}
	return backup.SourceKindOf(m.Source)
}

// databaseEnv reads the few variables that a dump needs.
func (s *run) databaseEnv(ctx context.Context, id string) (backup.Env, error) {
	env, err := s.Docker.ContainerEnv(ctx, id, backup.EnvKeys())
	if docker.IsNotFound(err) {
		return nil, nil
	}
	return backup.Env(env), err
}

// forecastBackup says what a backup will save.
func (s *run) forecastBackup(ctx context.Context, w *workspace, project *compose.Project, containers []docker.Container) ([]string, error) {
	in, err := s.backupInput(ctx, w, project, containers)
	if err != nil {
		return nil, err
	}
	planned, err := backup.NewPlan(in)
	if wrong := (*backup.InputError)(nil); errors.As(err, &wrong) {
		return nil, failure.Terminalf(v1alpha1.ReasonBackupFailed, "the backup cannot be made as things are: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("the backup cannot be made as things are: %w", err)
	}
	var out []string
	for _, a := range planned.Artifacts {
		out = append(out, a.Name+": "+a.Reason)
	}
	for _, warn := range planned.Warnings {
		out = append(out, "warning: "+warn)
	}
	return out, nil
}

// backupObject is the record of a backup.
func backupObject(app *v1alpha1.Application, ur *v1alpha1.UpdateRequest, m *backup.Manifest, path string) *v1alpha1.Backup {
	done := metav1.NewTime(m.CompletedAt)
	b := &v1alpha1.Backup{
		ObjectMeta: metav1.ObjectMeta{
			Name:      app.Name + "-" + strings.ReplaceAll(strings.TrimPrefix(m.ID, "backup_"), "_", "-"),
			Namespace: app.Namespace, Labels: map[string]string{v1alpha1.LabelApplication: applicationLabel(app)},
		},
		Spec: v1alpha1.BackupSpec{
			ApplicationRef: v1alpha1.LocalReference{Name: app.Name}, ID: m.ID, Request: ur.Name, Release: m.Release, Commit: m.Commit,
		},
		Status: v1alpha1.BackupStatus{
			Path: path, Bytes: m.Bytes, Size: measure.Bytes(m.Bytes), Warnings: m.Warnings, Verified: m.Verified, CompletedAt: &done,
		},
	}
	for _, a := range m.Artifacts {
		b.Status.Artifacts = append(b.Status.Artifacts, v1alpha1.BackupArtifact{
			Name: a.Name, Kind: string(a.Kind), File: a.File, Bytes: a.Bytes, SHA256: a.SHA256, Note: strings.Join(a.Notes, "; "),
		})
	}
	return b
}
