// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/source"
)

func container(state, health string, change ...func(*docker.Container)) docker.Container {
	c := docker.Container{ID: "id", Name: "shop-web-1", Image: "shop/web", ImageID: "sha256:1", Service: "web", State: state, Health: health}
	for _, f := range change {
		f(&c)
	}
	return c
}

// A restore that came after the current release is what runs, and no drift.
func TestRestoredSinceTheRelease(t *testing.T) {
	released := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		at       time.Time
		restored bool
	}{
		"before":             {released.Add(-time.Hour), false},
		"in the same second": {released.Add(300 * time.Millisecond), false},
		"after":              {released.Add(time.Hour), true},
	} {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop"}}
		app.Spec.Compose.Directory = t.TempDir()
		if err := os.Mkdir(filepath.Join(app.Spec.Compose.Directory, ".update"), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := claim.MarkRestored(app.Spec.Compose.Directory, "prod/shop", claim.Restored{Backup: "backup_20260301_110000", At: test.at}); err != nil {
			t.Fatal(err)
		}
		seen := Application{Commit: "a", Releases: []v1alpha1.Release{{
			ObjectMeta: metav1.ObjectMeta{Name: "shop-3", CreationTimestamp: metav1.NewTime(released)},
			Status:     v1alpha1.ReleaseStatus{State: v1alpha1.ReleaseCurrent},
		}}}
		if err := seen.lookForRestore(app); err != nil {
			t.Fatal(err)
		}
		if seen.RestoredAt.IsZero() == test.restored || (seen.Current() == nil) != test.restored || strings.Contains(seen.Note, "backup_20260301_110000") != test.restored {
			t.Errorf("%s: %+v", name, seen)
		}
	}
}

