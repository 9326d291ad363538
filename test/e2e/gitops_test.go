// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// gitServer serves the repositories beside origin over HTTP, and counts how often
// it was asked what there is.
type gitServer struct {
	url string

	mu      sync.Mutex
	looks   int
	changed chan struct{}
}

func serveGit(t *testing.T, origin string) *gitServer {
	t.Helper()
	execPath, errOut, code := harness.Run(t.Context(), nil, "", "git", "--exec-path")
	if code != 0 {
		t.Fatal(errOut)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(execPath), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(origin), "GIT_HTTP_EXPORT_ALL=1", "HOME=" + t.TempDir()},
	}
	g := &gitServer{changed: make(chan struct{})}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		backend.ServeHTTP(w, r)
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.looks++
			close(g.changed)
			g.changed = make(chan struct{})
		}
	}))
	t.Cleanup(s.Close)
	g.url = s.URL + "/" + filepath.Base(origin)
	return g
}

// wait returns when the server was looked at n times more.
func (g *gitServer) wait(t *testing.T, n int) {
	t.Helper()
	deadline := time.NewTimer(harness.Patience)
	defer deadline.Stop()
	g.mu.Lock()
	want := g.looks + n
	for g.looks < want {
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("the source was not looked at %d times more", n)
		}
		g.mu.Lock()
	}
	g.mu.Unlock()
}

// check has the source looked at, as `fairlead check` does.
func (s *site) check() {
	s.t.Helper()
	s.Patch(&v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: s.name}},
		fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationCheck, time.Now().Format(time.RFC3339Nano)))
}

