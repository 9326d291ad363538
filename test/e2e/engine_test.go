// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// ownEngine is a dockerd that tests may stop and kill: it has a network
// namespace, directories and a containerd namespace of its own, so that the
// machine's engine and network are out of its reach.
type ownEngine struct {
	t       *testing.T
	dir     string
	here    string // the network namespace that it must not be in
	network bool   // it has a network: that of this process, which is not the machine's
	process *exec.Cmd
	exited  chan error
}

// guarded starts dockerd, unless it would be in the machine's network namespace,
// which is the first argument.
const guarded = `
[ "$(readlink /proc/self/ns/net)" != "$1" ] || { echo "not in a network namespace of its own" >&2; exit 1; }
[ "$2" = network ] || ! ip link show docker0 >/dev/null 2>&1 || { echo "the network of another engine is in reach" >&2; exit 1; }
ip link set lo up || exit 1
shift 2
exec dockerd "$@"
`

// networkVariable is set in a test process that has a network namespace of its own, to
// the machine's.
const networkVariable = "FAIRLEAD_TEST_NETWORK"

// inOwnNetwork runs the test in another process, which has a network namespace of its
// own, unless this is that process. It returns true if the test is to be run here.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(networkVariable) != "" {
		return true
	}
	t.Parallel() // it does nothing here but wait
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", self, "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), networkVariable+"="+here)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.CombinedOutput()
	t.Logf("in a network of its own:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Fatal("the test was not run")
	}
	return false
}

// newEngine starts an engine and has this test process and what it starts use it. Its
// containers have a network if this process has one of its own, see inOwnNetwork.
func newEngine(t *testing.T) *ownEngine {
	t.Helper()
	dir, err := os.MkdirTemp("", "fl-engine-") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	e := &ownEngine{t: t, dir: dir, here: os.Getenv(networkVariable)}
	if e.network = e.here != ""; !e.network {
		if e.here, err = os.Readlink("/proc/self/ns/net"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "docker.sock"))
	t.Cleanup(e.remove)
	e.start()
	return e
}

func (e *ownEngine) start() {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.dir, "dockerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	in := func(name string) string { return filepath.Join(e.dir, name) }
	name := filepath.Base(e.dir)
	args := []string{
		"--host", "unix://" + in("docker.sock"), "--config-file", in("daemon.json"), "--pidfile", in("docker.pid"),
		"--data-root", in("data"), "--exec-root", in("exec"),
		"--containerd-namespace", name, "--containerd-plugins-namespace", name + "-plugins",
	}
	if e.network {
		args = append([]string{"sh", "-c", guarded, "sh", e.here, "network"}, args...)
	} else {
		args = append([]string{"unshare", "--net", "sh", "-c", guarded, "sh", e.here, "none"}, args...)
		args = append(args, "--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
	}
	e.process = exec.Command(args[0], args[1:]...)
	e.process.Stdout, e.process.Stderr = log, log
	e.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.process.Start(); err != nil {
		e.t.Fatal(err)
	}
	exited := make(chan error, 1)
	e.exited = exited
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(e.process)
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		e.t.Fatal(err)
	}
	defer engine.Close()
	ctx, cancel := context.WithTimeout(e.t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := engine.Ping(ctx); err == nil {
			return
		}
		select {
		case err := <-exited:
			exited <- err
			e.t.Fatalf("dockerd ended: %v\n%s", err, e.log())
		case <-ctx.Done():
			e.t.Fatalf("dockerd does not answer:\n%s", e.log())
		case <-ticker.C:
		}
	}
}

// end ends the engine by a signal and waits for it.
func (e *ownEngine) end(sig syscall.Signal) {
	if e.process == nil || e.process.Process == nil {
		return
	}
	if err := e.process.Process.Signal(sig); err != nil {
		return // it has ended
	}
	select {
	case err := <-e.exited:
		e.exited <- err
	case <-time.After(time.Minute):
		e.t.Errorf("dockerd does not end:\n%s", e.log())
		_ = e.process.Process.Kill()
	}
}

// stop ends the engine in order: it stops its containers.
func (e *ownEngine) stop() { e.end(syscall.SIGTERM) }

