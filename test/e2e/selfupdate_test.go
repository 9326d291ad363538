// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// updater is a project of a web service and of the daemon that updates it.
type updater struct {
	*site
	root, data   string
	secure, http int
}

// compose is the project's file. image is that of the daemon, and own is put into
// its service.
func (u *updater) compose(image, own string) string {
	return fmt.Sprintf(`
x-labels: &labels {fairlead.dev/test: e2e}
services:
  web:
    build: .
    restart: unless-stopped
    labels: *labels
    ports: ["127.0.0.1:${HELLO_PORT}:8080"]
    healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s, timeout: 5s}
    depends_on: [updater]
  updater:
    image: %[1]s
    pull_policy: never
    container_name: %[2]s-updater
    restart: unless-stopped
    labels: *labels
    network_mode: host
    environment:
      FAIRLEAD_DATA_DIR: %[3]s
      FAIRLEAD_SECURE_PORT: "%[5]d"
      FAIRLEAD_LISTEN: 127.0.0.1:%[6]d
      FAIRLEAD_METRICS_BIND_ADDRESS: "0"
    volumes: ["/var/run/docker.sock:/var/run/docker.sock", "%[3]s:%[3]s", "%[4]s:%[4]s"]
    healthcheck: {test: ["CMD", "curl", "-fsS", "http://127.0.0.1:%[6]d/readyz"], interval: 30s, timeout: 5s}
%[7]s
networks:
  default: {labels: *labels}
`, image, u.repo.Project, u.data, u.root, u.secure, u.http, own)
}

// image is a version of the daemon's image.
func (u *updater) image(version string) string {
	u.t.Helper()
	dir := filepath.Join(u.root, "image-"+version)
	u.run("mkdir", "-p", dir)
	recipe := "FROM " + updaterImage(u.t) + "\nENV VERSION=" + version + "\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(recipe), 0o644); err != nil {
		u.t.Fatal(err)
	}
	name := u.repo.Project + "-fairlead:" + version
	u.run("docker", "build", "--tag", name, dir)
	return name
}

func (u *updater) run(name string, args ...string) {
	u.t.Helper()
	if out, errOut, code := harness.Run(u.t.Context(), []string{"DOCKER_BUILDKIT=0"}, "", name, args...); code != 0 {
		u.t.Fatalf("%s %v: exit %d:\n%s%s", name, args, code, out, errOut)
	}
}

// startUpdater brings the project up by hand, as its operators do, and tells the
// daemon of itself.
func startUpdater(t *testing.T) *updater {
	t.Helper()
	repo := apps.ForTest(t, apps.Hello, apps.Options{Label: "e2e"})
	u := &updater{site: &site{t: t, repo: repo, name: repo.Project}, root: filepath.Dir(repo.Dir)}
	u.data = filepath.Join(u.root, "fairlead-data")
	var err error
	for _, port := range []*int{&u.secure, &u.http} {
		if *port, err = apps.FreePort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, errOut, _ := harness.Run(context.Background(), nil, "", "docker", "logs", "--tail", "40", repo.Project+"-updater")
			t.Logf("the daemon's last lines:\n%s%s", out, errOut)
		}
		for _, c := range u.helpers() {
			_, _, _ = harness.Run(context.Background(), nil, "", "docker", "rm", "-f", c.ID)
		}
	})
	if err := os.Mkdir(u.data, 0o700); err != nil {
		t.Fatal(err)
	}
	u.publish("The daemon as a service", map[string]string{"docker-compose.yml": u.compose(u.image("v1"), "")})
	u.run("git", "-C", repo.Dir, "pull", "--quiet", "--ff-only")
	if err := repo.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.waitReady()
	u.Daemon = harness.Connect(t, filepath.Join(u.data, "kubeconfig"))
	u.apply("  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s, services: [{name: updater, healthTimeout: 20s}]}\n")
	return u
}

func (u *updater) waitReady() {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), harness.Patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/readyz", u.http), nil)
		if err != nil {
			u.t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			u.t.Fatal("the daemon is not ready")
		case <-ticker.C:
		}
	}
}

// helpers are the helper containers of the application that are left.
func (u *updater) helpers() []container.Summary {
	engine := harness.Engine(u.t)
	list, err := engine.ContainerList(context.Background(), container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", "fairlead.dev/temporary=self-swap"), filters.Arg("label", v1alpha1.LabelApplication+"=default."+u.name))})
	if err != nil {
		u.t.Error(err)
	}
	return list
}

// runs is the one container that the daemon runs in.
func (u *updater) runs() harness.Container {
	u.t.Helper()
	all := u.containers()["updater"]
	running := slices.DeleteFunc(slices.Clone(all), func(c harness.Container) bool { return !c.Running })
	if len(running) != 1 || len(all) != 1 || running[0].Name != u.repo.Project+"-updater" {
		u.t.Fatalf("the containers of the daemon: %v", identities(all))
	}
	if h := u.helpers(); len(h) > 0 {
		u.t.Errorf("%d helper containers are left", len(h))
	}
	return running[0]
}

// pair updates to first and, while that goes on, queues an update to second.
func (u *updater) pair(name, first, second string, phase v1alpha1.Phase) (a, b *v1alpha1.UpdateRequest) {
	u.t.Helper()
	a = u.Update(u.name, first, harness.Named(name+"-1"))
	u.WaitStep(a.Name, v1alpha1.StepPreflight)
	b = u.Update(u.name, second, harness.Named(name+"-2"))
	u.WaitRequest(b.Name, "its place in the queue", func(r *v1alpha1.UpdateRequest) bool { return strings.Contains(r.Status.Message, a.Name) })
	return u.WantEnd(a.Name, phase), u.WantEnd(b.Name, v1alpha1.PhaseSucceeded)
}

// TestSelfUpdate updates the project that the daemon itself is a service of: to a good
// version of it, to one that never works, and to one that works, with something that
// does not beside it. A request waits in the queue each time. That one exits at once is
// seen where it is SsalgTen's updater: see isPutBack.
func TestSelfUpdate(t *testing.T) {
	t.Parallel()
	u := startUpdater(t)
	state := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: u.Namespace, Name: "state"}, Data: map[string]string{"kept": "yes"}}
	if err := u.Client.Create(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	v2 := u.image("v2")
	for _, part := range []struct {
		name string
		of   func(*updater, string)
	}{{"a good version", (*updater).good}, {"one that never works", (*updater).broken}, {"undone", (*updater).undone}} {
		if !t.Run(part.name, func(t *testing.T) {
			part.of(&updater{site: u.in(t), root: u.root, data: u.data, secure: u.secure, http: u.http}, v2)
		}) {
			return // what comes after it says nothing
		}
	}
	if err := u.Client.Get(t.Context(), client.ObjectKeyFromObject(state), state); err != nil || state.Data["kept"] != "yes" {
		t.Errorf("the state was not kept: %v, %v", state.Data, err)
	}
	if r := u.Request("good-1"); r.Status.Phase != v1alpha1.PhaseSucceeded {
		t.Errorf("the first request is %s", r.Status.Phase)
	}
}

