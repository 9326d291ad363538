// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// After `docker compose down` no container tells of the data that is still there:
// the model does, and what the engine and the directory have of it is saved.
func TestAbsentServicesHaveTheirData(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "uploads", "a.txt"), "a")
	write(t, filepath.Join(dir, "compose.yaml"), `
name: shop
services:
  db:
    image: postgres:15
    volumes: [{type: volume, source: pgdata, target: /var/lib/postgresql/data}]
  web:
    image: web
    volumes:
      - {type: volume, source: fresh, target: /fresh}
      - {type: bind, source: `+dir+`/uploads, target: /uploads}
      - {type: bind, source: `+dir+`/missing, target: /missing}
volumes:
  pgdata: {name: shop_pgdata}
  fresh: {name: shop_fresh}
`)
	project, err := compose.Load(t.Context(), compose.Options{DeployDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	in := backup.Input{DeployDir: dir, Project: "shop"}
	volumes, err := addAbsent(&in, project, func(name string) (bool, error) { return name == "shop_pgdata", nil })
	if err != nil || !volumes {
		t.Fatalf("volumes: %t, %v", volumes, err)
	}
	plan, err := backup.NewPlan(in)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range plan.Artifacts {
		got = append(got, a.Name)
	}
	if want := []string{"volume_shop_pgdata", "bind_uploads"}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%v is saved, want %v", got, want)
	}
	if len(plan.Warnings) != 1 {
		t.Errorf("a database without a dump is warned of: %v", plan.Warnings)
	}
	away := errors.New("the engine does not answer")
	if _, err := addAbsent(&backup.Input{}, project, func(string) (bool, error) { return false, away }); !errors.Is(err, away) {
		t.Errorf("what the engine does not say is taken for no: %v", err)
	}
}

// The backup of a release is replaced by a newer one only if that has all that it
// has: a release holds its backup against retention.
func TestBackupOfARelease(t *testing.T) {
	dir := t.TempDir()
	made := func(id string, artifacts ...backup.Artifact) *backup.Manifest {
		m := &backup.Manifest{SchemaVersion: backup.SchemaVersion, ID: id, Release: "shop-1", CompletedAt: time.Now()}
		for _, a := range artifacts {
			a.File = a.Name
			m.Artifacts = append(m.Artifacts, a)
			write(t, filepath.Join(backup.Dir(dir), id, a.File), "")
		}
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(backup.Dir(dir), id, backup.ManifestName), string(data))
		return m
	}
	files := backup.Artifact{Name: "files", Kind: backup.KindFiles}
	volume := backup.Artifact{Name: "volume_data", Kind: backup.KindVolume, Volume: "shop_data"}
	bind := backup.Artifact{Name: "bind_up", Kind: backup.KindBind, Path: "/srv/up"}
	dump := func(service string) backup.Artifact {
		return backup.Artifact{Name: "postgres_" + service, Kind: backup.KindPostgreSQL, Service: service}
	}
	whole := made("backup_20260101_000000", files, volume, dump("db"))
	for name, tt := range map[string]struct {
		next *backup.Manifest
		want string
	}{
		"the same":       {made("backup_20260102_000000", files, volume, dump("db")), "backup_20260102_000000"},
		"more, no files": {made("backup_20260103_000000", volume, bind, dump("db"), dump("db2")), "backup_20260103_000000"},
		"settings only":  {made("backup_20260104_000000", files), whole.ID},
		"without a dump": {made("backup_20260105_000000", files, volume), whole.ID},
		"another's dump": {made("backup_20260106_000000", files, volume, dump("other")), whole.ID},
		"another volume": {made("backup_20260107_000000", files, dump("db"), backup.Artifact{Name: "volume_data", Kind: backup.KindVolume, Volume: "x"}), whole.ID},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRun()
			s.log = updatelog.Lost("", nil)
			s.Application.Spec.Compose.Directory = dir
			rec := &v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{ApplicationRef: v1alpha1.LocalReference{Name: "shop"}}}
			rec.Namespace, rec.Name, rec.Status.Backup = "prod", "shop-1", whole.ID
			s.Store = storeOf(t, rec)
			if err := s.refer(t.Context(), tt.next); err != nil {
				t.Fatal(err)
			}
			releases, err := s.Store.Releases(t.Context(), s.Application)
			if err != nil || len(releases) != 1 || releases[0].Status.Backup != tt.want {
				t.Errorf("%+v, %v; want %s", releases, err, tt.want)
			}
		})
	}
}
