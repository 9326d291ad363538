// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"os"
	"path/filepath"
	"testing"

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
