// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

func isTerminal(err error) bool { return failure.AsTerminal(err) != nil }

func shopOne() *v1alpha1.Release {
	return &v1alpha1.Release{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-1"},
		Spec: v1alpha1.ReleaseSpec{Commit: "0123456789abcdef", Services: []v1alpha1.ReleaseService{
			{Name: "db", Image: "postgres:16", ImageID: "sha256:d", Revision: "d1", Replicas: 1},
			{Name: "migrate", Revision: "m1", OneShot: true},
			{Name: "web", Image: "shop/web", ImageID: "sha256:w", Revision: "w1", Replicas: 2},
		}},
	}
}

func TestWhatARollbackAimsAt(t *testing.T) {
	s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		ur.Status.Services = []v1alpha1.ServiceUpdate{
			{Name: "db", Action: v1alpha1.ActionKeep}, {Name: "web", Action: v1alpha1.ActionReplace, Order: v1alpha1.OrderStartFirst},
			{Name: "added", Action: v1alpha1.ActionCreate},
		}
	})
	p := project(t, `
services:
  db: {image: postgres}
  web: {image: shop/web, container_name: front, depends_on: {db: {condition: service_healthy}}}
`)
	got := map[string]plan.Target{}
	for _, target := range s.previousTargets(p, shopOne()) {
		got[target.Name] = target
	}
	if len(got) != 3 {
		t.Fatalf("got %d services: %+v", len(got), got)
	}
	if d := got["db"]; d.Action != v1alpha1.ActionKeep || d.Revision != "d1" {
		t.Errorf("what the update kept is not kept: %+v", d)
	}
	w := got["web"]
	if w.Action != v1alpha1.ActionReplace || w.Order != v1alpha1.OrderStartFirst || w.Replicas != 2 || w.Revision != "w1" || w.ContainerName != "front" ||
		!reflect.DeepEqual(w.DependsOn, []plan.Dependency{{Service: "db", Condition: plan.DependsHealthy}}) {
		t.Errorf("web: %+v", w)
	}
	if m := got["migrate"]; !m.OneShot || m.Order != v1alpha1.OrderStopFirst {
		t.Errorf("migrate: %+v", m)
	}
	if s.previousTargets(p, nil) != nil {
		t.Error("there is something to go back to, though nothing ran before")
	}
	if got := previousImages(shopOne())["web"]; got != (imageRef{"shop/web", "sha256:w"}) {
		t.Errorf("image: %+v", got)
	}
}

func TestRollbackTellsTheStory(t *testing.T) {
	withBackup := func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		ur.Status.Backup, ur.Status.BackupPath = "backup_1", "/opt/shop/.update/backups/backup_1"
		ur.Status.PreviousTree = "fedcba9876543210"
		ur.Status.Failure = &v1alpha1.FailureStatus{Step: v1alpha1.StepVerify, Reason: v1alpha1.ReasonVerifyFailed}
	}
	const data = "; data was not changed back, it could be restored from backup_1 (/opt/shop/.update/backups/backup_1)"
	tests := []struct {
		name     string
		run      *run
		previous *v1alpha1.Release
		treeErr  error
		want     v1alpha1.RollbackStatus
	}{
		{"to a release", newRun(), shopOne(), nil, v1alpha1.RollbackStatus{Release: "shop-1", Message: "the application runs release shop-1 (0123456) again"}},
		{"with a backup", newRun(withBackup), shopOne(), nil, v1alpha1.RollbackStatus{Release: "shop-1", Commit: "fedcba9876543210", Reason: v1alpha1.ReasonVerifyFailed,
			Message: "the application runs release shop-1 (0123456) again" + data}},
		{"to nothing", newRun(), nil, nil, v1alpha1.RollbackStatus{Message: "the application did not run before, so what was started is removed"}},
		{"the tree stays", newRun(withBackup), shopOne(), errors.New("local edits in a.conf"), v1alpha1.RollbackStatus{Release: "shop-1", Commit: "fedcba9876543210",
			Reason:  v1alpha1.ReasonVerifyFailed,
			Message: "the application runs release shop-1 (0123456) again; but the working tree could not go back to fedcba9: local edits in a.conf" + data}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.run.rollbackStatus(tt.previous, tt.treeErr); *got != tt.want {
				t.Errorf("got  %+v\nwant %+v", *got, tt.want)
			}
		})
	}
}

