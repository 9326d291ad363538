// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"os/exec"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/internal/source"
)

func TestClones(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var c clones
	get := func(uid types.UID, opts source.Options) *source.Repo {
		t.Helper()
		r, err := c.get(t.Context(), uid, dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	secret := func(s string) source.Options {
		return source.Options{URL: "https://example.com/x.git", Credentials: &source.Credentials{Password: s}}
	}
	one := get("a", secret("x"))
	if get("a", secret("x")) != one {
		t.Error("the same clone was opened twice")
	}
	if get("b", secret("x")) == one {
		t.Error("two requests share a clone")
	}
	two := get("a", secret("y"))
	if two == one {
		t.Error("new credentials were not used")
	}
	c.forget("a")
	if get("a", secret("y")) == two {
		t.Error("what was forgotten was used")
	}
	for i := range 2 * maxClones {
		get(types.UID(fmt.Sprint(i)), source.Options{})
	}
	if len(c.open) > maxClones || len(c.open) != len(c.next) {
		t.Errorf("%d clones are kept, %d in order", len(c.open), len(c.next))
	}
	if _, _, err := c.atHead(t.Context(), "y", dir, source.Options{}); err == nil || c.open["y"].repo != nil {
		t.Errorf("one without a commit was kept: %v", err)
	}
	commit := exec.CommandContext(t.Context(), "git", "-C", dir, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "--allow-empty", "-m", "one")
	if out, err := commit.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	first, head, err := c.atHead(t.Context(), "y", dir, source.Options{})
	if err != nil || head.Commit == "" {
		t.Fatalf("it is at %+v: %v", head, err)
	}
	if again, later, err := c.atHead(t.Context(), "y", dir, source.Options{}); err != nil || again != first || later != head {
		t.Errorf("once more it is at %+v: %v", later, err)
	}
	if _, err := c.get(t.Context(), "z", t.TempDir(), source.Options{}); err == nil || c.open["z"].repo != nil {
		t.Errorf("a failure was kept: %v", err)
	}
}
