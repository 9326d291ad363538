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
	"github.com/fairlead-dev/fairlead/internal/testenv"
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

// image makes an image of the daemon and returns its name; more are instructions.
func (u *updater) image(tag string, more ...string) string {
	u.t.Helper()
	name := u.repo.Project + "-fairlead:" + tag
	dir := filepath.Join(u.root, "image")
	program := filepath.Join(dir, "fairlead")
	if _, err := os.Stat(program); err != nil {
		binary, err := testenv.Binary(u.t.Context())
		if err != nil {
			u.t.Fatal(err)
		}
		u.run("mkdir", "-p", dir)
		u.run("cp", binary, program)
	}
	recipe := "FROM fairlead-test/fairlead:bookworm\nCOPY fairlead /usr/local/bin/fairlead\nENTRYPOINT [\"fairlead\"]\nCMD [\"serve\"]\n" + strings.Join(more, "\n")
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(recipe), 0o644); err != nil {
		u.t.Fatal(err)
	}
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
	root, err := filepath.Abs("../images/build.sh")
	if err != nil {
		t.Fatal(err)
	}
	u.run(root, "fairlead")
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

// TestSelfUpdate updates the project that the daemon itself is a service of: to a
// good version of it, to one that exits, and to one that never works. A request
// waits in the queue each time.
func TestSelfUpdate(t *testing.T) {
	t.Parallel()
	u := startUpdater(t)
	state := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: u.Namespace, Name: "state"}, Data: map[string]string{"kept": "yes"}}
	if err := u.Client.Create(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	v1, v2 := u.runs(), u.image("v2", "ENV VERSION=2")
	webBefore := u.containers()

	good := u.publish("A new version of the daemon", map[string]string{"docker-compose.yml": u.compose(v2, "")})
	next := u.publish("A new version of web", map[string]string{"version.txt": "2\n"})
	a, b := u.pair("good", good, next, v1alpha1.PhaseSucceeded)
	is := u.runs()
	if is.ID == v1.ID || is.Image == v1.Image {
		t.Errorf("the daemon was not replaced: %v", identities([]harness.Container{v1, is}))
	}
	if is.RestartCount != 0 {
		t.Errorf("it was restarted %d times", is.RestartCount)
	}
	if s := harness.Step(a, v1alpha1.StepRollout); s.Attempt != 2 {
		t.Errorf("the rollout took %d attempts: it was not the new daemon that ended it", s.Attempt)
	}
	wantContains(t, "the log", u.Log(a), "handing over to", "the daemon was replaced")
	if action(a, "web") != v1alpha1.ActionKeep || action(b, "updater") != v1alpha1.ActionKeep {
		t.Errorf("web was %s by the first, updater %s by the second", action(a, "web"), action(b, "updater"))
	}
	u.wantReplaced(webBefore, "web")
	u.wantVersion("2")

	// One that exits at once, and one that runs and never works: with an engine
	// that it cannot reach.
	for i, broken := range []string{
		"    command: [serve, --no-such-flag]",
		"    command: [serve, --docker-host, unix:///nowhere.sock]",
	} {
		before := u.runs()
		bad := u.publish("A broken daemon", map[string]string{"docker-compose.yml": u.compose(v2, broken), "version.txt": fmt.Sprintf("bad %d\n", i)})
		v := fmt.Sprint(i + 3)
		fixed := u.publish("A good one", map[string]string{"docker-compose.yml": u.compose(v2, ""), "version.txt": v + "\n"})
		a, _ := u.pair(fmt.Sprintf("broken-%d", i), bad, fixed, v1alpha1.PhaseRolledBack)
		if after := u.runs(); after.ID != before.ID {
			t.Errorf("the daemon runs in %s, not in %s again", after.Name, before.Name)
		}
		wantCondition(t, a, v1alpha1.ConditionSucceeded, "False/"+v1alpha1.ReasonHealthCheckFailed)
		wantContains(t, "the message", a.Status.Message, "of the service updater did not become healthy", "runs release")
		want := []string{"unknown flag", "did not report that it works"}[i]
		wantContains(t, "the message", a.Status.Message, want)
		for _, s := range a.Status.Services {
			if s.Name == "updater" && len(s.Log) == 0 {
				t.Error("the status has no lines of the broken daemon")
			}
		}
		u.wantVersion(v)
	}

	if err := u.Client.Get(t.Context(), client.ObjectKeyFromObject(state), state); err != nil || state.Data["kept"] != "yes" {
		t.Errorf("the state was not kept: %v, %v", state.Data, err)
	}
	if r := u.Request("good-1"); r.Status.Phase != v1alpha1.PhaseSucceeded {
		t.Errorf("the first request is %s", r.Status.Phase)
	}
}

// TestSelfUpdateUndone: the new daemon works, and what is verified after it does not.
// The new daemon then hands over to the old one again.
func TestSelfUpdateUndone(t *testing.T) {
	t.Parallel()
	u := startUpdater(t)
	before, at := u.runs(), u.deployed()
	webBefore := u.containers()
	v2 := u.image("v2", "ENV VERSION=2")
	u.apply("  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s}\n" +
		"  verify: {attempts: 2, interval: 200ms, checks: [{name: never, tcp: {address: \"127.0.0.1:1\"}}]}\n")
	bad := u.publish("A new version of both", map[string]string{"docker-compose.yml": u.compose(v2, ""), "version.txt": "2\n"})
	a := u.Update(u.name, bad, harness.Named("undone"))
	u.WaitStep(a.Name, v1alpha1.StepPreflight)
	b := u.Update(u.name, at, harness.Named("after"))
	u.WaitRequest(b.Name, "its place in the queue", func(r *v1alpha1.UpdateRequest) bool { return strings.Contains(r.Status.Message, a.Name) })
	a = u.WantEnd(a.Name, v1alpha1.PhaseRolledBack)

	is := u.runs()
	if is.Image != before.Image {
		t.Errorf("the daemon runs %s, want %s again", is.Image, before.Image)
	}
	if is.ID != before.ID {
		t.Errorf("the daemon is in the new container %s, though the old one was kept", is.Name)
	}
	wantCondition(t, a, v1alpha1.ConditionSucceeded, "False/"+v1alpha1.ReasonVerifyFailed)
	if n := strings.Count(u.Log(a), "handing over to"); n != 2 {
		t.Errorf("the log tells of %d handovers, want one there and one back:\n%s", n, u.Log(a))
	}
	u.wantVersion("1")
	if got := identities(u.containers()["web"]); len(got) != 1 || !strings.Contains(got[0], webBefore["web"][0].ID[:12]) {
		t.Errorf("web is %v, want %s again", got, webBefore["web"][0].Name)
	}
	u.wantDeployed(at)
	// What waited is carried out by the daemon that is back, and has nothing to do.
	u.WantEnd(b.Name, v1alpha1.PhaseSucceeded)
	if after := u.runs(); after.ID != is.ID {
		t.Errorf("the daemon was replaced once more: %s", after.Name)
	}
}
