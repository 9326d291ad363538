// SPDX-License-Identifier: Apache-2.0

//go:build bench

// Package bench measures the figures of docs/benchmarks.md, side by side with
// docker compose, in one run on one machine. It is not part of the tests: on
// another machine the seconds differ, and the ratios are what to look at.
package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// startDelay is what the application needs by itself until it is ready.
const startDelay = 2 * time.Second

const settings = `  rollout: {soak: 0s}
  preflight: {minFreeDisk: 256Mi, minFreeMemory: 64Mi}
`

func TestMain(m *testing.M) {
	if command := os.Getenv(peerVariable); command != "" {
		runPeer(command)
		return
	}
	code := m.Run()
	fmt.Print(report()) // a figure that was missed is a figure
	os.Exit(code)
}

var rows []string

func row(what, bound string, format string, args ...any) {
	rows = append(rows, fmt.Sprintf("| %s | %s | %s |", what, bound, fmt.Sprintf(format, args...)))
}

func report() string {
	return "\n| what | aim | measured |\n|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
}

// fixture is an application under a daemon of its own.
type fixture struct {
	*testing.T
	repo    *apps.Repo
	daemon  *harness.Daemon
	name    string
	version int
}

func deploy(t *testing.T, app apps.App) *fixture {
	f := &fixture{T: t, repo: apps.ForTest(t, app, apps.Options{Label: "bench"}), name: string(app)}
	f.daemon = harness.Start(t, harness.Options{})
	f.daemon.Apply(harness.Manifest(f.name, f.repo, settings))
	return f
}

// publish makes a new version of the services in the named directories.
func (f *fixture) publish(dirs ...string) string {
	f.version++
	files := map[string]string{}
	for _, d := range dirs {
		files[filepath.Join(d, "version.txt")] = strconv.Itoa(f.version) + "\n"
		files[filepath.Join(d, "behaviour.json")] = apps.Behaviour{StartDelay: startDelay.String()}.JSON()
	}
	sha, err := f.repo.Publish(f.Context(), fmt.Sprintf("version %d", f.version), files)
	if err != nil {
		f.Fatal(err)
	}
	return sha
}

// latest is what the version that was published last answers.
func (f *fixture) latest() string { return strconv.Itoa(f.version) }

func (f *fixture) update(commit string) (time.Duration, *v1alpha1.UpdateRequest) {
	begin := time.Now()
	name := f.daemon.Update(f.name, commit).Name
	f.daemon.WaitPhase(name, v1alpha1.PhaseSucceeded)
	took := time.Since(begin)
	return took, f.daemon.WantEnd(name, v1alpha1.PhaseSucceeded) // its log is whole then
}

func (f *fixture) withoutBackup(commit string) time.Duration {
	total, ur := f.update(commit)
	return total - stepTime(f.T, ur.Status.LogFile, v1alpha1.StepBackup)
}

// TestOneService measures an application of one service, beside docker compose.
func TestOneService(t *testing.T) {
	f := deploy(t, apps.Hello)
	f.update(f.publish("."))
	var one, none []time.Duration
	for range 5 {
		one = append(one, f.withoutBackup(f.publish(".")))
		total, _ := f.update("main")
		none = append(none, total)
	}
	own := ownStart(f)
	// The same change by docker compose, which waits for its own healthcheck.
	f.publish(".")
	if out, _, code := harness.Run(t.Context(), nil, "", "git", "-C", f.repo.Dir, "pull", "-q", "origin", "main"); code != 0 {
		t.Fatal(out)
	}
	begin := time.Now()
	if err := f.repo.Up(t.Context(), "--wait"); err != nil {
		t.Fatal(err)
	}
	peer := time.Since(begin)
	o := median(one)
	row("the application's own start: start of its container to its first answer", "-", "%.2f s, of which it waits %s", own.Seconds(), startDelay)
	row("one service changed, healthcheck every 30 s: request to Succeeded, without the backup", "at most its own start + 1 s",
		"%.2f s, its own start + %.2f s", o.Seconds(), (o - own).Seconds())
	row("the same by `docker compose up --build --wait`", "beside it", "%.2f s, %.1f times as long", peer.Seconds(), peer.Seconds()/o.Seconds())
	row("nothing changed", "at most 1 s", "%.2f s", median(none).Seconds())
}

// ownStart is the time from the start of the application's container until it
// answers, without anybody's help: the median of three.
func ownStart(f *fixture) time.Duration {
	engine := harness.Engine(f.T)
	id := harness.Containers(f.T, f.repo.Project)["web"][0].ID
	var times []time.Duration
	for range 3 {
		if err := engine.ContainerStop(f.Context(), id, container.StopOptions{}); err != nil {
			f.Fatal(err)
		}
		begin := time.Now()
		if err := engine.ContainerStart(f.Context(), id, container.StartOptions{}); err != nil {
			f.Fatal(err)
		}
		ticker := time.NewTicker(10 * time.Millisecond)
		for {
			if _, err := harness.Get(f.Context(), f.repo.URL("/version")); err == nil {
				break
			}
			<-ticker.C
		}
		ticker.Stop()
		times = append(times, time.Since(begin))
	}
	return median(times)
}

