// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/release"
	"github.com/fairlead-dev/fairlead/internal/source"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// A release that was gone back to is the current one if it is what runs. Otherwise what runs is a release of its
// own, or the next update would be undone to containers that nobody has.
func TestReleaseOfAWayBack(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	repo, err := source.Open(t.Context(), dir, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		revision string // of web, in the release gone back to
		gateway  bool   // there
		own      bool   // what runs becomes another release
	}{
		"what runs":                  {"w1", true, false},
		"before the gateway":         {"w0", false, true},
		"the same but for the names": {"w1", false, true},
		"adopted":                    {release.UnknownRevision("c1"), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			rel := func(number int64, services ...v1alpha1.ReleaseService) *v1alpha1.Release {
				r := newRelease(newRun().Application, number)
				r.Spec.Services = services
				return r
			}
			first := rel(1,
				v1alpha1.ReleaseService{Name: "migrate", Revision: "m1", OneShot: true, ImageID: "sha256:m"},
				v1alpha1.ReleaseService{Name: "off", Revision: "o1"},
				v1alpha1.ReleaseService{Name: "web", Revision: tt.revision, Gateway: tt.gateway, Replicas: 1, ImageID: "sha256:w"})
			second := rel(2, v1alpha1.ReleaseService{Name: "web", Revision: "w2", Replicas: 1})
			second.Status.State = v1alpha1.ReleaseCurrent
			s := newRun(func(_ *v1alpha1.Application, ur *v1alpha1.UpdateRequest) {
				ur.UID, ur.Spec.RollbackTo = "uid", &v1alpha1.LocalReference{Name: first.Name}
				ur.Status.Commit, ur.Status.PreviousRelease = "0123456789abcdef0123456789abcdef01234567", second.Name
				ur.Status.Services = []v1alpha1.ServiceUpdate{
					{Name: "gone", Action: v1alpha1.ActionRemove},
					{Name: "web", Action: v1alpha1.ActionReplace, Revision: "w1", Gateway: true, ImageID: "sha256:w"},
				}
			})
			s.log, s.rec = updatelog.Lost("", nil), &written{}
			s.Store, s.Docker = storeOf(t, first, second), fakeEngine(t, `[]`, `{"Id":"sha256:w"}`)
			w := &workspace{dir: dir, app: s.Application, repo: repo}
			if err := os.MkdirAll(w.path("releases"), 0o700); err != nil {
				t.Fatal(err)
			}
			all := func() []v1alpha1.Release {
				t.Helper()
				releases, err := s.Store.Releases(t.Context(), s.Application)
				if err != nil {
					t.Fatal(err)
				}
				return releases
			}
			label := s.releaseName(all())
			model := project(t, "name: shop\nservices: {web: {image: x}, migrate: {image: y}, off: {image: z, scale: 0}}\n")
			kept, err := compose.Render(model)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // also by another attempt
				if err := s.recordRelease(t.Context(), w, model, kept, nil, s.listReleases(t.Context(), time.Now())); err != nil {
					t.Fatal(err)
				}
			}
			current := release.Current(all())
			if current == nil || current.Name != s.Request.Status.Release || current.Name != label || !current.Status.Verified {
				t.Fatalf("the current release is %+v, the status says %s, the containers %s", current, s.Request.Status.Release, label)
			}
			if own := current.Name == "shop-3"; own != tt.own || !own && current.Name != "shop-1" || len(all()) != 2+boolCount(own) {
				t.Fatalf("of %d releases it is %s", len(all()), current.Name)
			}
			if tt.own {
				web, _ := release.Service(current, "web")
				migrate, _ := release.Service(current, "migrate")
				off, there := release.Service(current, "off")
				if web.Revision != "w1" || !web.Gateway || migrate.Revision != "m1" || !migrate.OneShot || off.Revision != "o1" || !there || len(current.Spec.Services) != 3 {
					t.Errorf("it has %+v", current.Spec.Services)
				}
			}
		})
	}
}

func boolCount(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Somebody may label a release between its being listed and written.
func TestCurrentThoughSomebodyWrote(t *testing.T) {
	s := newRun()
	before, now := shopOne(), shopOne()
	now.Name, now.Status = "shop-2", v1alpha1.ReleaseStatus{}
	for _, r := range []*v1alpha1.Release{before, now} {
		r.Namespace, r.Spec.ApplicationRef.Name = s.Application.Namespace, s.Application.Name
	}
	before.Status.State = v1alpha1.ReleaseCurrent
	store := storeOf(t, before, now)
	listed, err := store.Releases(t.Context(), s.Application)
	if err != nil {
		t.Fatal(err)
	}
	touched := release.Find(listed, before.Name).DeepCopy()
	touched.Labels = map[string]string{"by": "hand"}
	if err := store.Client.Update(t.Context(), touched); err != nil {
		t.Fatal(err)
	}
	if err := store.SetCurrentOf(t.Context(), s.Application, listed, now.Name, true); err != nil {
		t.Fatal(err)
	}
	after, err := store.Releases(t.Context(), s.Application)
	if err != nil {
		t.Fatal(err)
	}
	if r := release.Find(after, before.Name); r.Status.State != v1alpha1.ReleasePrevious || r.Labels["by"] != "hand" {
		t.Errorf("the one before is %+v, %v", r.Status, r.Labels)
	}
	if r := release.Current(after); r == nil || r.Name != now.Name || !r.Status.Verified {
		t.Errorf("the current one is %+v", r)
	}
}
