// SPDX-License-Identifier: Apache-2.0

package apps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewLeavesTheDeploymentDirectoryWhereItIs(t *testing.T) {
	ctx := t.Context()
	r, err := New(ctx, t.TempDir(), Hello, Options{Env: map[string]string{"HEALTH_INTERVAL": "1s"}, Label: "apps"})
	if err != nil {
		t.Fatal(err)
	}
	first, err := r.Deployed(ctx)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Publish(ctx, "Second", map[string]string{"version.txt": "2\n", ".env.example": Removed, "new/file": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if second == first || len(second) != 40 {
		t.Errorf("the second commit is %q, the first %q", second, first)
	}
	if now, _ := r.Deployed(ctx); now != first {
		t.Errorf("the deployment directory went to %s by itself", now)
	}
	if head, err := git(ctx, r.Origin, "rev-parse", "main"); err != nil || head != second {
		t.Errorf("the origin's main is %q (%v), want %s", head, err, second)
	}
	files, err := git(ctx, r.Origin, "ls-tree", "-r", "--name-only", "main")
	if want := ".gitignore\nDockerfile\napp\nbehaviour.json\ndocker-compose.yml\nnew/file\nproject.txt\nversion.txt"; err != nil || files != want {
		t.Errorf("the commit has\n%s (%v)\nwant\n%s", files, err, want)
	}
	if status, err := git(ctx, r.Dir, "status", "--porcelain"); err != nil || status != "" {
		t.Errorf("the deployment directory is not clean: %q (%v)", status, err)
	}
	env, err := os.ReadFile(filepath.Join(r.Dir, ".env"))
	if err != nil || !strings.Contains(string(env), "HEALTH_INTERVAL=1s\nHELLO_PORT=") || !strings.Contains(string(env), "TEST_LABEL=apps\n") {
		t.Errorf(".env is %q (%v)", env, err)
	}
	if info, err := os.Stat(filepath.Join(r.Dir, "app")); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("the program cannot be run: %v, %v", info, err)
	}
}

func TestNewRefusesAnUnknownApplication(t *testing.T) {
	_, err := New(t.Context(), t.TempDir(), "nonsense", Options{})
	if err == nil || !strings.Contains(err.Error(), "shop") {
		t.Errorf("the error is %v; it must name the applications there are", err)
	}
}

func TestBehaviourJSON(t *testing.T) {
	for _, c := range []struct {
		in   Behaviour
		want string
	}{
		{Behaviour{}, "{}\n"},
		{Behaviour{StartDelay: "2s", Unhealthy: true}, `{"startDelay":"2s","unhealthy":true}` + "\n"},
	} {
		if got := c.in.JSON(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.in, got, c.want)
		}
	}
}