func TestServiceStatus(t *testing.T) {
	web, migrate := compose.Service{Name: "web", Replicas: 1}, compose.Service{Name: "web", Replicas: 1, OneShot: true}
	exit := func(code int, at time.Time) func(*docker.Container) {
		return func(c *docker.Container) { c.ExitCode, c.FinishedAt = code, at }
	}
	early, late := time.Unix(100, 0), time.Unix(200, 0)
	ran := &v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Services: []v1alpha1.ReleaseService{{Name: "web", Image: "shop/web", ImageID: "sha256:1"}}}}
	type cs = []docker.Container
	tests := []struct {
		name       string
		svc        compose.Service
		containers cs
		current    *v1alpha1.Release
		state      string
		health     string
		replicas   int32
	}{
		{"no container", web, nil, nil, "Missing", "", 0},
		{"no container of this service", web, cs{container(docker.StateRunning, docker.HealthNone, func(c *docker.Container) { c.Service = "db" })}, nil, "Missing", "", 0},
		{"no replicas are wanted", compose.Service{Name: "web"}, nil, nil, "Completed", "", 0},
		{"a one-shot whose container was removed", migrate, nil, ran, "Completed", "", 0},
		{"a one-shot that never ran", migrate, nil, nil, "Missing", "", 0},
		{"runs without a healthcheck", web, cs{container(docker.StateRunning, docker.HealthNone)}, nil, "Running", "", 1},
		{"healthy", web, cs{container(docker.StateRunning, docker.HealthHealthy)}, nil, "Running", "Healthy", 1},
		{"starting", web, cs{container(docker.StateRunning, docker.HealthStarting)}, nil, "Running", "Starting", 1},
		{"one of two is unhealthy", web, cs{container(docker.StateRunning, docker.HealthUnhealthy), container(docker.StateRunning, docker.HealthHealthy)}, nil, "Running", "Unhealthy", 2},
		{"the other of two is unhealthy", web, cs{container(docker.StateRunning, docker.HealthHealthy), container(docker.StateRunning, docker.HealthUnhealthy)}, nil, "Running", "Unhealthy", 2},
		{"one of two is starting", web, cs{container(docker.StateRunning, docker.HealthHealthy), container(docker.StateRunning, docker.HealthStarting)}, nil, "Running", "Starting", 2},
		{"restarting", web, cs{container(docker.StateRestarting, docker.HealthNone)}, nil, "Restarting", "", 0},
		{"stopped", web, cs{container(docker.StateExited, docker.HealthNone)}, nil, "Stopped", "", 0},
		{"an old one stopped beside it", web, cs{container(docker.StateExited, docker.HealthNone), container(docker.StateRunning, docker.HealthNone)}, nil, "Running", "", 1},
		{"a one-shot that ran to its end", migrate, cs{container(docker.StateExited, docker.HealthNone, exit(0, early))}, nil, "Completed", "", 0},
		{"a one-shot that failed", migrate, cs{container(docker.StateExited, docker.HealthNone, exit(1, early))}, nil, "Stopped", "", 0},
		{"its newest run tells", migrate, cs{container(docker.StateExited, docker.HealthNone, exit(0, early)), container(docker.StateExited, docker.HealthNone, exit(1, late))}, nil, "Stopped", "", 0},
		{"its newest run tells, also when it was good", migrate, cs{container(docker.StateExited, docker.HealthNone, exit(0, late)), container(docker.StateExited, docker.HealthNone, exit(1, early))}, nil, "Completed", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := serviceStatus(tt.svc, tt.containers, tt.current)
			if got.State != tt.state || got.Health != tt.health || got.Replicas != tt.replicas || len(got.Containers) != int(tt.replicas) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestHealthInWords(t *testing.T) {
	a := Application{Services: []v1alpha1.ServiceStatus{
		{Name: "web", State: "Running", Health: "Healthy"}, {Name: "plain", State: "Running"}, {Name: "migrate", State: "Completed"},
		{Name: "sick", State: "Running", Health: "Unhealthy"}, {Name: "loop", State: "Restarting"}, {Name: "gone", State: "Missing"},
	}}
	if got := a.Unhealthy(); !slices.Equal(got, []string{"sick (unhealthy)", "loop (restarting)", "gone (missing)"}) {
		t.Errorf("got %q", got)
	}
	if got := a.HealthyServices(); got != 3 {
		t.Errorf("%d are healthy", got)
	}
}

func TestFacts(t *testing.T) {
	releases := []v1alpha1.Release{{Spec: v1alpha1.ReleaseSpec{Services: []v1alpha1.ReleaseService{{Name: "web", Revision: "old", Containers: []string{"adopted"}}}}}}
	id := func(id string, labels ...string) func(*docker.Container) {
		return func(c *docker.Container) {
			c.ID, c.Labels = id, map[string]string{}
			for i := 0; i < len(labels); i += 2 {
				c.Labels[labels[i]] = labels[i+1]
			}
		}
	}
	containers := []docker.Container{
		container(docker.StateRunning, docker.HealthNone, id("adopted")),
		container(docker.StateRunning, docker.HealthNone, id("mine", v1alpha1.LabelRequest, "uid", v1alpha1.LabelRevision, "new")),
		container(docker.StateRunning, docker.HealthNone, id("restarted", v1alpha1.LabelRevision, "old")),
		container(docker.StateExited, docker.HealthNone, id("stopped", v1alpha1.LabelRevision, "old")),
	}
	type fact struct {
		revision    string
		mine, ready bool
	}
	facts := func(request string) map[string]fact {
		got := map[string]fact{}
		for _, f := range Facts(containers, releases, request, func(c docker.Container) bool { return c.ID == "restarted" }) {
			got[f.ID] = fact{f.Revision, f.Mine, f.Ready}
			if f.State != plan.ContainerState("running") && f.ID != "stopped" {
				t.Errorf("%s is %s", f.ID, f.State)
			}
		}
		return got
	}
	want := map[string]fact{"adopted": {"old", false, true}, "mine": {"new", true, false}, "restarted": {"old", false, false}, "stopped": {"old", false, false}}
	if got := facts("uid"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	// Without a request nothing is its own.
	want["mine"] = fact{"new", false, true}
	if got := facts(""); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"InvalidComposeModel": fmt.Errorf("load: %w", &compose.ModelError{}), "NotAGitRepository": fmt.Errorf("open: %w", source.ErrNotRepository),
		"GitMissing": source.ErrGitMissing, "ObservationFailed": errors.New("permission denied"),
	} {
		if got := Reason(err); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
}

func TestHostFigures(t *testing.T) {
	d, err := DiskAt(t.TempDir())
	if err != nil || d.Free <= 0 || d.Total < d.Free {
		t.Errorf("disk: %+v, %v", d, err)
	}
	if _, err := DiskAt("/nonexistent"); err == nil {
		t.Error("there is room where nothing is")
	}
	if m, err := HostMemory(); err != nil || m.Available < 1<<20 || m.Total < m.Available {
		t.Errorf("memory: %+v, %v", m, err)
	}
}
