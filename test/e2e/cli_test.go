// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// fairlead runs a client command, which must end with code.
func (s *site) fairlead(code int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	out, errOut, got := s.Fairlead(args...)
	if got != code {
		s.t.Fatalf("fairlead %v: exit %d, want %d\n%s\n%s", args, got, code, out, errOut)
	}
	return out, errOut
}

// decode reads the output of -o json.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return v
}

func TestCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t, apps.Hello)
	s.apply("")

	out, _ := s.fairlead(cli.ExitOK, "update", s.name)
	wantContains(t, "update", out, "Preflight", "Rollout", "updated to", "release", "backup", "log")
	s.wantVersion("1")
	first := s.deployed()

	second := s.publish("Second version", map[string]string{"version.txt": "2\n"})
	out, _ = s.fairlead(cli.ExitOK, "update", s.name, second[:8], "-o", "json")
	good := decode[v1alpha1.UpdateRequest](t, out)
	if good.Status.Phase != v1alpha1.PhaseSucceeded || good.Status.Commit != second || good.Kind != "UpdateRequest" {
		t.Errorf("the request is %s %+v", good.Kind, good.Status)
	}
	s.wantVersion("2")

	bad := s.publish("Never healthy", map[string]string{"version.txt": "3\n", "behaviour.json": apps.Behaviour{Unhealthy: true}.JSON()})
	out, errOut := s.fairlead(cli.ExitRolledBack, "update", s.name, bad)
	wantContains(t, "update of a bad commit", out+errOut, "did not become healthy", "GET /healthz: 503")
	s.wantVersion("2")
	out, errOut = s.fairlead(cli.ExitFailed, "update", s.name, bad)
	wantContains(t, "update of a commit that failed", out+errOut, "--retry")
	s.fairlead(cli.ExitFailed, "update", s.name, "no-such-branch")
	s.fairlead(cli.ExitFailed, "update", s.name+"-not")
	s.fairlead(cli.ExitUsage, "update")
	s.wantVersion("2")

	s.WaitApp(s.name, "the last request", func(a *v1alpha1.Application) bool {
		return a.Status.ActiveRequest == "" && a.Status.Release == good.Status.Release && a.Status.Healthy == "1/1"
	})
	out, _ = s.fairlead(cli.ExitOK, "status", s.name)
	wantContains(t, "status", out, s.name, second[:7], good.Status.Release, "web")
	out, _ = s.fairlead(cli.ExitOK, "apps")
	wantContains(t, "apps", out, s.name, "1/1")
	out, _ = s.fairlead(cli.ExitOK, "apps", "-o", "json")
	if list := decode[v1alpha1.ApplicationList](t, out); len(list.Items) == 0 {
		t.Error("apps -o json is empty")
	}
	out, _ = s.fairlead(cli.ExitOK, "releases", s.name, "-o", "json")
	releases := decode[v1alpha1.ReleaseList](t, out)
	commits := map[string]string{}
	for _, r := range releases.Items {
		commits[r.Spec.Commit] = r.Status.State
	}
	if want := map[string]string{first: v1alpha1.ReleasePrevious, second: v1alpha1.ReleaseCurrent}; !maps.Equal(commits, want) {
		t.Errorf("the releases are %v, want %v", commits, want)
	}
	out, _ = s.fairlead(cli.ExitOK, "releases", s.name)
	wantContains(t, "releases", out, releases.Items[0].Name, releases.Items[1].Name, first[:7], second[:7])
	out, _ = s.fairlead(cli.ExitOK, "backups", s.name)
	wantContains(t, "backups", out, s.backup(good.Status.Backup).Name, "Checksums")
	out, _ = s.fairlead(cli.ExitOK, "logs", good.Name)
	if want := s.Log(&good); out != want {
		t.Errorf("logs prints\n%s\nthe file is\n%s", out, want)
	}
	out, _ = s.fairlead(cli.ExitOK, "logs", "--follow", good.Name) // ends by itself
	wantContains(t, "logs --follow", out, "Result:", "Succeeded")
	out, _ = s.fairlead(cli.ExitOK, "update", s.name, "--dry-run", second)
	wantContains(t, "update --dry-run", out, "keep web")
	s.wantVersion("2")
}