// requests of the application for a commit; "" means all.
func (s *site) requests(commit string) []v1alpha1.UpdateRequest {
	s.t.Helper()
	var list v1alpha1.UpdateRequestList
	if err := s.Client.List(s.t.Context(), &list, client.InNamespace(s.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	var out []v1alpha1.UpdateRequest
	for _, r := range list.Items {
		if r.Spec.ApplicationRef.Name == s.name && (commit == "" || r.Spec.Commit == commit) {
			out = append(out, r)
		}
	}
	return out
}

// waitUpdate waits until status.update is as asked.
func (s *site) waitUpdate(what string, ok func(v1alpha1.UpdateStatus) bool) *v1alpha1.Application {
	s.t.Helper()
	return s.WaitApp(s.name, what, func(app *v1alpha1.Application) bool { return app.Status.Update != nil && ok(*app.Status.Update) })
}

// waitEnded waits until the last request is for commit and ended in phase.
func (s *site) waitEnded(commit string, phase v1alpha1.Phase) *v1alpha1.UpdateRequest {
	s.t.Helper()
	s.WaitApp(s.name, "the end of the update to "+commit, func(app *v1alpha1.Application) bool {
		last := app.Status.LastRequest
		return last != nil && last.Commit == commit && app.Status.ActiveRequest == ""
	})
	made := s.requests(commit)
	if len(made) != 1 {
		s.t.Fatalf("there are %d requests for %s, want 1", len(made), commit)
	}
	if made[0].Status.Phase != phase {
		s.t.Fatalf("the request %s ended as %s, want %s: %s", made[0].Name, made[0].Status.Phase, phase, made[0].Status.Message)
	}
	return &made[0]
}

// An application follows a branch: a push is enough.
func TestFollowsABranch(t *testing.T) {
	t.Parallel()
	s := newSite(t, apps.Hello)
	server := serveGit(t, s.repo.Origin)
	s.apply("  source: {url: " + server.url + "}\n  update: {policy: Automatic, interval: 10s}\n")
	first := s.deployed()

	// The first update is for a person to ask for.
	second := s.publish("Second version", version("2", "."))
	s.waitUpdate("the word that the first update is not made by itself", func(u v1alpha1.UpdateStatus) bool {
		return strings.Contains(u.Message, "ask for the first update yourself")
	})
	if made := s.requests(""); len(made) != 0 {
		t.Fatalf("nothing ever ran, and yet there is the request %s", made[0].Name)
	}
	s.succeeds(first)
	s.waitEnded(second, v1alpha1.PhaseSucceeded)

	third := s.publish("Third version", version("3", "."))
	r := s.waitEnded(third, v1alpha1.PhaseSucceeded)
	s.wantVersion("3")
	s.wantDeployed(third)
	if r.Annotations[v1alpha1.AnnotationTrigger] != v1alpha1.TriggerUpdatePolicy || r.Annotations[v1alpha1.AnnotationRequestedBy] == "" {
		t.Errorf("the request does not say who made it: %v", r.Annotations)
	}
	if r.Spec.Commit != third || len(r.Status.Changes) != 1 {
		t.Errorf("the request is for %q with the changes %+v", r.Spec.Commit, r.Status.Changes)
	}

	// A commit that fails is not tried again, however often it is looked at.
	bad := s.publish("Bad version", behave(version("4", "."), ".", apps.Behaviour{Unhealthy: true}))
	s.waitEnded(bad, v1alpha1.PhaseRolledBack)
	s.waitUpdate("the failed commit left alone", func(u v1alpha1.UpdateStatus) bool {
		return u.Commit == bad && strings.Contains(u.Message, "failed in the request")
	})
	server.wait(t, 1)
	for range 2 {
		s.check()
		server.wait(t, 1)
	}
	if made := s.requests(bad); len(made) != 1 {
		t.Errorf("the failed commit was asked for %d times", len(made))
	}
	s.wantVersion("3")

	// A newer one is.
	good := s.publish("Mended", behave(version("5", "."), ".", apps.Behaviour{}))
	s.check()
	s.waitEnded(good, v1alpha1.PhaseSucceeded)
	s.wantVersion("5")

	// A person who goes back is not overruled.
	release := s.Releases(s.name)[1].Name
	s.ends("", v1alpha1.PhaseSucceeded, harness.RollbackTo(release))
	s.waitUpdate("the person's will", func(u v1alpha1.UpdateStatus) bool {
		return u.Commit == good && u.Available && strings.Contains(u.Message, "is not asked for again by itself")
	})
	s.check()
	server.wait(t, 1)
	s.wantVersion("3")
	if made := s.requests(good); len(made) != 1 {
		t.Errorf("what a person went away from was asked for again")
	}
}

// An application follows tags, and waits for its window.
func TestFollowsTags(t *testing.T) {
	t.Parallel()
	s := newSite(t, apps.Hello)
	tag := func(name string) {
		t.Helper()
		for _, args := range [][]string{{"tag", name}, {"push", "-q", "origin", name}} {
			if _, errOut, code := harness.Run(t.Context(), nil, "", "git", append([]string{"-C", s.repo.Work}, args...)...); code != 0 {
				t.Fatal(errOut)
			}
		}
	}
	tag("v1.0.0")
	s.apply("  update: {policy: Automatic, interval: 1h, semver: 1.x}\n")
	s.succeeds("v1.0.0")
	wanted := s.publish("Second version", version("2", "."))
	tag("v1.10.0")
	s.publish("Third version", version("3", "."))
	for _, name := range []string{"v1.9.0", "v1.11.0-rc.1", "v2.0.0", "nightly"} {
		tag(name)
	}
	s.check()
	s.waitEnded(wanted, v1alpha1.PhaseSucceeded)
	s.wantVersion("2")
	if u := s.App(s.name).Status.Update; u.Ref != "refs/tags/v1.10.0" {
		t.Errorf("%s is followed", u.Ref)
	}

	// A window that is closed now, for half a day or more.
	later := time.Now().UTC().Add(12 * time.Hour)
	s.apply(fmt.Sprintf("  update: {policy: Automatic, interval: 1h, tagPattern: 'rel-*', windows: [{start: %q, end: %q}]}\n",
		later.Format("15:04"), later.Add(time.Hour).Format("15:04")))
	s.publish("Fourth version", version("4", "."))
	tag("rel-z")
	fifth := s.publish("Fifth version", version("5", "."))
	// Made a second later than the other at least, as Git counts.
	if _, errOut, code := harness.Run(t.Context(), []string{"GIT_COMMITTER_DATE=" + time.Now().Add(time.Minute).Format(time.RFC3339),
		"GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.com"}, "", "git", "-C", s.repo.Work, "tag", "-m", "release", "rel-a"); code != 0 {
		t.Fatal(errOut)
	}
	if _, errOut, code := harness.Run(t.Context(), nil, "", "git", "-C", s.repo.Work, "push", "-q", "origin", "rel-a"); code != 0 {
		t.Fatal(errOut)
	}
	out, errOut, code := s.Fairlead("check", s.name, "-n", s.Namespace)
	wantContains(t, "fairlead check", out+errOut, "refs/tags/rel-a, 3 commits ahead (automatic)", "Fifth version")
	if code != 0 {
		t.Errorf("fairlead check ends with %d", code)
	}
	s.waitUpdate("the window", func(u v1alpha1.UpdateStatus) bool {
		return u.Commit == fifth && u.Ref == "refs/tags/rel-a" && u.Behind == 3 && len(u.Changes) == 3 &&
			strings.Contains(u.Message, "opens at "+later.Format("2006-01-02T15:04"))
	})
	if made := s.requests(fifth); len(made) != 0 {
		t.Errorf("the window is closed, and yet there is the request %s", made[0].Name)
	}
	out, errOut, code = s.Fairlead("status", s.name, "-n", s.Namespace)
	wantContains(t, "fairlead status", out+errOut, "3 commits", "Fifth version", "opens at")
	if code != 0 {
		t.Errorf("fairlead status ends with %d", code)
	}
	// What a person asks for is not bound to it.
	s.succeeds(fifth)
}

// What is done to containers by hand is shown, and gone after the next update.
func TestDrift(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Trio, "")
	engine := harness.Engine(t)
	drifted := func(what string, want ...string) {
		t.Helper()
		began := time.Now()
		s.WaitApp(s.name, "drift: "+what, func(app *v1alpha1.Application) bool {
			var got []string
			for _, d := range app.Status.Drift {
				got = append(got, d.Service+" "+string(d.Kind))
			}
			return strings.Join(got, ", ") == strings.Join(want, ", ") &&
				meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionDrifted) == (len(want) > 0) &&
				meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionDrifted).Status != metav1.ConditionUnknown
		})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s was shown after %s", what, took)
		}
	}
	id := func(service string) string { return s.containers()[service][0].ID }
	drifted("none")

	zero := 0
	if err := engine.ContainerStop(t.Context(), id("alpha"), container.StopOptions{Timeout: &zero}); err != nil {
		t.Fatal(err)
	}
	drifted("stopped", "alpha Stopped")
	if err := engine.ContainerRemove(t.Context(), id("beta"), container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	drifted("removed", "alpha Stopped", "beta Missing")
	if err := engine.ContainerStart(t.Context(), id("alpha"), container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	drifted("started again", "beta Missing")
	// Somebody changes a file, and runs docker compose.
	if _, err := s.repo.Compose(t.Context(), "up", "-d", "--no-deps", "--force-recreate", "gamma"); err != nil {
		t.Fatal(err)
	}
	drifted("replaced", "beta Missing", "gamma Changed")
	out, errOut, _ := s.Fairlead("status", s.name, "-n", s.Namespace)
	wantContains(t, "fairlead status", out+errOut, "beta", "Missing", "gamma", "Changed")

	s.succeeds("", harness.Force)
	drifted("none after the update")
}
