// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

const (
	registryUser     = "puller"
	registryPassword = "correct-horse-battery"
)

// registry is a real one on loopback.
type registry struct {
	t      *testing.T
	id     string // of its container
	addr   string
	config string // directory of a Docker configuration with the credentials
}

// newRegistry starts one, with a password or open to all of this host.
func newRegistry(t *testing.T, password bool) *registry {
	t.Helper()
	port, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &registry{t: t, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), config: t.TempDir()}
	hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(users, []byte(registryUser+":"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := []string{"run", "--detach", "--label", "fairlead.dev/test=e2e", "--publish", r.addr + ":5000"}
	if password {
		r.login(registryPassword)
		run = append(run, "--volume", users+":/htpasswd:ro", "--env", "REGISTRY_AUTH=htpasswd", "--env", "REGISTRY_AUTH_HTPASSWD_REALM=test",
			"--env", "REGISTRY_AUTH_HTPASSWD_PATH=/htpasswd")
	}
	r.id = strings.TrimSpace(r.docker(append(run, "fairlead-test/registry:2")...))
	t.Cleanup(func() {
		if _, errOut, code := harness.Run(context.Background(), nil, "", "docker", "rm", "--force", "--volumes", r.id); code != 0 {
			t.Errorf("remove the registry: %s", errOut)
		}
	})
	r.waitReady(map[bool]int{true: http.StatusUnauthorized, false: http.StatusOK}[password])
	return r
}

// waitReady waits until the registry answers, and checks how it does without a
// password.
func (r *registry) waitReady(want int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+"/v2/", nil)
		if err != nil {
			r.t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode != want {
				r.t.Fatalf("the registry answers %s without a password", resp.Status)
			}
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatal("the registry does not answer")
		case <-ticker.C:
		}
	}
}

// login writes the credentials.
func (r *registry) login(password string) {
	r.t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + password))
	if err := os.WriteFile(filepath.Join(r.config, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, r.addr, auth), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *registry) docker(args ...string) string {
	r.t.Helper()
	out, errOut, code := harness.Run(r.t.Context(), []string{"DOCKER_CONFIG=" + r.config, "DOCKER_BUILDKIT=0"}, "", "docker", args...)
	if code != 0 {
		r.t.Fatalf("docker %s: exit %d: %s", args[0], code, errOut)
	}
	return out
}

// push builds the program of a site as version under a tag, pushes it and removes it
// from the host.
func (r *registry) push(s *site, tag, version string) string {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(s.repo.Work, "version.txt"), []byte(version+"\n"), 0o644); err != nil {
		r.t.Fatal(err)
	}
	ref := r.addr + "/team/web:" + tag
	r.docker("build", "--quiet", "--no-cache", "--label", "fairlead.dev/test=e2e", "--tag", ref, s.repo.Work)
	r.docker("push", "--quiet", ref)
	r.docker("image", "rm", ref)
	return ref
}

func TestPulledImages(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, true)
	d := harness.Start(t, harness.Options{Env: []string{"DOCKER_CONFIG=" + r.config}})
	t.Cleanup(func() { // Down knows the project's own names only
		removeImages(t, r.addr+"/team/web")
	})
	s := siteOf(t, d, apps.Hello)
	r.push(s, "1", "1")
	s.apply("  retention: {releases: 3}\n")
	first := s.publish("From a registry", map[string]string{
		"docker-compose.yml": strings.Replace(composeOf(s, ""), "    build: .\n", "    image: "+r.addr+"/team/web:1\n", 1),
	})
	res := s.succeeds(first)
	s.wantVersion("1")
	s.wantRelease(res, first)
	if rs := s.Releases(s.name)[0].Spec.Services[0]; !strings.HasPrefix(rs.RepoDigest, r.addr+"/team/web@sha256:") {
		t.Errorf("the release does not say what was pulled: %+v", rs)
	}
	oldest := s.Releases(s.name)[0].Spec.Services[0].ImageID

	retag := func(s *site, from, to string) string {
		data, err := os.ReadFile(filepath.Join(s.repo.Work, "docker-compose.yml"))
		if err != nil {
			s.t.Fatal(err)
		}
		return s.publish("Tag "+to, map[string]string{"docker-compose.yml": strings.Replace(string(data), "/team/web:"+from, "/team/web:"+to, 1)})
	}
	t.Run("another tag", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		r.push(s, "2", "2")
		commit := retag(s, "1", "2")
		s.succeeds(commit)
		s.wantReplaced(before, "web")
		s.wantVersion("2")
		s.wantDeployed(commit)
	})
	t.Run("the tag moved", func(t *testing.T) {
		s := s.in(t)
		before := s.containers()
		s.apply("  build: {pull: Always}\n  retention: {releases: 3}\n")
		same := s.succeeds("")
		wantCondition(t, same, v1alpha1.ConditionSucceeded, "True/Unchanged")
		s.wantUntouched(before)
		r.push(s, "2", "3")
		s.succeeds("")
		s.wantReplaced(before, "web")
		s.wantVersion("3")
		s.apply("  retention: {releases: 3}\n")
	})
	t.Run("no such tag", func(t *testing.T) {
		s := s.in(t)
		before, at := s.containers(), s.deployed()
		ended := s.ends(retag(s, "2", "99"), v1alpha1.PhaseFailed)
		wantCondition(t, ended, v1alpha1.ConditionSucceeded, "False/PullFailed")
		wantContains(t, "the message", ended.Status.Message, "/team/web:99")
		s.wantUntouched(before)
		s.wantVersion("3")
		s.wantDeployed(at)
	})
	t.Run("wrong password", func(t *testing.T) {
		s := s.in(t)
		before, at := s.containers(), s.deployed()
		r.push(s, "4", "4")
		r.login("a-wrong-password")
		commit := retag(s, "99", "4")
		ended := s.ends(commit, v1alpha1.PhaseFailed)
		wantCondition(t, ended, v1alpha1.ConditionSucceeded, "False/RegistryUnauthorized")
		wantContains(t, "the message", ended.Status.Message, r.addr, "docker login")
		for what, text := range map[string]string{"status": ended.Status.Message, "log": s.Log(ended), "daemon's log": s.DaemonLog()} {
			if strings.Contains(text, "a-wrong-password") {
				t.Errorf("the password is in the %s", what)
			}
		}
		s.wantUntouched(before)
		s.wantDeployed(at)
		r.login(registryPassword)
		s.succeeds(commit) // it is not held against the commit
		s.wantVersion("4")
		// Four releases, of which three are kept: the image of the first is gone, by
		// whatever name, and those that were pulled for the others are not.
		if out := r.docker("image", "ls", "--all", "--no-trunc", "--quiet"); strings.Contains(out, oldest) {
			t.Errorf("the image %s, which no release needs, is still there", oldest)
		}
		for _, rel := range s.Releases(s.name) {
			r.docker("image", "inspect", rel.Spec.Services[0].ImageID)
		}
	})
	t.Run("back without the registry", func(t *testing.T) {
		s := s.in(t)
		r.docker("image", "inspect", s.containers()["web"][0].Image)
		r.login("a-wrong-password")
		releases := s.Releases(s.name)
		s.succeeds("", harness.RollbackTo(releases[2].Name))
		s.wantVersion("2")
	})
}
