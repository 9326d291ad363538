// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
)

// fakeEngine answers like an engine: which container is asked for which lines is
// what is tested here.
type fakeEngine struct {
	containers []docker.Container
	lines      []docker.LogLine
	asked      docker.LogOptions
	of         docker.Container
}

func (e *fakeEngine) ProjectContainers(_ context.Context, project string) ([]docker.Container, error) {
	if project != "shop" {
		return nil, nil
	}
	return e.containers, nil
}

func (e *fakeEngine) Logs(_ context.Context, c docker.Container, o docker.LogOptions, send func([]docker.LogLine) error) error {
	e.of, e.asked = c, o
	return send(e.lines)
}

// received takes what a receiver gets.
type received struct {
	container hostaccess.Container
	lines     []hostaccess.Line
}

func (r *received) Begin(c hostaccess.Container) error { r.container = c; return nil }

func (r *received) Lines(lines []hostaccess.Line) error {
	r.lines = append(r.lines, lines...)
	return nil
}

func (r *received) texts() (out []string) {
	for _, l := range r.lines {
		out = append(out, l.Text)
	}
	return out
}

func TestContainerLogGoesOnAfterALine(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 7).UTC() }
	e := &fakeEngine{
		containers: []docker.Container{
			{ID: strings.Repeat("a", 64), Name: "web-old", Service: "web", State: docker.StateExited, Created: at(9)},
			{ID: strings.Repeat("b", 64), Name: "web-1", Service: "web", State: docker.StateRunning, Created: at(1)},
			{ID: strings.Repeat("c", 64), Name: "web-2", Service: "web", State: docker.StateRunning, Created: at(2)},
			{ID: strings.Repeat("d", 64), Name: "db-1", Service: "db", State: docker.StateRunning, Created: at(3)},
		},
		lines: []docker.LogLine{{Time: at(1), Text: "a"}, {Time: at(1), Text: "b", Stderr: true}, {Time: at(1), Text: "c"}, {Time: at(2), Text: "d"}},
	}
	h := Host{Engine: e}
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	app.Status.Project = "shop"
	var all received
	if err := h.ContainerLog(t.Context(), app, hostaccess.LogQuery{Service: "web", Tail: 50}, &all); err != nil {
		t.Fatal(err)
	}
	if all.container.Name != "web-2" || e.asked.Tail != 50 || !slices.Equal(all.texts(), []string{"a", "b", "c", "d"}) || all.lines[1].Stream != "stderr" {
		t.Errorf("%+v, asked %+v, got %+v", all.container, e.asked, all.lines)
	}
	// From each line on, exactly what comes after it.
	for i, l := range all.lines {
		p, err := hostaccess.ParsePosition(l.Position.String())
		if err != nil || p != l.Position {
			t.Fatalf("%v became %v, %v", l.Position, p, err)
		}
		var rest received
		if err := h.ContainerLog(t.Context(), app, hostaccess.LogQuery{Service: "web", Tail: 50, After: &p}, &rest); err != nil {
			t.Fatal(err)
		}
		if want := all.texts()[i+1:]; !slices.Equal(rest.texts(), want) || e.asked.Tail != -1 || !e.asked.Since.Equal(l.Time) {
			t.Errorf("after %s: %v, want %v", l.Text, rest.texts(), want)
		}
	}
	// Of another container, which has been replaced, from what was asked for on.
	other := hostaccess.Position{Container: strings.Repeat("a", 12), Time: at(2)}
	var fresh received
	if err := h.ContainerLog(t.Context(), app, hostaccess.LogQuery{Service: "web", Tail: 3, After: &other}, &fresh); err != nil || e.asked.Tail != 3 || len(fresh.lines) != 4 {
		t.Errorf("asked %+v, got %v, %v", e.asked, fresh.texts(), err)
	}
	for what, q := range map[string]hostaccess.LogQuery{
		"another service": {Service: "none"}, "another's container": {Service: "db", Container: "web-1"}, "nothing": {},
	} {
		if err := h.ContainerLog(t.Context(), app, q, &received{}); !errors.Is(err, hostaccess.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := h.ContainerLog(t.Context(), app, hostaccess.LogQuery{Container: "web-old"}, &received{}); err != nil || e.of.Name != "web-old" {
		t.Errorf("by name: %s, %v", e.of.Name, err)
	}
	app.Status.Project = ""
	if err := h.ContainerLog(t.Context(), app, hostaccess.LogQuery{Service: "web"}, &received{}); !errors.Is(err, hostaccess.ErrNotFound) {
		t.Errorf("before the project is known: %v", err)
	}
}

func TestParsePositionRefuses(t *testing.T) {
	for _, s := range []string{"", "1", "0123456789ab-1", "0123456789ab-x-0", "0123456789ab-1--1", "short-1-0", "0123456789ab-1-0-0"} {
		if p, err := hostaccess.ParsePosition(s); err == nil {
			t.Errorf("%q is %v", s, p)
		}
	}
}

func TestBackupIsSentAsItLies(t *testing.T) {
	deploy := t.TempDir()
	const id = "backup_20260304_050607"
	dir := filepath.Join(backup.Dir(deploy), id)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(backup.Manifest{
		SchemaVersion: backup.SchemaVersion, ID: id, CompletedAt: time.Unix(1, 0), Artifacts: []backup.Artifact{{Name: "files", File: "files.tar.gz", Bytes: 5}},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(backup.ManifestName, string(manifest))
	write("files.tar.gz", "12345")
	write("other", "not a part of it")

	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop"}}
	app.Spec.Compose.Directory = deploy
	b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop-1"}}
	b.Spec.ApplicationRef.Name, b.Spec.ID = "shop", id
	a, err := Host{}.OpenBackup(t.Context(), app, b)
	if err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	if n, err := a.WriteTo(&sent); err != nil || n != int64(sent.Len()) {
		t.Fatalf("%d of %d, %v", n, sent.Len(), err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&sent); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if data, err := io.ReadAll(r); err != nil || strings.HasSuffix(h.Name, ".gz") && string(data) != "12345" {
			t.Errorf("%s: %q, %v", h.Name, data, err)
		}
	}
	if want := []string{id + "/", id + "/manifest.json", id + "/files.tar.gz"}; !slices.Equal(names, want) {
		t.Errorf("sent %v, want %v", names, want)
	}

	// A link in the place of a file is not followed.
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("54321"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err = Host{}.OpenBackup(t.Context(), app, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "files.tar.gz")), os.Symlink(secret, filepath.Join(dir, "files.tar.gz"))); err != nil {
		t.Fatal(err)
	}
	sent.Reset()
	if _, err := a.WriteTo(&sent); err == nil || bytes.Contains(sent.Bytes(), []byte("54321")) {
		t.Errorf("a link was followed: %v", err)
	}
	_ = a.Close()

	other := b.DeepCopy()
	other.Spec.ApplicationRef.Name = "blog"
	if _, err := (Host{}).OpenBackup(t.Context(), app, other); !errors.Is(err, errOutside) {
		t.Errorf("another application's backup: %v", err)
	}
	gone := b.DeepCopy()
	gone.Spec.ID = "backup_20260304_050608"
	if _, err := (Host{}).OpenBackup(t.Context(), app, gone); !errors.Is(err, hostaccess.ErrNotFound) {
		t.Errorf("one that is gone: %v", err)
	}
	bad := b.DeepCopy()
	bad.Spec.ID = "../../etc"
	if _, err := (Host{}).OpenBackup(t.Context(), app, bad); err == nil {
		t.Error("a path was taken for an ID")
	}
}