// A rollback that goes on after a crash cannot know whether what it started
// passed its gate; what ran all the time has.
func TestStartedSince(t *testing.T) {
	began := metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepRollback, State: v1alpha1.StepRunning, Attempt: 2, StartedAt: &began}}
	})
	touched := s.startedSince(v1alpha1.StepRollback)
	for offset, want := range map[time.Duration]bool{-time.Second: false, 0: true, time.Second: true} {
		if got := touched(docker.Container{StartedAt: began.Add(offset)}); got != want {
			t.Errorf("started %s after the step: %t", offset, got)
		}
	}
	if newRun().startedSince(v1alpha1.StepRollback)(docker.Container{StartedAt: began.Time}) {
		t.Error("a step that did not begin touched something")
	}
}

func TestTargetsOfTheStatus(t *testing.T) {
	s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
		ur.Status.Services = []v1alpha1.ServiceUpdate{
			{Name: "web", Action: v1alpha1.ActionReplace, Order: v1alpha1.OrderStartFirst, Revision: "w2", Image: "shop/web:2", ImageID: "sha256:w2", Recreate: true},
			{Name: "gone", Action: v1alpha1.ActionRemove},
		}
	})
	p := project(t, `
services:
  db: {image: postgres}
  web: {image: shop/web, deploy: {replicas: 3}, depends_on: [db]}
`)
	got := s.targets(p)
	if len(got) != 2 || got[0].Replicas != 3 || got[0].Revision != "w2" || got[0].Order != v1alpha1.OrderStartFirst || len(got[0].DependsOn) != 1 ||
		got[1].Action != v1alpha1.ActionRemove || got[1].Replicas != 0 {
		t.Errorf("got %+v", got)
	}
	if fresh := s.fresh(); len(fresh) != 1 || !fresh["web"] {
		t.Errorf("fresh: %v", fresh)
	}
	if images := s.images(); images["web"] != (imageRef{"shop/web:2", "sha256:w2"}) {
		t.Errorf("images: %v", images)
	}
}

func TestServiceOfAddsWhatIsMissing(t *testing.T) {
	st := v1alpha1.UpdateRequestStatus{Services: []v1alpha1.ServiceUpdate{{Name: "web"}}}
	serviceOf(&st, "web").Health = "healthy"
	serviceOf(&st, "left").Health = "waiting"
	serviceOf(&st, "left").Health = "removed"
	want := []v1alpha1.ServiceUpdate{{Name: "web", Health: "healthy"}, {Name: "left", Action: v1alpha1.ActionRemove, Health: "removed"}}
	if !reflect.DeepEqual(st.Services, want) {
		t.Errorf("got %+v", st.Services)
	}
}

// A rollback goes by the model of its own release, not by one that another
// application of the directory wrote, or somebody changed: under another project
// name it would end what runs.
func TestPreviousModel(t *testing.T) {
	of := func(name string) *compose.Project { return project(t, "name: "+name+"\nservices: {web: {image: web}}") }
	for name, tt := range map[string]struct {
		stored, update string // names of the projects
		change         func(*v1alpha1.Release)
		want           string // of the project; empty: none
	}{
		"its own":                             {"shop", "shop-next", nil, "shop"},
		"of another project":                  {"shop-staging", "shop", func(r *v1alpha1.Release) { r.Spec.ComposeDigest = "" }, "shop"},
		"changed":                             {"shop", "shop", func(r *v1alpha1.Release) { r.Spec.ComposeDigest = "x" }, "shop"},
		"changed, and the update renames":     {"shop", "shop-next", func(r *v1alpha1.Release) { r.Spec.ComposeDigest = "x" }, ""},
		"of another project, as is the other": {"shop-staging", "shop-staging", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) { ur.Status.ID = "1" })
			s.log = updatelog.Lost("", nil)
			w := &workspace{dir: dir, app: s.Application}
			for _, d := range []string{"releases", "work"} {
				if err := os.MkdirAll(w.path(d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			r := &v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Project: "shop", ComposePath: w.releaseModelPath("shop-3")}}
			var err error
			if r.Spec.ComposeDigest, err = writeModel(r.Spec.ComposePath, of(tt.stored)); err != nil {
				t.Fatal(err)
			}
			if _, err := writeModel(w.modelPath("1"), of(tt.update)); err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(r)
			}
			p, err := s.previousModel(t.Context(), w, r)
			switch {
			case tt.want == "" && err == nil:
				t.Errorf("it goes by the model of %s", p.Name())
			case tt.want != "" && (err != nil || p.Name() != tt.want):
				t.Errorf("got %v, %v", p, err)
			}
		})
	}
	one, other := &workspace{app: newRun().Application}, &workspace{app: newRun().Application.DeepCopy()}
	other.app.Namespace = "staging"
	if one.releaseModelPath("shop-3") == other.releaseModelPath("shop-3") {
		t.Error("releases of two namespaces have one file")
	}
}
