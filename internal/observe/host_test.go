// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnfit(t *testing.T) {
	top := t.TempDir()
	with := func(names ...string) string {
		t.Helper()
		dir := t.TempDir()
		for _, name := range names {
			var err error
			if strings.HasSuffix(name, "/") {
				err = os.MkdirAll(filepath.Join(dir, name), 0o755)
			} else {
				err = os.WriteFile(filepath.Join(dir, name), nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	monorepo := with(".git/", "apps/")
	if err := os.WriteFile(filepath.Join(monorepo, "apps", "compose.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ dir, want string }{
		"fit":              {with(".git/", "docker-compose.yml"), ""},
		"a worktree":       {with(".git", "compose.yml"), ""},
		"a part of one":    {filepath.Join(monorepo, "apps"), ""},
		"no clone":         {with("compose.yaml"), "no Git clone"},
		"no Compose file":  {with(".git/"), "no Compose file"},
		"a directory":      {with(".git/", "compose.yaml/"), "no Compose file"},
		"nothing":          {filepath.Join(top, "none"), "no such directory"},
		"a file":           {filepath.Join(with("x"), "x"), "no directory"},
		"unknown":          {"", "not known"},
		"a relative one":   {"opt", "not known"},
		"with a long path": {"/" + strings.Repeat("x", 5000), "may not look"},
	} {
		if got := Unfit(c.dir); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}
