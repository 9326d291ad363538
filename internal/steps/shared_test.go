// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// storeOf keeps objects in memory: a stand-in of the API.
func storeOf(t *testing.T, objects ...client.Object) release.Store {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.Release{}, &v1alpha1.Backup{}).WithObjects(objects...)
	const field = "spec.applicationRef.name"
	b.WithIndex(&v1alpha1.Release{}, field, func(o client.Object) []string {
		return []string{o.(*v1alpha1.Release).Spec.ApplicationRef.Name}
	})
	b.WithIndex(&v1alpha1.Backup{}, field, func(o client.Object) []string {
		return []string{o.(*v1alpha1.Backup).Spec.ApplicationRef.Name}
	})
	return release.Store{Client: b.Build()}
}

// engineOn is a stand-in of an engine, which answers by handler.
func engineOn(t *testing.T, handler http.Handler) *docker.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := docker.New("tcp://" + server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Two applications may have one deployment directory. What retention lets go of
// one, and how its restores went, is nothing to the other.
func TestOfOneDirectoryEachCleansItsOwn(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	backups, logs := backup.Dir(dir), updatelog.Dir(dir)
	made := func(day int, application string) string {
		id := fmt.Sprintf("backup_202602%02d_000000", day)
		at := time.Date(2026, 2, day, 0, 0, 0, 0, time.UTC)
		data, err := json.Marshal(backup.Manifest{
			SchemaVersion: backup.SchemaVersion, ID: id, Application: application, CreatedAt: at, CompletedAt: at,
		})
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(backups, id, backup.ManifestName), string(data))
		return filepath.Join(backups, id)
	}
	logged := func(day int) string {
		path := updatelog.Path(dir, fmt.Sprintf("202602%02d_000000", day))
		write(t, path, "")
		return path
	}
	theirs := []string{made(1, "prod/shop"), made(2, "staging/shop-staging"), logged(1), claim.JournalPath(dir, "prod/shop")}
	write(t, theirs[3], "{}")
	kept := []string{made(5, "prod/shop-staging"), logged(5)}
	gone := []string{made(3, "prod/shop-staging"), made(4, "prod/shop-staging"), logged(3), logged(4), claim.JournalPath(dir, "prod/shop-staging")}
	write(t, gone[4], "{}")

	count := int32(1)
	s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
		a.Name, a.Spec.Compose.Directory = "shop-staging", dir
		a.Spec.Retention.Backups = &v1alpha1.BackupRetention{Count: &count}
		a.Spec.Retention.LogCount = 1
	})
	production := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "u0"}}
	production.Spec.ApplicationRef.Name, production.Status.LogFile = "shop", theirs[2]
	s.Store, s.Clock, s.log = storeOf(t, production), testclock.NewFakePassiveClock(now), updatelog.Lost("", nil)
	w := &workspace{dir: dir, app: s.Application}
	for _, err := range []error{s.cleanBackups(t.Context(), w, nil), s.cleanLogs(t.Context(), w), s.endRestore(w)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range append(theirs, kept...) {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("it was removed: %v", err)
		}
	}
	for _, path := range gone {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still in %s", path, logs)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
