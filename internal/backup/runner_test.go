// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

const testID = "backup_20231201_143022"

// scene is an application with settings, a database, a volume and a bind mount.
type scene struct {
	*testing.T
	engine *fakeEngine
	runner *Runner
	job    Job
	dir    string // the backups
}

func newScene(t *testing.T) *scene {
	deploy := filepath.Join(t.TempDir(), "shop")
	writeFile(t, filepath.Join(deploy, "docker-compose.yml"), "services: {}\n")
	writeFile(t, filepath.Join(deploy, ".env"), "POSTGRES_PASSWORD=geheim\n")
	writeFile(t, filepath.Join(deploy, "uploads", "a.jpg"), strings.Repeat("jpeg", 1000))
	e := newFakeEngine()
	data := archive(t, 5000, "./", "./x", "./y")
	e.volumes["shop_data"] = func() ([]byte, error) { return data, nil }
	s := &scene{T: t, engine: e, dir: Dir(deploy)}
	now := time.Date(2023, 12, 1, 14, 30, 22, 0, time.UTC)
	s.runner = &Runner{Engine: e, Clock: func() time.Time { now = now.Add(time.Second); return now }, Version: "v1", Reserve: 1}
	s.job = Job{ID: testID, Request: "uid-1", Release: "shop-7", Input: Input{
		Application: "prod/shop", Project: "shop", DeployDir: deploy, Commit: "abc", Branch: "main",
		ComposeFiles: []string{"docker-compose.yml"}, Files: []string{".env"},
		Services: []Service{
			{Name: "db", Image: "postgres:15", ImageID: "sha256:gone", ContainerID: "c-db", Running: true, Env: Env{"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "geheim"}},
			{Name: "web", Image: "web", ImageID: "sha256:web", RepoDigests: []string{"web@sha256:1"}, ContainerID: "c-web", Running: true, Mounts: []Mount{
				{Type: "volume", VolumeName: "shop_data", Destination: "/data", RW: true},
				{Type: "bind", Source: filepath.Join(deploy, "uploads"), Destination: "/up", RW: true},
			}},
		},
	}}
	return s
}

func (s *scene) run() (*Manifest, error) { return s.runner.Run(context.Background(), s.job) }

// nothingLeft asserts that a failed run left no trace.
func (s *scene) nothingLeft() {
	s.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Fatal(err)
	}
	for _, e := range entries {
		s.Errorf("%s was left", e.Name())
	}
	if len(s.engine.containers) > 0 || len(s.engine.paused) > 0 {
		s.Errorf("containers %v, paused %v were left", s.engine.containers, s.engine.paused)
	}
}

func TestRunMakesAWholeBackup(t *testing.T) {
	s := newScene(t)
	var last Progress
	done := 0
	s.job.Progress = func(p Progress) {
		if last = p; p.Done {
			done++
		}
	}
	m, err := s.run()
	must(t, err)
	var got []string
	for _, a := range m.Artifacts {
		got = append(got, fmt.Sprintf("%s %s %s %d", a.Kind, a.File, a.Format, a.Entries))
	}
	want := []string{"Files files.tar.gz tar+gzip 2", "PostgreSQL postgres_db.sql.gz sql+gzip 0", "Volume volume_shop_data.tar.gz tar+gzip 3", "Bind bind_uploads.tar.gz tar+gzip 2"}
	if !slices.Equal(got, want) {
		t.Errorf("artifacts:\n%s", strings.Join(got, "\n"))
	}
	if a := m.Artifacts[1]; !slices.Equal(a.Databases, []string{"postgres", "shop"}) || a.Tool != "pg_dumpall (PostgreSQL) 15.4" {
		t.Errorf("dump: %+v", a)
	}
	if done != 4 || last.Artifact != "bind_uploads" || last.Index != 4 || last.Total != 4 || !last.Done {
		t.Errorf("progress: %d done, last %+v", done, last)
	}
	must(t, Verify(context.Background(), s.dir, testID))
	whole, broken, err := List(s.dir)
	if err != nil || len(whole) != 1 || len(broken) != 0 || whole[0].ID != testID {
		t.Errorf("list: %v, %v, %v", whole, broken, err)
	}
	path := filepath.Join(s.dir, testID)
	entries, err := os.ReadDir(path)
	must(t, err)
	if len(entries) != 5 {
		t.Errorf("files: %v", entries)
	}
	for _, e := range append(entries, nil) {
		name, perm := path, os.FileMode(0o700)
		if e != nil {
			name, perm = filepath.Join(path, e.Name()), 0o600
		}
		info, err := os.Stat(name)
		must(t, err)
		if info.Mode().Perm() != perm {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	data, err := os.ReadFile(filepath.Join(path, ManifestName))
	must(t, err)
	if strings.Contains(string(data), "geheim") {
		t.Error("the manifest holds a password")
	}
	var fields map[string]any
	must(t, json.Unmarshal(data, &fields))
	for key, want := range map[string]any{"schemaVersion": 1.0, "id": testID, "application": "prod/shop", "project": "shop", "commit": "abc",
		"branch": "main", "request": "uid-1", "release": "shop-7", "verified": "Checksums", "fairleadVersion": "v1", "createdAt": "2023-12-01T14:30:23Z"} {
		if fields[key] != want {
			t.Errorf("manifest: %s is %v, want %v", key, fields[key], want)
		}
	}
	if len(s.engine.containers) > 0 || len(s.engine.pauses) > 0 {
		t.Errorf("containers %v, pauses %v", s.engine.containers, s.engine.pauses)
	}
	for _, cmd := range s.engine.commands {
		if strings.Contains(cmd, "geheim") {
			t.Errorf("a password is in the arguments: %s", cmd)
		}
	}
	if !slices.ContainsFunc(s.engine.envs, func(env []string) bool {
		return slices.Contains(env, "PGPASSWORD=geheim") && slices.Contains(env, "PGUSER=app") && slices.Contains(env, "PGAPPNAME=fairlead_backup")
	}) {
		t.Errorf("environments: %q", s.engine.envs)
	}
}

func TestRunAgainReturnsTheSameBackup(t *testing.T) {
	s := newScene(t)
	first, err := s.run()
	must(t, err)
	commands := len(s.engine.commands)
	second, err := s.run()
	must(t, err)
	if !second.CompletedAt.Equal(first.CompletedAt) || len(s.engine.commands) != commands {
		t.Error("the backup was made twice")
	}
	s.job.Request = "uid-2"
	var input *InputError
	if _, err := s.run(); !errors.As(err, &input) {
		t.Errorf("the backup of another request was taken: %v", err)
	}
	s.job.Request = "uid-1"
	must(t, os.WriteFile(filepath.Join(s.dir, testID, "files.tar.gz"), make([]byte, first.Artifacts[0].Bytes), 0o600))
	if _, err := s.run(); !errors.Is(err, ErrCorrupt) || failure.AsTerminal(err) == nil {
		t.Errorf("a damaged backup was taken: %v", err)
	}
}

func TestRunFailures(t *testing.T) {
	gone := errors.New("engine is gone")
	for name, c := range map[string]struct {
		change   func(*scene)
		artifact string
		terminal bool
		want     string
	}{
		"dump fails": {func(s *scene) { s.engine.code, s.engine.stderr = 1, "pg_dumpall: error:\npermission denied" }, "postgres_db", true,
			"pg_dumpall ended with code 1: pg_dumpall: error: permission denied"},
		"dump is cut off":       {func(s *scene) { s.engine.dump = sampleDump[:len(sampleDump)-60] }, "postgres_db", true, "cut off"},
		"dump lacks a database": {func(s *scene) { s.engine.dump = strings.Replace(sampleDump, "\\connect shop\n", "", 1) }, "postgres_db", true, `"shop" is missing`},
		"dump is empty":         {func(s *scene) { s.engine.dump = "" }, "postgres_db", true, "cut off"},
		"no connection": {func(s *scene) {
			s.engine.psql = func([]string, string) (string, int) { return "psql: FATAL: role does not exist", 2 }
		}, "postgres_db", true, `no connection as user "app": psql: FATAL: role does not exist`},
		"no container tool": {func(s *scene) {
			s.engine.psql = func([]string, string) (string, int) { return "exec: psql: not found", 127 }
		}, "postgres_db", true, "exec: psql: not found"},
		"volume is gone":   {func(s *scene) { delete(s.engine.volumes, "shop_data") }, "volume_shop_data", true, "volume shop_data does not exist"},
		"no image is left": {func(s *scene) { s.engine.images = nil }, "volume_shop_data", true, "no local image"},
		"engine fails": {func(s *scene) {
			s.engine.volumes["shop_data"] = func() ([]byte, error) { return nil, gone }
		}, "volume_shop_data", false, "engine is gone"},
		"empty volume archive": {func(s *scene) {
			s.engine.volumes["shop_data"] = func() ([]byte, error) { return make([]byte, 1024), nil }
		}, "volume_shop_data", true, "archive is empty"},
		"file is missing":      {func(s *scene) { s.job.Input.Files = []string{".env", "prod.env"} }, "files", true, "prod.env does not exist"},
		"bind is missing":      {func(s *scene) { must(s.T, os.RemoveAll(filepath.Join(s.job.Input.DeployDir, "uploads"))) }, "bind_uploads", true, "uploads cannot be found"},
		"database is stopped":  {func(s *scene) { s.job.Input.Services[0].Running = false }, "", true, "is not running"},
		"bad ID":               {func(s *scene) { s.job.ID = "../x" }, "", true, "invalid backup ID"},
		"no deployment":        {func(s *scene) { s.job.Input.DeployDir += "x" }, "", true, "does not exist"},
		"reserve is not there": {func(s *scene) { s.runner.Reserve = 1 << 60 }, "", true, "not enough disk space"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c.change(s)
			_, err := s.run()
			var be *Error
			if !errors.As(err, &be) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want *Error with %q", err, c.want)
			}
			if be.Artifact != c.artifact {
				t.Errorf("artifact %q, want %q", be.Artifact, c.artifact)
			}
			if terminal := failure.AsTerminal(err); (terminal != nil) != c.terminal || terminal != nil && terminal.Reason != ReasonBackupFailed {
				t.Errorf("terminal is %v, want %v", terminal, c.terminal)
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error holds a password: %v", err)
			}
			s.nothingLeft()
		})
	}
}

// An engine that goes away in the middle, or a database that goes with it, is waited for: nothing is wrong with
// what was to be saved.
func TestLostInTheMiddle(t *testing.T) {
	startedAt := func(s *scene, before time.Duration) {
		s.engine.state.StartedAt = s.runner.Clock().Add(-before).Format(time.RFC3339Nano)
	}
	refused := func(s *scene, said string) {
		s.engine.psql = func([]string, string) (string, int) { return said, 2 }
	}
	for name, c := range map[string]struct {
		change   func(*scene)
		terminal bool
	}{
		"archive":                  {func(s *scene) { s.engine.cut = true }, false},
		"dump of a stopped server": {func(s *scene) { s.engine.code, s.engine.state.Running = 137, false }, false},
		"dump of a restarted server": {func(s *scene) {
			s.engine.code = 1
			s.engine.onExec = func(cmd []string) {
				if cmd[0] == "pg_dumpall" && len(cmd) > 2 {
					startedAt(s, 0)
				}
			}
		}, false},
		"dump of one that was started just before": {func(s *scene) { s.engine.code = 1; startedAt(s, time.Second) }, true},
		"server that was started just before says no": {func(s *scene) {
			startedAt(s, time.Second)
			refused(s, "psql: FATAL:  role \"app\" does not exist")
		}, true},
		"dump of one that runs for long": {func(s *scene) { s.engine.code = 137; startedAt(s, time.Hour) }, true},
		"server recovers":                {func(s *scene) { startedAt(s, time.Hour); refused(s, "FATAL:  the database system is starting up") }, false},
		"server does not listen yet":     {func(s *scene) { startedAt(s, time.Second); refused(s, "psql: error: Connection refused") }, false},
		"server does not listen":         {func(s *scene) { startedAt(s, time.Hour); refused(s, "psql: error: Connection refused") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c.change(s)
			_, err := s.run()
			if err == nil || failure.IsInterrupted(err) || (failure.AsTerminal(err) != nil) != c.terminal {
				t.Fatalf("got %v", err)
			}
			if len(s.engine.pauses) > 0 {
				t.Errorf("containers were paused for nothing: %v", s.engine.pauses)
			}
			s.nothingLeft()
			whole := newFakeEngine()
			whole.volumes = s.engine.volumes
			s.runner.Engine = whole
			if _, err := s.run(); err != nil {
				t.Errorf("the next run: %v", err)
			}
		})
	}
}

func TestTornVolumeIsCopiedAgainAndAtLastPaused(t *testing.T) {
	whole := archive(t, 5000, "./", "./x", "./y")
	for good, wantPauses := range map[int][]string{
		2: nil,
		3: nil,
		4: {"pause c-web", "unpause c-web"},
		5: {"pause c-web", "unpause c-web"},
	} {
		s := newScene(t)
		tries := 0
		s.engine.volumes["shop_data"] = func() ([]byte, error) {
			if tries++; tries < good {
				return whole[:len(whole)-2048], nil
			}
			if tries > copies != s.engine.paused["c-web"] {
				t.Errorf("try %d, paused: %v", tries, s.engine.paused)
			}
			return whole, nil
		}
		m, err := s.run()
		if good > copies+1 {
			var torn *TornError
			if !errors.As(err, &torn) || failure.AsTerminal(err) == nil {
				t.Errorf("got %v", err)
			}
			s.nothingLeft()
		} else {
			must(t, err)
			must(t, Verify(context.Background(), s.dir, testID))
			if notes := m.Artifacts[2].Notes; (len(notes) > 0) != (wantPauses != nil) {
				t.Errorf("good at %d: notes %v", good, notes)
			}
			if _, err := os.Stat(filepath.Join(s.dir, testID, journalName)); err == nil {
				t.Error("the journal is in the backup")
			}
		}
		if !slices.Equal(s.engine.pauses, wantPauses) {
			t.Errorf("good at %d: %v", good, s.engine.pauses)
		}
	}
}

func TestPausedContainersAreResumedAfterACrash(t *testing.T) {
	s := newScene(t)
	s.engine.volumes["shop_data"] = func() ([]byte, error) { return []byte("torn"), nil }
	s.engine.failResume = errors.New("engine is gone")
	_, err := s.run()
	if err == nil || !strings.Contains(err.Error(), "docker unpause c-web") || !s.engine.paused["c-web"] {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, partialName(testID), journalName)); err != nil {
		t.Fatalf("the journal is lost: %v", err)
	}
	if err := s.runner.Sweep(context.Background(), s.dir); err == nil {
		t.Error("a container that stays paused was not reported")
	}
	s.engine.failResume = nil
	must(t, s.runner.Sweep(context.Background(), s.dir))
	s.nothingLeft()
}