// TestThreeServices measures services that do not depend on each other.
func TestThreeServices(t *testing.T) {
	f := deploy(t, apps.Trio)
	f.update(f.publish("alpha", "beta", "gamma"))
	var one, three []time.Duration
	for range 5 {
		one = append(one, f.withoutBackup(f.publish("alpha")))
		three = append(three, f.withoutBackup(f.publish("alpha", "beta", "gamma")))
	}
	o, th := median(one), median(three)
	row("three services changed, no dependency between them", "at most 1.3 x one", "%.2f s, %.2f x one of the three (%.2f s)", th.Seconds(), th.Seconds()/o.Seconds(), o.Seconds())
}

// TestDaemon measures the daemon itself.
func TestDaemon(t *testing.T) {
	r := apps.ForTest(t, apps.Hello, apps.Options{Label: "bench"})
	var starts []time.Duration
	d := harness.Start(t, harness.Options{})
	starts = append(starts, d.ReadyAfter())
	d.Apply(harness.Manifest("hello", r, settings+"  retention: {requests: 10000}\n"))
	d.WantEnd(d.Update("hello", "").Name, v1alpha1.PhaseSucceeded)
	for range 4 {
		d.Stop()
		d.Restart()
		starts = append(starts, d.ReadyAfter())
	}
	row("`fairlead serve`: exec to ready", "at most 2.5 s", "%.2f s", median(starts).Seconds())

	idle, cpu := observe(t, d.PID())
	row("idle memory (RSS) with an application", "at most 170 MB", "%.0f MB", idle)
	row("idle CPU", "under 2% of a core", "%.1f%%", cpu)

	begin := time.Now()
	d.Stop()
	row("idle: from SIGTERM to its end", "at most 2 s", "%.2f s", time.Since(begin).Seconds())
	d.Restart()
	history(t, d)
	d.Stop()
	d.Restart()
	loaded, _ := observe(t, d.PID())
	row("memory with a thousand UpdateRequests in history", "at most 2 x idle", "%.0f MB, %.2f x", loaded, loaded/idle)
	var first []time.Duration
	for range 5 {
		begin := time.Now()
		ur := d.Update("hello", "")
		d.WaitRequest(ur.Name, "its first step", func(u *v1alpha1.UpdateRequest) bool { return len(u.Status.Steps) > 0 })
		first = append(first, time.Since(begin))
		d.WaitEnded(ur.Name)
	}
	row("request to first step with that history", "at most 200 ms", "%d ms", median(first).Milliseconds())
}

// history fills in ended requests as the controller would leave them.
func history(t *testing.T, d *harness.Daemon) {
	now := metav1.Now()
	for i := range 1000 {
		ur := &v1alpha1.UpdateRequest{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("history-%04d", i), Namespace: d.Namespace},
			Spec:       v1alpha1.UpdateRequestSpec{ApplicationRef: v1alpha1.LocalReference{Name: "hello"}, Suspend: true},
		}
		if err := d.Client.Create(t.Context(), ur); err != nil {
			t.Fatal(err)
		}
		ended := d.WaitRequest(ur.Name, "being seen", func(u *v1alpha1.UpdateRequest) bool { return u.Status.Phase != "" })
		ended.Status.Phase, ended.Status.FinishedAt, ended.Status.StartedAt = v1alpha1.PhaseSucceeded, &now, &now
		ended.Status.Message = strings.Repeat("a message as long as they usually are ", 4)
		for _, s := range []v1alpha1.StepName{v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild, v1alpha1.StepRollout, v1alpha1.StepVerify, v1alpha1.StepCleanUp} {
			ended.Status.Steps = append(ended.Status.Steps, v1alpha1.StepStatus{Name: s, State: v1alpha1.StepSucceeded, Attempt: 1, StartedAt: &now, FinishedAt: &now})
		}
		if err := d.Client.Status().Update(t.Context(), ended); err != nil {
			t.Fatal(err)
		}
	}
}

// observe returns the resident memory in MB and the use of a core in percent,
// over half a minute of idling.
func observe(t *testing.T, pid int) (rss, cpu float64) {
	settle, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	<-settle.Done()
	cancel()
	const window = 30 * time.Second
	before := ticks(t, pid)
	idle, cancel := context.WithTimeout(t.Context(), window)
	<-idle.Done()
	cancel()
	used := ticks(t, pid) - before
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			rss = kib * 1024 / 1e6
		}
	}
	return rss, float64(used) / 100 / window.Seconds() * 100
}

// ticks is the processor time in hundredths of a second, user and system.
func ticks(t *testing.T, pid int) int64 {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return user + system
}

// stepTime reads from an update's log how long a step took.
func stepTime(t *testing.T, path string, step v1alpha1.StepName) time.Duration {
	first, last := toldAt(t, path, "["+string(step)+"]")
	return last.Sub(first)
}

// toldAt reads from an update's log when something was told first, and when last.
func toldAt(t *testing.T, path, what string) (first, last time.Time) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		stamp, rest, ok := strings.Cut(line, "  ")
		if !ok || !strings.Contains(rest, what) {
			continue
		}
		at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", stamp)
		if err != nil {
			t.Fatal(err)
		}
		if first.IsZero() {
			first = at
		}
		last = at
	}
	if first.IsZero() {
		t.Fatalf("%s does not tell of %s", path, what)
	}
	return first, last
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}