func (u *updater) good(v2 string) {
	v1, webBefore := u.runs(), u.containers()
	good := u.publish("A new version of the daemon", map[string]string{"docker-compose.yml": u.compose(v2, "")})
	next := u.publish("A new version of web", map[string]string{"version.txt": "2\n"})
	a, b := u.pair("good", good, next, v1alpha1.PhaseSucceeded)
	is := u.runs()
	if is.ID == v1.ID || is.Image == v1.Image {
		u.t.Errorf("the daemon was not replaced: %v", identities([]harness.Container{v1, is}))
	}
	if is.RestartCount != 0 {
		u.t.Errorf("it was restarted %d times", is.RestartCount)
	}
	if s := harness.Step(a, v1alpha1.StepRollout); s.Attempt != 2 {
		u.t.Errorf("the rollout took %d attempts: it was not the new daemon that ended it", s.Attempt)
	}
	wantContains(u.t, "the log", u.Log(a), "handing over to", "the daemon was replaced")
	if action(a, "web") != v1alpha1.ActionKeep || action(b, "updater") != v1alpha1.ActionKeep {
		u.t.Errorf("web was %s by the first, updater %s by the second", action(a, "web"), action(b, "updater"))
	}
	u.wantReplaced(webBefore, "web")
	u.wantVersion("2")
}

// broken is one that runs and cannot reach the engine.
func (u *updater) broken(v2 string) {
	before := u.runs()
	bad := u.publish("A broken daemon", map[string]string{
		"docker-compose.yml": u.compose(v2, "    command: [serve, --docker-host, unix:///nowhere.sock]"), "version.txt": "bad\n",
	})
	fixed := u.publish("A good one", map[string]string{"docker-compose.yml": u.compose(v2, ""), "version.txt": "3\n"})
	a, _ := u.pair("broken", bad, fixed, v1alpha1.PhaseRolledBack)
	if after := u.runs(); after.ID != before.ID {
		u.t.Errorf("the daemon runs in %s, not in %s again", after.Name, before.Name)
	}
	wantCondition(u.t, a, v1alpha1.ConditionSucceeded, "False/"+v1alpha1.ReasonHealthCheckFailed)
	wantContains(u.t, "the message", a.Status.Message, "of the service updater did not become healthy", "runs release", "did not report that it works")
	for _, s := range a.Status.Services {
		if s.Name == "updater" && len(s.Log) == 0 {
			u.t.Error("the status has no lines of the broken daemon")
		}
	}
	u.wantVersion("3")
}

// undone: the new daemon works, and what is verified after it does not. The new daemon
// then hands over to the old one again.
func (u *updater) undone(string) {
	before, at, webBefore := u.runs(), u.deployed(), u.containers()
	v3 := u.image("v3")
	u.apply("  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s}\n" +
		"  verify: {attempts: 2, interval: 200ms, checks: [{name: never, tcp: {address: \"127.0.0.1:1\"}}]}\n")
	bad := u.publish("A new version of both", map[string]string{"docker-compose.yml": u.compose(v3, ""), "version.txt": "4\n"})
	a, _ := u.pair("undone", bad, at, v1alpha1.PhaseRolledBack)
	is := u.runs()
	if is.Image != before.Image {
		u.t.Errorf("the daemon runs %s, want %s again", is.Image, before.Image)
	}
	// Nor did the second request, which has nothing to do, replace it.
	if is.ID != before.ID {
		u.t.Errorf("the daemon is in the new container %s, though the old one was kept", is.Name)
	}
	wantCondition(u.t, a, v1alpha1.ConditionSucceeded, "False/"+v1alpha1.ReasonVerifyFailed)
	if n := strings.Count(u.Log(a), "handing over to"); n != 2 {
		u.t.Errorf("the log tells of %d handovers, want one there and one back:\n%s", n, u.Log(a))
	}
	u.wantVersion("3")
	if got := identities(u.containers()["web"]); len(got) != 1 || !strings.Contains(got[0], webBefore["web"][0].ID[:12]) {
		u.t.Errorf("web is %v, want %s again", got, webBefore["web"][0].Name)
	}
	u.wantDeployed(at)
}
