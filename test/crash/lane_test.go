// SPDX-License-Identifier: Apache-2.0

//go:build crash

package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/crash/engineproxy"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// composeFile is the application of these tests: a one-shot whose runs are
// counted, beta, of which no two copies may run at once, and gamma, of which
// one is always to run. Both have a container_name.
const composeFile = `x-service: &service
  restart: unless-stopped
  healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s}
services:
  alpha:
    build: {context: ., args: {SERVICE: alpha}}
    command: [ledger]
    labels: {fairlead.dev/test: crash}
    volumes: [./ledger:/ledger]
  beta:
    <<: *service
    build: {context: ., args: {SERVICE: beta}}
    container_name: ${NAME}-beta
    labels: {fairlead.dev/test: crash}
    ports: ["127.0.0.1:${BETA_PORT}:8080"]
    volumes: [data:/data]
    depends_on:
      alpha: {condition: service_completed_successfully}
  gamma:
    <<: *service
    build: {context: ., args: {SERVICE: gamma}}
    container_name: ${NAME}-gamma
    labels: {fairlead.dev/test: crash}
    depends_on:
      beta: {condition: service_healthy}
networks:
  default:
    labels: {fairlead.dev/test: crash}
volumes:
  data:
    labels: {fairlead.dev/test: crash}
`

const application = `  rollout: {healthTimeout: 20s, minHealthy: 100ms, stopTimeout: 3s, soak: 0s}
  verify:
    attempts: 20
    interval: 200ms
    checks:
    - {name: beta, tcp: {address: "127.0.0.1:%d"}}
`

// lane is one application and its daemon, through many updates.
type lane struct {
	repo   *apps.Repo
	daemon *harness.Daemon
	proxy  *engineproxy.Proxy
	watch  *watcher
	// fault is the file that crashd reads.
	fault string
	// name that container names begin with, and beta's port.
	name string
	port int
	// number of the last version that was published, good and bad, and the
	// version and the commit that run.
	number  int
	version string
	commit  string
}

const appName = "crash"

// newLane brings the first version up.
func newLane(t *testing.T) *lane {
	t.Helper()
	ctx := t.Context()
	l := &lane{fault: filepath.Join(t.TempDir(), "fault")}
	var err error
	if l.port, err = apps.FreePort(ctx); err != nil {
		t.Fatal(err)
	}
	l.name = fmt.Sprintf("crash-%d", l.port)
	l.repo = apps.ForTest(t, apps.Trio, apps.Options{Label: "crash", Env: map[string]string{
		"NAME": l.name, "BETA_PORT": strconv.Itoa(l.port),
	}})
	l.watch = watch(t, l.repo.Project)
	sockets, err := os.MkdirTemp("", "fairlead-crash-") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	if l.proxy, err = engineproxy.Start("/var/run/docker.sock", filepath.Join(sockets, "docker.sock")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.proxy.Close)
	l.daemon = harness.Start(t, harness.Options{Env: []string{"DOCKER_HOST=" + l.proxy.Host, "CRASH_FILE=" + l.fault}})
	if _, err := l.repo.Commit(ctx, "An application for crashes", map[string]string{
		"docker-compose.yml": composeFile, ".gitignore": ".env\n.update/\nledger/\n",
	}); err != nil {
		t.Fatal(err)
	}
	l.daemon.Apply(harness.Manifest(appName, l.repo, fmt.Sprintf(application, l.port)))
	u := l.begin(t, l.daemon, good)
	u.settled(t, l.daemon.WaitEnded(u.name))
	return l
}

// quality of a version.
type quality int

const (
	// good becomes healthy.
	good quality = iota
	// bad has a gamma that ends at once, when beta was replaced already.
	bad
	// unwanted is good, and cancelled before it has ended.
	unwanted
)

// update is one request and what is to become of it.
type update struct {
	*lane
	name    string
	quality quality
	// target is the version that the request asks for, wants the one that
	// runs in the end.
	target, wants string
	commit        string
	// attempts that a step may need. Default 2.
	attempts int32
}

// begin publishes a version and asks for it. What is put wrong for it must be
// in place already.
func (l *lane) begin(t *testing.T, d *harness.Daemon, q quality) *update {
	t.Helper()
	l.number++
	version := strconv.Itoa(l.number)
	gamma := apps.Behaviour{Crash: q == bad}
	files := map[string]string{"gamma/behaviour.json": gamma.JSON()}
	for _, service := range []string{"alpha", "beta", "gamma"} {
		files[service+"/version.txt"] = version + "\n"
	}
	commit, err := l.repo.Publish(t.Context(), "Version "+version, files)
	if err != nil {
		t.Fatal(err)
	}
	l.watch.reset()
	u := &update{lane: l, quality: q, target: version, wants: version, commit: commit, attempts: 2}
	if q != good {
		u.wants, u.commit = l.version, l.commit
	}
	u.name = d.Update(appName, commit, harness.Named("to-"+version)).Name
	return u
}

// arm puts a fault in place.
func (l *lane) arm(t *testing.T, fault string) {
	t.Helper()
	if err := os.WriteFile(l.fault+".new", []byte(fault), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(l.fault+".new", l.fault); err != nil {
		t.Fatal(err)
	}
}

// fired waits until the fault has happened.
func (u *update) fired(t *testing.T, d *harness.Daemon) {
	t.Helper()
	if !u.until(t, d, func() bool {
		_, err := os.Stat(u.fault)
		return errors.Is(err, os.ErrNotExist)
	}) {
		t.Fatalf("the update ended before it came to the fault")
	}
}

// until waits until happened; it returns false if the request ended before. The
// daemon is asked for that now and then only: its answers cost it more than
// happened, which asks nobody.
func (u *update) until(t *testing.T, d *harness.Daemon, happened func() bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	look, ask := time.NewTicker(10*time.Millisecond), time.NewTicker(500*time.Millisecond)
	defer look.Stop()
	defer ask.Stop()
	for !happened() {
		select {
		case <-look.C:
		case <-ask.C:
			var ur v1alpha1.UpdateRequest
			// While the daemon is dead there is no answer; then it has happened.
			if err := d.Client.Get(ctx, keyOf(d, u.name), &ur); err == nil && requestwatch.Concluded(&ur) {
				return happened()
			}
		case <-ctx.Done():
			t.Fatalf("it did not happen in a minute: %s", d.DaemonLog())
		}
	}
	return true
}

// revive starts the daemon again and waits for the end of the request.
func (u *update) revive(t *testing.T, d *harness.Daemon) *v1alpha1.UpdateRequest {
	t.Helper()
	d.Kill9() // it is dead: this collects it
	d.Restart()
	return d.WaitEnded(u.name)
}

// kill ends the daemon from within the proxy, in the middle of its request.
func (l *lane) kill(d *harness.Daemon) error { return syscall.Kill(d.PID(), syscall.SIGKILL) }