// kill ends the engine as a crash would, and its containerd with it.
func (e *ownEngine) kill() {
	e.t.Helper()
	e.end(syscall.SIGKILL)
	// Where nobody collects dead processes, the next dockerd takes the one of
	// the old containerd for alive.
	if err := os.Remove(filepath.Join(e.dir, "exec", "containerd", "containerd.pid")); err != nil {
		e.t.Fatal(err)
	}
}

// remove ends the engine and what it left: processes, if it cannot be asked to
// remove its containers, and mounts.
func (e *ownEngine) remove() {
	e.end(syscall.SIGTERM)
	// Random names: whoever has one belongs to this engine.
	marks := []string{filepath.Base(e.dir)}
	if containers, err := os.ReadDir(filepath.Join(e.dir, "data", "containers")); err == nil {
		for _, c := range containers {
			marks = append(marks, c.Name())
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		e.t.Error(err)
	}
	for _, path := range processes {
		command, _ := os.ReadFile(filepath.Join(path, "cmdline"))
		cgroup, _ := os.ReadFile(filepath.Join(path, "cgroup"))
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil || pid == os.Getpid() || !slices.ContainsFunc(marks, func(mark string) bool {
			return strings.Contains(string(command)+string(cgroup), mark)
		}) {
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // or it has ended meanwhile
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		e.t.Error(err)
	}
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], e.dir+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		e.t.Errorf("the engine left something behind: %v", err)
	}
}

func (e *ownEngine) log() string {
	data, err := os.ReadFile(filepath.Join(e.dir, "dockerd.log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}

// isolated is an application that needs no network: web, of which two copies
// may run at once, and single, of which not, as it writes to a volume.
const isolated = `x-service: &service
  build: .
  network_mode: none
  restart: unless-stopped
  labels: {fairlead.dev/test: e2e}
  healthcheck: {test: ["CMD", "/app", "healthcheck"], interval: 30s}
services:
  web:
    <<: *service
    container_name: ${COMPOSE_PROJECT_NAME}-named
  single:
    <<: *service
    volumes: [data:/data]
volumes:
  data:
    labels: {fairlead.dev/test: e2e}
`

// The engine is restarted while containers are being replaced, in order and by
// force; then containers come back as their restart policies say, and the
// update goes on.
func TestEngineRestartInMidRollout(t *testing.T) {
	e := newEngine(t)
	s := siteOf(t, harness.Start(t, harness.Options{}), apps.Hello)
	s.publish("Without a network", map[string]string{"docker-compose.yml": isolated})
	s.apply("")
	s.succeeds("main")
	for i, c := range []struct {
		name    string
		service string // is starting when the engine is restarted
		stop    func()
		bad     bool
	}{
		{"in order, beside the old container", "web", e.stop, false},
		{"killed, beside the old container", "web", e.kill, false},
		{"in order, in place of the old container", "single", e.stop, false},
		{"killed, before a rollback", "single", e.kill, true},
	} {
		ok := t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			before, at := s.containers(), s.deployed()
			files := slowly(string(rune('2'+i)), "2s")
			want := v1alpha1.PhaseSucceeded
			if c.bad {
				files["behaviour.json"] = apps.Behaviour{StartDelay: "2s", Unhealthy: true}.JSON()
				want = v1alpha1.PhaseRolledBack
			}
			commit := s.publish(c.name, files)
			r := s.Update(s.name, commit)
			s.WaitRequest(r.Name, "a new container that starts", func(r *v1alpha1.UpdateRequest) bool {
				for _, u := range r.Status.Services {
					if u.Name == c.service && u.Health == "starting" {
						return true
					}
				}
				return false
			})
			c.stop()
			e.start()
			r = s.WantEnd(r.Name, want)
			s.wantOneOfEach()
			if c.bad {
				for service, cs := range s.containers() {
					if cs[0].ID != before[service][0].ID {
						t.Errorf("%s: %v became %v", service, identities(before[service]), identities(cs))
					}
				}
				s.wantDeployed(at)
				return
			}
			s.wantReplaced(before, "web", "single")
			s.wantRelease(r, commit)
			s.wantDeployed(commit)
			for _, u := range r.Status.Services {
				if got := s.containers()[u.Name][0]; got.Image != u.ImageID {
					t.Errorf("%s runs the image %s, want %s", got.Name, got.Image, u.ImageID)
				}
			}
		})
		if !ok {
			t.Fatalf("what comes after it says nothing; dockerd says last:\n%s", e.log())
		}
	}
}
