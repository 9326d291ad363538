// SPDX-License-Identifier: Apache-2.0

//go:build engine

package backup

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/test/crash/engineproxy"
)

// behindProxy is a runner whose connection to the engine can be cut.
func (h host) behindProxy() (*Runner, *engineproxy.Proxy) {
	h.Helper()
	dir, err := os.MkdirTemp("", "fairlead-lost-") // a socket's path must be short
	must(h.T, err)
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	proxy, err := engineproxy.Start(strings.TrimPrefix(h.DaemonHost(), "unix://"), filepath.Join(dir, "docker.sock"))
	must(h.T, err)
	h.Cleanup(proxy.Close)
	c, err := docker.New(proxy.Host)
	must(h.T, err)
	h.Cleanup(func() { _ = c.Close() })
	r := h.runner()
	r.Engine = c
	return r, proxy
}

func TestRealConnectionIsLostInTheMiddle(t *testing.T) {
	h := newHost(t)
	data := h.volume()
	id := h.start(baseImage, nil, data, "/d", "sleep", "300")
	h.exec(id, nil, "sh", "-c", "head -c 30000000 /dev/urandom >/d/noise")
	deploy := t.TempDir()
	r, proxy := h.behindProxy()
	job := Job{ID: testID, Input: Input{DeployDir: deploy, Volumes: ParseSelection("data"), Services: []Service{h.service("web", baseImage, id)}}}
	job.Progress = func(p Progress) {
		if p.Bytes > 0 && !p.Done {
			proxy.Cut()
		}
	}
	_, err := r.Run(t.Context(), job)
	if err == nil || failure.AsTerminal(err) != nil || !docker.IsUnavailable(err) {
		t.Fatalf("the backup ended with %v", err)
	}
	// Nor while it stays away.
	if _, err := r.Run(t.Context(), job); err == nil || failure.AsTerminal(err) != nil || !docker.IsUnavailable(err) {
		t.Errorf("the next attempt ended with %v", err)
	}
	if whole, _, err := List(Dir(deploy)); err != nil || len(whole) > 0 {
		t.Errorf("there are the backups %v, %v", whole, err)
	}
	must(t, proxy.Restore())
	job.Progress = nil
	m, err := r.Run(t.Context(), job)
	must(t, err)
	if must(t, Verify(t.Context(), Dir(deploy), testID)); m.Artifacts[0].UncompressedBytes < 30000000 {
		t.Errorf("artifacts %+v", m.Artifacts)
	}
	if left := h.temporary(Dir(deploy)); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// atOutput is told when the dump begins to write.
type atOutput struct {
	Engine
	began func()
}

func (e atOutput) Exec(ctx context.Context, id string, cmd []string, o docker.ExecOptions) (int, error) {
	if cmd[0] == "pg_dumpall" && len(cmd) > 2 {
		o.Stdout = &firstWrite{o.Stdout, e.began}
	}
	return e.Engine.Exec(ctx, id, cmd, o)
}

type firstWrite struct {
	io.Writer
	began func()
}

func (w *firstWrite) Write(p []byte) (int, error) {
	if w.began != nil {
		w.began()
		w.began = nil
	}
	return w.Writer.Write(p)
}

// As when the engine is restarted: the server is killed in the middle of its dump, and takes a while to come back.
func TestRealDatabaseIsRestartedInTheMiddle(t *testing.T) {
	h := newHost(t)
	db := h.postgres("")
	h.sql(db, "shop", "CREATE TABLE big AS SELECT repeat(md5(i::text), 30) AS t FROM generate_series(1, 100000) i")
	deploy := t.TempDir()
	s := h.service("db", postgresImage, db)
	s.Mounts = nil
	r := h.runner()
	r.Engine = atOutput{h.Client, func() { must(t, h.ContainerKill(t.Context(), db, "KILL")) }}
	job := Job{ID: testID, Input: Input{DeployDir: deploy, Services: []Service{s}}}
	if _, err := r.Run(t.Context(), job); err == nil || failure.AsTerminal(err) != nil {
		t.Fatalf("the backup ended with %v", err)
	}
	must(t, h.ContainerStart(t.Context(), db, container.StartOptions{}))
	r = h.runner()
	for refused := 0; ; refused++ {
		m, err := r.Run(t.Context(), job)
		if err == nil {
			t.Logf("made %v after %d that the server refused", m.ID, refused)
			break
		}
		if failure.AsTerminal(err) != nil {
			t.Fatalf("while the server starts: %v", err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the server does not come back")
		case <-time.After(50 * time.Millisecond): // as a step that is tried again, only sooner
		}
	}
	must(t, Verify(t.Context(), Dir(deploy), testID))
}