func TestOnlyOurPausesAreUndone(t *testing.T) {
	s := newScene(t)
	s.job.Input.Services = append(s.job.Input.Services,
		Service{Name: "x2", Image: "web", ImageID: "sha256:web", ContainerID: "c-paused", Running: true, Mounts: s.job.Input.Services[1].Mounts[:1]},
		Service{Name: "x3", Image: "web", ImageID: "sha256:web", ContainerID: "c-gone", Running: true, Mounts: s.job.Input.Services[1].Mounts[:1]},
		Service{Name: "x4", Image: "web", ImageID: "sha256:web", ContainerID: "c-fails", Running: true, Mounts: s.job.Input.Services[1].Mounts[:1]})
	s.engine.paused["c-paused"], s.engine.gone["c-gone"], s.engine.failPause["c-fails"] = true, true, errors.New("cannot be paused")
	s.engine.volumes["shop_data"] = func() ([]byte, error) { return []byte("torn"), nil }
	if _, err := s.run(); err == nil || !strings.Contains(err.Error(), "cannot be paused") {
		t.Errorf("got %v", err)
	}
	if want := []string{"pause c-web", "unpause c-web"}; !slices.Equal(s.engine.pauses, want) || !s.engine.paused["c-paused"] {
		t.Errorf("pauses %v, paused %v", s.engine.pauses, s.engine.paused)
	}
}

