// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

func TestLogsAreKeptAsAsked(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	days := func(n int) *metav1.Duration { return &metav1.Duration{Duration: time.Duration(n) * 24 * time.Hour} }
	for name, tt := range map[string]struct {
		age   *metav1.Duration
		count int32
		kept  []int // days
	}{
		"nothing":     {nil, 0, []int{0, 1, 5, 29, 50}},
		"days":        {days(3), 0, []int{0, 1, 50}},
		"a count":     {nil, 3, []int{0, 1, 5, 50}},
		"both":        {days(3), 3, []int{0, 1, 50}},
		"a low count": {days(40), 2, []int{0, 1, 50}},
		"never":       {days(0), 0, []int{0, 1, 5, 29, 31, 40, 50}},
	} {
		s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
			a.Spec.Compose.Directory, a.Spec.Retention.Logs, a.Spec.Retention.LogCount = t.TempDir(), tt.age, tt.count
		})
		s.Store, s.Clock, s.log = storeOf(t), testclock.NewFakePassiveClock(now), updatelog.Lost("", nil)
		w := &workspace{dir: s.Application.Spec.Compose.Directory, app: s.Application}
		logs := map[int]string{}
		for _, age := range []int{0, 1, 5, 29, 31, 40, 50} {
			at := now.AddDate(0, 0, -age).Add(time.Minute)
			logs[age] = updatelog.Path(w.dir, at.Format("20060102_150405"))
			write(t, logs[age], "")
			if err := os.Chtimes(logs[age], at, at); err != nil {
				t.Fatal(err)
			}
		}
		s.Request.Status.LogFile = logs[50] // an update that took its time
		if err := s.cleanLogs(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		for age, path := range logs {
			if _, err := os.Lstat(path); (err == nil) != slices.Contains(tt.kept, age) {
				t.Errorf("%s: the log of %d days ago: %v, want those of %v", name, age, err, tt.kept)
			}
		}
	}
}

// The images of releases that retention.imageAge lets go are removed, and only after
// it was written that nobody can go back to these.
func TestImagesAreKeptAsAsked(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		age     *metav1.Duration
		expired []string
	}{
		"nothing": {nil, nil},
		"never":   {&metav1.Duration{}, nil},
		"days":    {&metav1.Duration{Duration: 10 * day}, []string{"shop-1", "shop-2"}},
		// The one before the current one stays, however old.
		"an hour": {&metav1.Duration{Duration: time.Hour}, []string{"shop-1", "shop-2", "shop-3"}},
	} {
		engine := &imageEngine{}
		s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Spec.Retention.ImageAge = tt.age })
		var releases []v1alpha1.Release
		for i, age := range []int{40, 30, 5, 4, 3} {
			r := v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{
				Namespace: "prod", Name: fmt.Sprintf("shop-%d", i+1), UID: types.UID(fmt.Sprint(i)), CreationTimestamp: metav1.NewTime(now.Add(-time.Duration(age) * day)),
			}}
			r.Spec.ApplicationRef.Name, r.Spec.Project, r.Spec.Number, r.Status.State = "shop", "shop", int64(i+1), v1alpha1.ReleasePrevious
			id := "sha256:" + strings.Repeat(fmt.Sprint(i+1), 64)
			engine.ids = append(engine.ids, id)
			r.Spec.Services = []v1alpha1.ReleaseService{{Name: "web", Image: "acme/web", ImageID: id, BuildKey: "k"}}
			releases = append(releases, r)
		}
		releases[4].Status.State = v1alpha1.ReleaseCurrent
		var objects []client.Object
		for i := range releases {
			objects = append(objects, &releases[i])
		}
		s.Store, s.Docker, s.Clock, s.log = storeOf(t, objects...), engineOn(t, engine), testclock.NewFakePassiveClock(now), updatelog.Lost("", nil)
		var err error
		if releases, err = s.Store.Releases(t.Context(), s.Application); err != nil {
			t.Fatal(err)
		}
		w := &workspace{dir: t.TempDir(), app: s.Application}
		if err := os.MkdirAll(w.path("work"), 0o700); err != nil {
			t.Fatal(err)
		}
		k := kept{w: w, left: releases, known: true, images: engine.ids}
		if err := errors.Join(s.dropImages(t.Context(), &k), s.clean(t.Context(), k)); err != nil {
			t.Fatal(err)
		}
		after, err := s.Store.Releases(t.Context(), s.Application)
		if err != nil {
			t.Fatal(err)
		}
		var expired, removed []string
		for _, r := range after {
			if r.Status.State == v1alpha1.ReleaseExpired {
				expired = append(expired, r.Name)
				removed = append(removed, "acme/web:"+Short12(strings.TrimPrefix(r.Spec.Services[0].ImageID, "sha256:")))
				if !strings.Contains(r.Status.Message, "retention.imageAge") {
					t.Errorf("%s: %s: %q does not say why", name, r.Name, r.Status.Message)
				}
			}
		}
		slices.Sort(expired)
		slices.Sort(removed)
		slices.Sort(engine.removed)
		if !slices.Equal(expired, tt.expired) || !slices.Equal(engine.removed, removed) {
			t.Errorf("%s: %v can not be gone back to, want %v; the images %v are removed, want %v", name, expired, tt.expired, engine.removed, removed)
		}
	}
}
