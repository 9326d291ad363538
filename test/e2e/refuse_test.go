// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// What cannot work is refused before anything is touched, with a message that says
// what is wrong and what to do.
func TestRefusedUpdates(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "")
	for _, c := range []struct {
		name    string
		prepare func(s *site) (commit string, restore func())
		reason  string
		wants   []string
	}{
		{"no such commit", func(s *site) (string, func()) { return "0123456789abcdef0123456789abcdef01234567", nil },
			"", []string{"Commit", "0123456789ab"}},
		{"no such branch", func(s *site) (string, func()) { return "no-such-branch", nil },
			"", []string{"Commit", "no-such-branch"}},
		{"commit of somebody's pull request", func(s *site) (string, func()) {
			// The server gives it away by its SHA, as GitHub does; nobody with the right
			// to push has put it on a branch.
			before := s.git("rev-parse", "HEAD")
			commit, err := s.repo.Commit(s.t.Context(), "From a fork", map[string]string{"version.txt": "evil\n"})
			if err != nil {
				s.t.Fatal(err)
			}
			s.git("push", "--quiet", "origin", commit+":refs/pull/1/head")
			s.git("--git-dir="+s.repo.Origin, "config", "uploadpack.allowAnySHA1InWant", "true")
			s.git("reset", "--quiet", "--hard", before)
			return commit, nil
		}, v1alpha1.ReasonCommitNotInSource, []string{"Commit", "no branch and no tag", "source.commits: Any"}},
		{"Compose file that is no YAML", func(s *site) (string, func()) {
			return s.publish("Bad YAML", map[string]string{"docker-compose.yml": "services:\n  web: [\n"}), nil
		}, "", []string{"Compose", "docker-compose.yml"}},
		{"Compose file with an unknown key", func(s *site) (string, func()) {
			return s.publish("Bad key", map[string]string{"docker-compose.yml": "services:\n  web: {imagee: x}\n"}), nil
		}, "", []string{"Compose", "imagee"}},
		{"required variable without a value", func(s *site) (string, func()) {
			return s.publish("New variable", map[string]string{
				"docker-compose.yml": composeOf(s, "    environment:\n      TOKEN: ${API_TOKEN:?set API_TOKEN in .env}\n"),
			}), nil
		}, "", []string{"Compose", "API_TOKEN", ".env"}},
		{"edits in the deployment directory", func(s *site) (string, func()) {
			commit := s.publish("Overwrites an edit", map[string]string{"docker-compose.yml": composeOf(s, ""), "version.txt": "2\n"})
			path := filepath.Join(s.repo.Dir, "version.txt")
			if err := os.WriteFile(path, []byte("edited\n"), 0o644); err != nil {
				s.t.Fatal(err)
			}
			return commit, func() {
				if data, err := os.ReadFile(path); err != nil || string(data) != "edited\n" {
					s.t.Errorf("the edit became %q (%v)", data, err)
				}
				if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
					s.t.Fatal(err)
				}
			}
		}, "", []string{"LocalEdits", "version.txt", "git checkout"}},
		{"file that the commit brings is there already", func(s *site) (string, func()) {
			commit := s.publish("Brings a file", map[string]string{"notes.txt": "from the commit\n"})
			path := filepath.Join(s.repo.Dir, "notes.txt")
			if err := os.WriteFile(path, []byte("mine\n"), 0o644); err != nil {
				s.t.Fatal(err)
			}
			return commit, func() {
				if data, err := os.ReadFile(path); err != nil || string(data) != "mine\n" {
					s.t.Errorf("the file became %q (%v)", data, err)
				}
				if err := os.Remove(path); err != nil {
					s.t.Fatal(err)
				}
			}
		}, "", []string{"LocalEdits", "notes.txt"}},
		{"another project name", func(s *site) (string, func()) {
			env := filepath.Join(s.repo.Dir, ".env")
			data, err := os.ReadFile(env)
			if err != nil {
				s.t.Fatal(err)
			}
			other := append(slices.Clone(data), "\nCOMPOSE_PROJECT_NAME="+s.repo.Project+"-other\n"...)
			if err := os.WriteFile(env, other, 0o600); err != nil {
				s.t.Fatal(err)
			}
			return s.publish("For another name", map[string]string{"version.txt": "7\n"}), func() {
				if made := harness.Containers(s.t, s.repo.Project+"-other"); len(made) > 0 {
					s.t.Errorf("containers under the other name: %v", made)
				}
				if err := os.WriteFile(env, data, 0o600); err != nil {
					s.t.Fatal(err)
				}
			}
		}, "", []string{"Compose", "-other", "compose.project", "COMPOSE_PROJECT_NAME"}},
		{"containers of another directory", func(s *site) (string, func()) {
			out, errOut, code := harness.Run(s.t.Context(), nil, "", "docker", "create", "--label", "fairlead.dev/test=e2e",
				"--label", "com.docker.compose.project="+s.repo.Project, "--label", "com.docker.compose.service=web",
				"--label", "com.docker.compose.project.working_dir="+s.repo.Work, s.containers()["web"][0].Image)
			if code != 0 {
				s.t.Fatal(errOut)
			}
			return s.publish("Under the same name", map[string]string{"version.txt": "8\n"}), func() {
				if _, errOut, code := harness.Run(s.t.Context(), nil, "", "docker", "rm", strings.TrimSpace(out)); code != 0 {
					s.t.Errorf("the container of the other directory is gone: %s", errOut)
				}
			}
		}, "", []string{"Compose", s.repo.Work, "compose.project"}},
		{"several things at once", func(s *site) (string, func()) {
			s.apply("  preflight: {minFreeDisk: 900Pi, minFreeMemory: 800Pi}\n")
			return "no-such-tag", func() { s.apply("") }
		}, "", []string{"Disk", "900 PiB", "preflight.minFreeDisk", "Memory", "800 PiB", "preflight.minFreeMemory", "Commit", "no-such-tag"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			before, at, backups := s.containers(), s.deployed(), len(s.backups())
			commit, restore := c.prepare(s)
			r := s.ends(commit, v1alpha1.PhaseFailed)
			if restore != nil {
				restore()
			}
			if got, want := condition(r, v1alpha1.ConditionSucceeded), "False/"+orElse(c.reason, v1alpha1.ReasonPreflightFailed); got != want {
				t.Errorf("it was refused as %q, want %s", got, want)
			}
			wantContains(t, "the message", r.Status.Message, c.wants...)
			failed := 0
			for _, check := range r.Status.Checks {
				if check.Result == "Failed" {
					failed++
				}
			}
			if failed == 0 || len(r.Status.Checks) < 8 {
				t.Errorf("not all checks are told: %+v", r.Status.Checks)
			}
			wantContains(t, "the log", s.Log(r), "Failed", "Result:      Failed")
			s.wantUntouched(before)
			s.wantVersion("1")
			s.wantDeployed(at)
			if now := len(s.backups()); now != backups {
				t.Errorf("%d backups became %d", backups, now)
			}
			if step := harness.Step(r, v1alpha1.StepBackup); step.State != "" {
				t.Errorf("the backup is %+v after a failed preflight", step)
			}
		})
	}
	t.Run("mended", func(t *testing.T) {
		s := s.in(t)
		// An edit of a file that the commit leaves alone is nobody's business.
		if err := os.WriteFile(filepath.Join(s.repo.Dir, "Dockerfile.local"), []byte("# mine\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		commit := s.publish("Good", map[string]string{"version.txt": "3\n"})
		s.succeeds(commit)
		s.wantVersion("3")
		s.wantDeployed(commit)
		if _, err := os.Stat(filepath.Join(s.repo.Dir, "Dockerfile.local")); err != nil {
			t.Error(err)
		}
	})
}

// git runs git in the developer's clone and returns its output.
func (s *site) git(args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "git", args...)
	cmd.Dir = s.repo.Work
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %s: %v: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out))
}

// composeOf is the Compose file of hello with more at the service web.
func composeOf(s *site, more string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.repo.Dir, "docker-compose.yml"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Replace(string(data), "    build: .\n", "    build: .\n"+more, 1)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
