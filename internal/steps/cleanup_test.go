// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// What is left of a revision that is gone, or beyond the number that is wanted, is
// removed; what nobody knows, what runs, and what ran to its end is not.
func TestLeftBehind(t *testing.T) {
	of := func(id, service, revision, state string) docker.Container {
		c := docker.Container{ID: id, Service: service, State: state, Labels: map[string]string{v1alpha1.LabelRequest: "uid"}}
		if revision != "" {
			c.Labels[v1alpha1.LabelRevision] = revision
		}
		return c
	}
	const up, down, created = docker.StateRunning, docker.StateExited, docker.StateCreated
	current := v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Services: []v1alpha1.ReleaseService{
		{Name: "web", Revision: "w2", Replicas: 1}, {Name: "worker", Revision: "k", Replicas: 2},
		{Name: "migrate", Revision: "m", OneShot: true}, {Name: "off", Revision: "o"},
	}}}
	containers := []docker.Container{
		of("web-old", "web", "w1", down), of("web-1", "web", "w2", up), of("web-2", "web", "w2", down), of("web-3", "web", "w2", created),
		of("worker-1", "worker", "k", up), of("worker-2", "worker", "k", down),
		of("migrate-1", "migrate", "m", down), of("off-1", "off", "o", down),
		of("dropped-1", "dropped", "d", down), of("by-hand", "web", "", down), of("old-runs", "web", "w1", up),
	}
	var got []string
	for _, c := range newRun().leftBehind(containers, []v1alpha1.Release{current}, &current) {
		got = append(got, c.ID)
	}
	want := []string{"web-old", "web-2", "web-3", "off-1", "dropped-1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	forced := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		ur.UID = "another"
		ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "worker", Recreate: true}}
	})
	if !slices.ContainsFunc(forced.leftBehind(containers, []v1alpha1.Release{current}, &current), func(c docker.Container) bool { return c.ID == "worker-2" }) {
		t.Error("a container that was replaced by one of the same revision stays")
	}
}

func TestBackupsAreKeptAsAsked(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	ages := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 40} // days
	count := func(n int32) *int32 { return &n }
	days := func(n int) *metav1.Duration { return &metav1.Duration{Duration: time.Duration(n) * 24 * time.Hour} }
	for name, tt := range map[string]struct {
		asked *v1alpha1.BackupRetention
		kept  int
	}{
		"nothing":   {nil, 7},
		"no limit":  {&v1alpha1.BackupRetention{}, 7},
		"days":      {&v1alpha1.BackupRetention{Age: days(30)}, 10},
		"few days":  {&v1alpha1.BackupRetention{Age: days(3)}, 4},
		"a count":   {&v1alpha1.BackupRetention{Count: count(11)}, 11},
		"both":      {&v1alpha1.BackupRetention{Count: count(5), Age: days(3)}, 4},
		"as before": {&v1alpha1.BackupRetention{Count: count(7), Age: days(30)}, 7},
		"all":       {&v1alpha1.BackupRetention{Count: count(0), Age: days(0)}, 11},
	} {
		s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
			a.Spec.Compose.Directory, a.Spec.Retention.Backups = t.TempDir(), tt.asked
		})
		s.Store, s.Clock, s.log = storeOf(t), testclock.NewFakePassiveClock(now), updatelog.Lost("", nil)
		w := &workspace{dir: s.Application.Spec.Compose.Directory, app: s.Application}
		for _, age := range ages {
			at := now.AddDate(0, 0, -age).Add(time.Minute)
			id := at.Format("backup_20060102_150405")
			data, err := json.Marshal(backup.Manifest{SchemaVersion: backup.SchemaVersion, ID: id, Application: s.applicationName(), CreatedAt: at, CompletedAt: at})
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(backup.Dir(w.dir), id, backup.ManifestName), string(data))
		}
		if err := s.cleanBackups(t.Context(), w, nil); err != nil {
			t.Fatal(err)
		}
		left, _, err := backup.List(backup.Dir(w.dir))
		if err != nil || len(left) != tt.kept {
			t.Errorf("%s: %d of %d backups are left, %v; want %d", name, len(left), len(ages), err, tt.kept)
		}
	}
}
