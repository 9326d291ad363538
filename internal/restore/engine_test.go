// SPDX-License-Identifier: Apache-2.0

//go:build engine

package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// The images are made by test/images/build.sh.
const (
	postgresImage = "fairlead-test/postgres:15"
	baseImage     = "fairlead-test/base:bookworm"
	labelTest     = "fairlead.dev/test"
)

// TestMain lets the test program be what unpacks a volume in a container.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == UnpackCommand {
		if err := UnpackVolume(context.Background(), os.Stdin, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// host is a real engine with what one test makes on it.
type host struct {
	*testing.T
	*docker.Client
}

func newHost(t *testing.T) host {
	t.Helper()
	c, err := docker.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return host{t, c}
}

func (h host) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h host) volume() string {
	h.Helper()
	v, err := h.VolumeCreate(h.Context(), volume.CreateOptions{Labels: map[string]string{labelTest: "restore"}})
	h.must(err)
	h.Cleanup(func() { _ = h.VolumeRemove(context.Background(), v.Name, true) })
	return v.Name
}

// start runs a container with a volume until the end of the test.
func (h host) start(image, volumeName, at string, env []string, cmd ...string) string {
	h.Helper()
	resp, err := h.ContainerCreate(h.Context(), &container.Config{Image: image, Env: env, Cmd: cmd, Labels: map[string]string{labelTest: "restore"}},
		&container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: volumeName, Target: at}}}, nil, nil, "")
	h.must(err)
	h.Cleanup(func() {
		_ = h.ContainerRemove(context.Background(), resp.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	})
	h.must(h.ContainerStart(h.Context(), resp.ID, container.StartOptions{}))
	return resp.ID
}

func (h host) exec(id string, cmd ...string) string {
	h.Helper()
	var out strings.Builder
	code, err := h.Exec(h.Context(), id, cmd, docker.ExecOptions{Stdout: &out, Stderr: &out})
	if err != nil || code != 0 {
		h.Fatalf("%v: %v, code %d: %s", cmd, err, code, out.String())
	}
	return strings.TrimSpace(out.String())
}

func (h host) volumes() volumes {
	h.Helper()
	program, err := os.Executable()
	h.must(err)
	return volumes{
		engine: h.Client, program: program, images: []string{"sha256:" + strings.Repeat("0", 64), baseImage},
		labels: map[string]string{labelTest: "restore-helper"},
	}
}

func TestVolumeIsReplaced(t *testing.T) {
	h := newHost(t)
	name := h.volume()
	id := h.start(baseImage, name, "/data", nil, "sleep", "infinity")
	h.exec(id, "sh", "-c", "mkdir /data/old && echo before >/data/same && touch /data/old/x")
	v := h.volumes()

	whole := archive(t, entry{name: "./"}, entry{name: "./same", content: "after"}, entry{name: "./big", content: strings.Repeat("x", 3<<20)}).Bytes()
	for what, r := range map[string]io.Reader{
		"cut off": bytes.NewReader(whole[:2<<20]), "fails": io.MultiReader(bytes.NewReader(whole[:2<<20]), failingReader{}),
	} {
		if _, err := v.replace(t.Context(), name, r); err == nil {
			t.Errorf("an archive that is %s was unpacked", what)
		}
		if got := h.exec(id, "sh", "-c", "cat /data/same; ls -A /data"); got != "before\nold\nsame" {
			t.Errorf("after an archive that is %s, the volume has %q", what, got)
		}
	}
	if _, err := v.replace(t.Context(), name, archive(t,
		entry{name: "./"}, entry{name: "./same", content: "after", change: nil}, entry{name: "./big", content: strings.Repeat("x", 3<<20)},
	)); err != nil {
		t.Fatal(err)
	}
	if got := h.exec(id, "sh", "-c", "cat /data/same; echo; stat -c %s /data/big; ls -A /data"); got != "after\n3145728\nbig\nsame" {
		t.Errorf("the volume has %q", got)
	}
	if got, err := v.read(t.Context(), name, "same"); err != nil || got != "after" {
		t.Errorf("read %q, %v", got, err)
	}
	if got, err := v.read(t.Context(), name, "none"); err != nil || got != "" {
		t.Errorf("read %q of nothing, %v", got, err)
	}
	h.must(v.empty(t.Context(), name))
	if got := h.exec(id, "ls", "-A", "/data"); got != "" {
		t.Errorf("the emptied volume has %q", got)
	}
	left, err := h.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelTest+"=restore-helper"))})
	if err != nil || len(left) > 0 {
		t.Errorf("%d helpers are left, %v", len(left), err)
	}
	v.images = v.images[:1]
	if _, err := v.replace(t.Context(), name, emptyArchive()); err == nil || !strings.Contains(err.Error(), "no image") {
		t.Errorf("without an image: %v", err)
	}
}