func TestCancelCleansUp(t *testing.T) {
	for _, at := range []string{"psql", "pg_dumpall --clean", "copy"} {
		s := newScene(t)
		ctx, cancel := context.WithCancel(context.Background())
		s.engine.onExec = func(cmd []string) {
			if strings.HasPrefix(strings.Join(cmd, " "), at) {
				cancel()
			}
		}
		if data := s.engine.volumes["shop_data"]; at == "copy" {
			s.engine.volumes["shop_data"] = func() ([]byte, error) { cancel(); return data() }
		}
		_, err := s.runner.Run(ctx, s.job)
		if !failure.IsInterrupted(err) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", at, err)
		}
		s.nothingLeft()
		if at == "pg_dumpall --clean" && !strings.Contains(s.engine.commands[len(s.engine.commands)-1], "pg_terminate_backend") {
			t.Errorf("the dump was left running: %v", s.engine.commands)
		}
		s.engine.onExec = nil
		if _, err := s.run(); err != nil {
			t.Errorf("%s: the next run: %v", at, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	for name, c := range map[string]struct {
		env  Env
		want []string
	}{
		"default": {nil, []string{"PGUSER=postgres"}},
		"files": {Env{"POSTGRES_USER_FILE": "/run/secrets/u", "POSTGRES_PASSWORD_FILE": "/run/secrets/p"},
			[]string{"PGUSER=secret of /run/secrets/u", "PGPASSWORD=secret of /run/secrets/p"}},
		"bitnami":           {Env{"POSTGRESQL_USERNAME": "app", "POSTGRESQL_PASSWORD": "x"}, []string{"PGUSER=app", "PGPASSWORD=x"}},
		"bitnami superuser": {Env{"POSTGRESQL_USERNAME": "app", "POSTGRESQL_POSTGRES_PASSWORD": "y"}, []string{"PGUSER=postgres", "PGPASSWORD=y"}},
	} {
		e := newFakeEngine()
		srv, err := (&postgresSource{engine: e, service: Service{Name: "db", Env: c.env}}).connect(context.Background())
		must(t, err)
		if got := slices.DeleteFunc(srv.env, func(s string) bool { return strings.HasPrefix(s, "PGCONNECT") }); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestDumpOverTCPAndWithoutSuperuser(t *testing.T) {
	s := newScene(t)
	s.engine.psql = func(env []string, _ string) (string, int) {
		if !slices.Contains(env, "PGHOST=127.0.0.1") {
			return "no socket", 2
		}
		return "shop\x009000\x00f\x00", 0
	}
	m, err := s.run()
	must(t, err)
	if !slices.ContainsFunc(s.engine.commands, func(c string) bool { return strings.Contains(c, "--no-role-passwords") }) || len(m.Artifacts[1].Notes) != 1 {
		t.Errorf("commands %v, notes %v", s.engine.commands, m.Artifacts[1].Notes)
	}
}
