// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// Containers of another directory are told from those of this one, by whatever name
// it goes.
func TestElsewhere(t *testing.T) {
	base := t.TempDir()
	own, other, link, back := filepath.Join(base, "shop"), filepath.Join(base, "clone", "shop"), filepath.Join(base, "current"), filepath.Join(base, "old")
	for _, dir := range []string{own, other, filepath.Join(own, "deploy")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{link: own, back: own} {
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	from := func(dir string, files string) docker.Container {
		return docker.Container{Labels: map[string]string{docker.LabelWorkingDir: dir, docker.LabelConfigFiles: files}}
	}
	gone := filepath.Join(base, "gone")
	for _, c := range []struct {
		name      string
		dir       string
		c         docker.Container
		contained bool
		want      bool
	}{
		{"here", own, from(own, ""), false, false},
		{"here, with a slash", own + "/", from(own+"/", ""), true, false},
		{"below", own, from(filepath.Join(own, "deploy"), ""), false, false},
		{"through a link", own, from(link, ""), false, false},
		{"through another link", link, from(back, ""), false, false},
		{"here, which is a link", link, from(own, ""), false, false},
		{"another clone", own, from(other, filepath.Join(other, "compose.yaml")), false, true},
		{"the directory around", own, from(base, ""), false, true},
		{"the directory around, by a file of this one", own, from(base, filepath.Join(base, "x.yaml")+","+filepath.Join(own, "compose.yaml")), false, false},
		{"moved", own, from(gone, ""), false, false},
		{"not to be seen", own, from(gone, ""), true, true},
		{"without the label", own, docker.Container{}, true, false},
	} {
		if got := homeOf(c.dir).elsewhere(c.c, c.contained); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// What was found beside the export serves if it is of the project that the commit has, and of just now.
func TestProjectFoundBeside(t *testing.T) {
	hour := time.Now().Add(time.Hour) // it does not get old while the test runs
	for name, tt := range map[string]struct {
		project string
		at      time.Time
		want    string
	}{
		"just now":         {"shop", hour, "beside"},
		"long ago":         {"shop", time.Now().Add(-justNow - 1), "asked"},
		"never":            {"shop", time.Time{}, "asked"},
		"of another name":  {"store", hour, "asked"},
		"of no name known": {"", time.Time{}, "asked"},
	} {
		s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) {
			a.Spec.Compose.Directory, a.Status.Project = t.TempDir(), tt.project
		})
		s.Store = storeOf(t)
		s.Docker = fakeEngine(t, `[{"Id":"asked","State":"running","Labels":{"com.docker.compose.project":"shop"}}]`, `{"Id":"asked","Name":"/shop-web-1"}`)
		p := &preflightRun{run: s, project: project(t, "name: shop\nservices: {web: {image: x}}\n")}
		if !tt.at.IsZero() {
			p.beside = looked{look: look{containers: []docker.Container{{ID: "beside"}}, at: tt.at}}
		}
		found, err := p.checkProject(t.Context())
		if err != nil || len(found.containers) != 1 || found.containers[0].ID != tt.want {
			t.Errorf("%s: %+v: %v", name, found.containers, err)
		}
	}
}

// An engine that does not answer beside the export is asked again by the check that needs it.
func TestLookBeside(t *testing.T) {
	for name, tt := range map[string]struct {
		project string
		list    string
		found   bool
	}{
		"known":     {"shop", `[]`, true},
		"not known": {"", `[]`, false},
		"no answer": {"shop", `{`, false},
	} {
		s := newRun(func(a *v1alpha1.Application, _ *v1alpha1.UpdateRequest) { a.Status.Project = tt.project })
		s.Store, s.Docker = storeOf(t), fakeEngine(t, tt.list, `{}`)
		p := &preflightRun{run: s}
		p.lookBeside(t.Context())
		if got := !p.beside.at.IsZero(); got != tt.found {
			t.Errorf("%s: found %t", name, got)
		}
	}
}