// postgres starts a server with a user that is not called postgres.
func (h host) postgres(volumeName string) backup.Service {
	h.Helper()
	env := map[string]string{"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "pass'word $x", "POSTGRES_DB": "shop"}
	var list []string
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	id := h.start(postgresImage, volumeName, "/var/lib/postgresql/data", list)
	h.must(awaitServer(h.Context(), h.Client, id))
	return backup.Service{Name: "db", ContainerID: id, Running: true, Env: env}
}

func (h host) sql(id, database, sql string) string {
	h.Helper()
	return h.exec(id, "psql", "-X", "-U", "app", "-d", database, "-v", "ON_ERROR_STOP=1", "-Atqc", sql)
}

func TestDumpIsRestored(t *testing.T) {
	h := newHost(t)
	name := h.volume()
	db := h.postgres(name)
	id := db.ContainerID
	h.sql(id, "shop", "CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 1000); CREATE ROLE reader LOGIN PASSWORD 'one'; GRANT SELECT ON t TO reader")
	h.sql(id, "postgres", `CREATE TABLE own (n int); INSERT INTO own VALUES (7)`)
	h.sql(id, "postgres", `CREATE ROLE "Odd ""role'" NOLOGIN`)
	h.sql(id, "postgres", `CREATE DATABASE "odd ""name'" OWNER "Odd ""role'"`)
	h.sql(id, `odd "name'`, "CREATE TABLE o AS SELECT 1 AS n")
	var dump bytes.Buffer
	code, err := h.Exec(t.Context(), id, []string{"pg_dumpall", "-U", "app", "--clean", "--if-exists"}, docker.ExecOptions{Stdout: &dump})
	if err != nil || code != 0 {
		t.Fatalf("dump: code %d, %v", code, err)
	}

	damage := func() {
		h.sql(id, "shop", "DROP TABLE t; CREATE TABLE newer (n int); ALTER ROLE reader PASSWORD 'two' CREATEDB")
		h.sql(id, "postgres", "DELETE FROM own")
	}
	damage()
	h.sql(id, "postgres", "CREATE ROLE later")
	h.sql(id, "postgres", "CREATE DATABASE later OWNER reader")
	// Somebody stays connected, as a program that nobody stopped.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := h.Exec(ctx, id, []string{"psql", "-X", "-U", "app", "-d", "shop", "-c", "SELECT pg_sleep(600)"}, docker.ExecOptions{})
		ended <- err
	}()
	for deadline := time.Now().Add(30 * time.Second); h.sql(id, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND query LIKE '%sleep%' AND state = 'active'") != "1"; {
		if time.Now().After(deadline) {
			t.Fatal("nobody is connected")
		}
	}
	check := func() {
		t.Helper()
		for _, q := range [][3]string{
			{"shop", "SELECT count(*), sum(n) FROM t", "1000|500500"},
			{"shop", "SELECT count(*) FROM pg_tables WHERE tablename = 'newer'", "0"},
			{"shop", "SELECT has_table_privilege('reader', 't', 'SELECT')", "t"},
			{"postgres", "SELECT n FROM own", "7"},
			{"postgres", "SELECT rolcreatedb FROM pg_roles WHERE rolname = 'reader'", "f"},
			{`odd "name'`, "SELECT n FROM o", "1"},
			{"postgres", "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname LIKE 'odd%'", `Odd "role'`},
		} {
			if got := h.sql(id, q[0], q[1]); got != q[2] {
				t.Errorf("%s: %s: got %q, want %q", q[0], q[1], got, q[2])
			}
		}
	}
	h.must(feedDump(t.Context(), h.Client, db, bytes.NewReader(dump.Bytes())))
	check()
	if got := h.sql(id, "postgres", "SELECT count(*) FROM pg_database WHERE datname = 'later'"); got != "1" {
		t.Error("a database that is not in the dump is gone")
	}
	select {
	case <-ended: //nolint:errcheck // that it ended is what counts
	case <-time.After(10 * time.Second):
		t.Error("the session that was in the way goes on")
	}

	// Twice is as good as once, and half is told.
	damage()
	half := io.MultiReader(bytes.NewReader(dump.Bytes()[:dump.Len()/2]), failingReader{})
	if err := feedDump(t.Context(), h.Client, db, half); err == nil {
		t.Error("half a dump was taken for a whole one")
	}
	broken := strings.ReplaceAll(dump.String(), "n integer", "n no_such_type")
	if err := feedDump(t.Context(), h.Client, db, strings.NewReader(broken)); err == nil || !strings.Contains(err.Error(), "no_such_type") {
		t.Errorf("an error of the server is not told: %v", err)
	}
	h.must(feedDump(t.Context(), h.Client, db, bytes.NewReader(dump.Bytes())))
	check()

	// A new data directory, as for another major version.
	v := h.volumes()
	if got, err := v.read(t.Context(), name, "PG_VERSION"); err != nil || strings.TrimSpace(got) != "15" {
		t.Errorf("the files are of version %q, %v", got, err)
	}
	h.must(h.Stop(t.Context(), id, 10*time.Second, ""))
	h.must(v.empty(t.Context(), name))
	h.must(h.Start(t.Context(), id))
	h.must(feedDump(t.Context(), h.Client, db, bytes.NewReader(dump.Bytes())))
	check()

	h.must(h.Stop(t.Context(), id, 10*time.Second, ""))
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := feedDump(ctx, h.Client, db, bytes.NewReader(dump.Bytes())); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a server that does not run: %v", err)
	}
}
