// SPDX-License-Identifier: Apache-2.0

package render

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run go test -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run go test -update and read the diff. Got:\n%s", path, got)
	}
}

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func at(seconds int) *metav1.Time {
	t := metav1.NewTime(start.Add(time.Duration(seconds) * time.Second))
	return &t
}

const (
	newSHA = "abc1234def5678900000000000000000000000aa"
	oldSHA = "0123456789abcdef0123456789abcdef01234567"
)

func request() *v1alpha1.UpdateRequest {
	ur := &v1alpha1.UpdateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "production", Name: "shop-x7k2p"}}
	ur.Spec.ApplicationRef.Name = "shop"
	ur.Spec.Commit = "main"
	return ur
}

func done(name v1alpha1.StepName, from, to int, message string) v1alpha1.StepStatus {
	return v1alpha1.StepStatus{Name: name, State: v1alpha1.StepSucceeded, Attempt: 1, StartedAt: at(from), FinishedAt: at(to), Message: message}
}

func running(name v1alpha1.StepName, from int, message string) v1alpha1.StepStatus {
	return v1alpha1.StepStatus{Name: name, State: v1alpha1.StepRunning, Attempt: 1, StartedAt: at(from), Message: message}
}

func failed(name v1alpha1.StepName, from, to int, reason, message string) v1alpha1.StepStatus {
	return v1alpha1.StepStatus{Name: name, State: v1alpha1.StepFailed, Attempt: 1, StartedAt: at(from), FinishedAt: at(to), Reason: reason, Message: message}
}

// frame is one status of a sequence, at a number of seconds from the start.
type frame struct {
	seconds int
	change  func(*v1alpha1.UpdateRequest)
	log     []string
	lost    string
}

func services(web, worker string) []v1alpha1.ServiceUpdate {
	return []v1alpha1.ServiceUpdate{
		{Name: "db", Action: v1alpha1.ActionKeep, Reason: "nothing of it changed"},
		{Name: "migrate", Action: v1alpha1.ActionRun, Reason: "image changed", Health: "completed"},
		{Name: "web", Action: v1alpha1.ActionReplace, Reason: "image changed", Order: v1alpha1.OrderStartFirst, Health: web},
		{Name: "worker", Action: v1alpha1.ActionReplace, Reason: "environment changed", Order: v1alpha1.OrderStopFirst, Health: worker},
	}
}

func opening() []frame {
	return []frame{
		{0, func(ur *v1alpha1.UpdateRequest) {}, nil, ""},
		{1, func(ur *v1alpha1.UpdateRequest) {
			ur.Status.Phase, ur.Status.Message = v1alpha1.PhasePending, "waiting for shop-old to end"
		}, nil, ""},
		{2, func(ur *v1alpha1.UpdateRequest) {
			st := &ur.Status
			st.Phase, st.Step, st.Message, st.StartedAt = v1alpha1.PhasePreflight, v1alpha1.StepPreflight, "", at(2)
			st.LogFile = "/opt/shop/.update/logs/update_20260304_050609.log"
			st.Steps = []v1alpha1.StepStatus{running(v1alpha1.StepPreflight, 2, "")}
		}, nil, ""},
		{4, func(ur *v1alpha1.UpdateRequest) {
			st := &ur.Status
			st.Phase, st.Step, st.Commit, st.PreviousCommit = v1alpha1.PhaseBackingUp, v1alpha1.StepBackup, newSHA, oldSHA
			st.PreviousRelease = "shop-7"
			st.Checks = []v1alpha1.CheckResult{
				{Name: "engine", Result: "Passed", Message: "20.10.24"},
				{Name: "health", Result: "Warning", Message: "worker is not healthy before the update"},
			}
			st.Steps = []v1alpha1.StepStatus{done(v1alpha1.StepPreflight, 2, 4, "12 checks passed, 1 warning"), running(v1alpha1.StepBackup, 4, "volume data")}
		}, []string{"2026-03-04T05:06:11.089Z  [Backup] volume data: 12.3 MiB"}, ""},
		{12, func(ur *v1alpha1.UpdateRequest) {
			st := &ur.Status
			st.Phase, st.Step = v1alpha1.PhaseBuilding, v1alpha1.StepBuild
			st.BackupPath = "/opt/shop/.update/backups/backup_20260304_050609"
			st.Changes = []v1alpha1.Change{{Commit: newSHA, Subject: "Serve faster"}, {Commit: "b" + newSHA[1:], Subject: "Fix\x1b[2J typo"}}
			st.ChangesTotal = 2
			st.Steps = []v1alpha1.StepStatus{
				st.Steps[0], done(v1alpha1.StepBackup, 4, 10, "12.3 MiB"), done(v1alpha1.StepFetch, 10, 12, "2 commits"),
				running(v1alpha1.StepBuild, 12, "web, worker"),
			}
		}, []string{
			"2026-03-04T05:06:19.000Z  [Build] web: Step 1/5 : FROM scratch",
			"2026-03-04T05:06:19.100Z  [Build] web: \x1b[32mStep 2/5\x1b[0m : COPY server /\tand more text than the line of a terminal can hold",
		}, ""},
		{15, func(ur *v1alpha1.UpdateRequest) {}, nil, "dial tcp 127.0.0.1:6443: connect: connection refused"},
		{20, func(ur *v1alpha1.UpdateRequest) {
			st := &ur.Status
			st.Phase, st.Step = v1alpha1.PhaseRollingOut, v1alpha1.StepRollout
			again := running(v1alpha1.StepRollout, 18, "waiting for web")
			again.Attempt = 2
			st.Steps = append(st.Steps[:3:3], done(v1alpha1.StepBuild, 12, 18, ""), again)
			st.Services = services("starting", "waiting")
		}, nil, ""},
	}
}

func sequences() map[string][]frame {
	good := append(opening(),
		frame{75, func(ur *v1alpha1.UpdateRequest) {
			st := &ur.Status
			st.Phase, st.Step, st.Release, st.FinishedAt, st.Duration = v1alpha1.PhaseSucceeded, v1alpha1.StepCleanUp, "shop-8", at(75), "1m13s"
			st.Message = "shop runs abc1234"
			st.Steps = append(st.Steps[:4:4], done(v1alpha1.StepRollout, 18, 40, ""), done(v1alpha1.StepVerify, 40, 74, "2 checks passed"),
				done(v1alpha1.StepCleanUp, 74, 75, ""))
			st.Services = services("healthy", "healthy")
			st.Hooks = []v1alpha1.HookStatus{
				{Name: "lock", At: v1alpha1.HookPreflight, State: v1alpha1.HookSucceeded},
				{Name: "warm", At: v1alpha1.HookAfterService, Service: "web", State: v1alpha1.HookSucceeded},
				{Name: "warm", At: v1alpha1.HookAfterService, Service: "worker", State: v1alpha1.HookFailed, Message: "exit code 7\x1b[2J"},
				{Name: "dump", At: v1alpha1.HookBeforeBackup, State: v1alpha1.HookSkipped, Message: "there is no container yet"},
			}
			st.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSucceeded}}
		}, nil, ""})
	bad := append(opening(),
		frame{30, func(ur *v1alpha1.UpdateRequest) {
			st := &ur.Status
			st.Phase, st.Step = v1alpha1.PhaseRollingBack, v1alpha1.StepRollback
			st.Steps = append(st.Steps[:4:4], failed(v1alpha1.StepRollout, 18, 29, v1alpha1.ReasonHealthCheckFailed, "web did not become healthy in 10s"),
				running(v1alpha1.StepRollback, 29, ""))
			st.Services = services("unhealthy: exit code 1 from its healthcheck", "waiting")
			st.Services[2].Log = []string{"listening on :8080", "\x1b[31mpanic: no database\x1b[0m\x07"}
			st.Failure = &v1alpha1.FailureStatus{Step: v1alpha1.StepRollout, Reason: v1alpha1.ReasonHealthCheckFailed,
				Message: "web did not become healthy in 10s: its healthcheck exits with 1\n  curl: (7) refused"}
		}, nil, ""},
		frame{33, func(ur *v1alpha1.UpdateRequest) {
			st := &ur.Status
			st.Phase, st.FinishedAt, st.Duration = v1alpha1.PhaseRolledBack, at(33), "31s"
			st.Steps = append(st.Steps[:5:5], done(v1alpha1.StepRollback, 29, 33, "back on shop-7"))
			st.Rollback = &v1alpha1.RollbackStatus{Release: "shop-7", Commit: oldSHA, Reason: v1alpha1.ReasonHealthCheckFailed,
				Message: "web is back on release shop-7. Data was not restored."}
		}, nil, ""})
	preflight := []frame{{0, func(ur *v1alpha1.UpdateRequest) {
		st := &ur.Status
		ur.Spec.Commit = ""
		st.Phase, st.Step, st.StartedAt, st.FinishedAt = v1alpha1.PhaseFailed, v1alpha1.StepPreflight, at(0), at(0)
		st.Message = "2 checks failed"
		st.Checks = []v1alpha1.CheckResult{
			{Name: "engine", Result: "Passed"},
			{Name: "disk", Result: "Failed", Message: "1.2 GiB free of 5 GiB needed: free some space"},
			{Name: "worktree", Result: "Failed", Message: "compose.yaml has local edits that the update would overwrite"},
			{Name: "compose", Result: "Skipped", Message: "not checked, as an earlier check failed"},
			{Name: "healthy", Result: "Skipped", Message: "not checked, as an earlier check failed"},
		}
		st.Steps = []v1alpha1.StepStatus{failed(v1alpha1.StepPreflight, 0, 0, v1alpha1.ReasonPreflightFailed, "2 checks failed")}
		st.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonPreflightFailed}}
	}, nil, ""}}
	dry := []frame{{3, func(ur *v1alpha1.UpdateRequest) {
		ur.Spec.DryRun = true
		st := &ur.Status
		st.Phase, st.Commit, st.PreviousCommit, st.StartedAt, st.FinishedAt = v1alpha1.PhaseSucceeded, newSHA, oldSHA, at(1), at(3)
		st.Steps = []v1alpha1.StepStatus{done(v1alpha1.StepPreflight, 1, 3, "")}
		for range 12 {
			st.Changes = append(st.Changes, v1alpha1.Change{Commit: newSHA, Subject: "A change"})
		}
		st.ChangesTotal = 120
		st.Checks = []v1alpha1.CheckResult{{Name: "health", Result: "Warning", Message: "worker is not healthy"}}
		st.Plan = &v1alpha1.UpdatePlan{
			Summary: "1 service is replaced, 1 is run, 1 stays as it is",
			Backup:  []string{".env", "volume data", "PostgreSQL db"},
			Services: []v1alpha1.ServicePlan{
				{Name: "web", Action: v1alpha1.ActionReplace, Reason: "image changed", Order: v1alpha1.OrderStopFirst, OrderReason: "it publishes host port 80",
					Replacement: "1 of 3 containers at once", Interruption: "a few seconds", Wave: 2, Build: "Build"},
				{Name: "db", Action: v1alpha1.ActionKeep, Reason: "nothing of it changed", Build: "Present"},
				{Name: "migrate", Action: v1alpha1.ActionRun, Reason: "image changed", Wave: 1, Build: "Reuse", Gateway: "not behind the gateway: runs to its end once"},
			},
		}
	}, nil, ""}}
	back := []frame{{9, func(ur *v1alpha1.UpdateRequest) {
		ur.Spec.Commit, ur.Spec.RollbackTo = "", &v1alpha1.LocalReference{Name: "shop-6"}
		st := &ur.Status
		st.Phase, st.Step, st.Commit, st.StartedAt = v1alpha1.PhaseRollingOut, v1alpha1.StepRollout, oldSHA, at(1)
		st.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepBuild, State: v1alpha1.StepSkipped, Message: "a rollback builds nothing"}, running(v1alpha1.StepRollout, 5, "")}
	}, nil, ""}, {12, func(ur *v1alpha1.UpdateRequest) {
		st := &ur.Status
		st.Phase, st.FinishedAt = v1alpha1.PhaseFailed, at(12)
		st.BackupPath = "/opt/shop/.update/backups/backup_20260304_050609"
		st.Failure = &v1alpha1.FailureStatus{Step: v1alpha1.StepRollback, Reason: v1alpha1.ReasonRollbackFailed, Message: "image of web is gone"}
	}, nil, ""}}
	return map[string][]frame{"succeeds": good, "rolled-back": bad, "preflight-fails": preflight, "dry-run": dry, "rollback-fails": back}
}

func TestSequences(t *testing.T) {
	for name, frames := range sequences() {
		t.Run(name, func(t *testing.T) {
			var live, plain strings.Builder
			style := Style{Width: 78, Height: 24}
			ur := request()
			var before *v1alpha1.UpdateRequest
			for i, f := range frames {
				now := start.Add(time.Duration(f.seconds) * time.Second)
				f.change(ur)
				live.WriteString("--- " + now.Format(time.TimeOnly) + "\n")
				lines := style.Live(Live{Request: ur, Now: now, Frame: i, Log: f.log, Lost: f.lost})
				for _, line := range lines {
					if width(line) > style.Width {
						t.Errorf("%d cells: %q", width(line), line)
					}
					if strings.ContainsAny(line, "\x1b\n\t\a") {
						t.Errorf("control characters in %q", line)
					}
					live.WriteString(line + "\n")
				}
				if len(lines) > style.Height {
					t.Errorf("%d lines", len(lines))
				}
				for _, line := range style.Changes(before, ur, now) {
					plain.WriteString(line + "\n")
				}
				for _, line := range f.log {
					plain.WriteString(style.PlainLog(line, now) + "\n")
				}
				if again := style.Changes(ur, ur, now); len(again) > 0 {
					t.Errorf("changes without a change: %q", again)
				}
				before = ur.DeepCopy()
			}
			report := style.Report(ur, start.Add(time.Hour))
			if strings.ContainsAny(report, "\x1b\a") {
				t.Errorf("control characters in %q", report)
			}
			golden(t, name, "=== live\n"+live.String()+"=== plain\n"+plain.String()+"=== report\n"+report)
		})
	}
}

// TestApplications shows what is newer, what drifted, and why nothing is done about it.
func TestApplications(t *testing.T) {
	app := func(change func(*v1alpha1.Application)) *v1alpha1.Application {
		a := &v1alpha1.Application{}
		a.Name, a.Spec.Compose.Directory = "shop", "/opt/shop"
		a.Status = v1alpha1.ApplicationStatus{Release: "shop-7", Commit: oldSHA, Branch: "main", Healthy: "2/2"}
		change(a)
		return a
	}
	newer := func(n int) *v1alpha1.UpdateStatus {
		u := &v1alpha1.UpdateStatus{Ref: "refs/heads/main", Commit: newSHA, Available: true, Behind: int32(n)}
		for range min(n, 100) {
			u.Changes = append(u.Changes, v1alpha1.Change{Commit: newSHA, Subject: "Serve\x1b[2J faster", Author: "Ada\a"})
		}
		return u
	}
	var all strings.Builder
	for _, c := range []struct {
		name string
		app  *v1alpha1.Application
	}{
		{"just adopted", app(func(a *v1alpha1.Application) { a.Status = v1alpha1.ApplicationStatus{} })},
		{"not looked at yet", app(func(*v1alpha1.Application) {})},
		{"the newest runs", app(func(a *v1alpha1.Application) {
			a.Status.Update = &v1alpha1.UpdateStatus{Ref: "refs/heads/main", Commit: oldSHA}
		})},
		{"two newer commits, by hand", app(func(a *v1alpha1.Application) { a.Status.Update = newer(2) })},
		{"many newer commits, which wait for a window", app(func(a *v1alpha1.Application) {
			a.Spec.Update.Policy = v1alpha1.UpdateAutomatic
			a.Status.Update = newer(120)
			a.Status.Update.Message = "abc1234 waits for the next window of spec.update.windows, which opens at 2026-03-04T22:00:00+01:00"
		})},
		{"a tag that failed before", app(func(a *v1alpha1.Application) {
			a.Spec.Update.Policy = v1alpha1.UpdateAutomatic
			a.Status.Update = newer(1)
			a.Status.Update.Ref = "refs/tags/v1.4.2"
			a.Status.Update.Message = "abc1234 failed in the request shop-x (BuildFailed) and is not tried again by itself: push a newer commit, or ask with spec.retry"
			a.Status.FailedCommits = []v1alpha1.FailedCommit{{Commit: newSHA, Request: "shop-x", Reason: v1alpha1.ReasonBuildFailed}}
		})},
		{"an older commit after a forced push", app(func(a *v1alpha1.Application) {
			a.Status.Update = &v1alpha1.UpdateStatus{Ref: "refs/heads/main", Commit: newSHA}
		})},
		{"a source that does not answer", app(func(a *v1alpha1.Application) {
			a.Status.Update = newer(1)
			a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionUpdateAvailable, Status: metav1.ConditionUnknown,
				Reason: v1alpha1.ReasonSourceUnreachable, Message: "https://example.com/shop.git: unreachable: see the network"}}
		})},
		{"drift", app(func(a *v1alpha1.Application) {
			a.Status.Update = &v1alpha1.UpdateStatus{Ref: "refs/heads/main", Commit: oldSHA}
			a.Status.Drift = []v1alpha1.Drift{
				{Service: "web", Kind: v1alpha1.DriftMissing, Message: "a container of the release is gone"},
				{Service: "worker", Kind: v1alpha1.DriftStopped, Container: "shop-worker-1", Message: "it was stopped"},
				{Service: "db", Kind: v1alpha1.DriftChanged, Container: "shop-db-1\x1b[31m", Message: "runs another image"},
			}
		})},
	} {
		text := Style{Width: 78}.Application(c.app, nil, nil, start) + "--- check\n" + Style{Width: 78}.Update(c.app)
		if strings.ContainsAny(text, "\x1b\a") {
			t.Errorf("%s: control characters in %q", c.name, text)
		}
		all.WriteString("=== " + c.name + "\n" + text)
	}
	golden(t, "applications", all.String())
}

func TestLiveFitsSmallTerminals(t *testing.T) {
	ur := request()
	for _, f := range opening() {
		f.change(ur)
	}
	for range 40 {
		ur.Status.Services = append(ur.Status.Services, v1alpha1.ServiceUpdate{Name: "another-with-a-long-name", Action: v1alpha1.ActionReplace})
	}
	logs := make([]string, 50)
	for i := range logs {
		logs[i] = "日本語 wide text that is longer than the terminal"
	}
	for _, size := range [][2]int{{20, 5}, {40, 12}, {80, 24}, {200, 60}} {
		style := Style{Width: size[0], Height: size[1]}
		lines := style.Live(Live{Request: ur, Now: start, Log: logs, Lost: "gone"})
		if len(lines) > size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if width(line) > size[0] {
				t.Errorf("%v: %d cells: %q", size, width(line), line)
			}
		}
	}
}

func TestColour(t *testing.T) {
	ur := request()
	for _, f := range opening() {
		f.change(ur)
	}
	all := strings.Join(Style{Colour: true}.Live(Live{Request: ur, Now: start}), "\n")
	if !strings.Contains(all, "\x1b[32m✓\x1b[0m") || strings.Contains(all, "\x1b[2J") {
		t.Errorf("%q", all)
	}
	for _, line := range []string{"[End] log complete", "[Summary] Result: Succeeded"} {
		if got := (Style{}).PlainLog("2026-03-04T05:06:07.089Z  "+line, start); got != "" {
			t.Errorf("shown twice: %q", got)
		}
	}
	if got := (Style{}).PlainLog("torn", start); got != "05:06:07             | torn" {
		t.Errorf("%q", got)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 350 * time.Millisecond: "350ms", 12 * time.Second: "12s", 185 * time.Second: "3m05s",
		59*time.Minute + 59*time.Second: "59m59s", 121 * time.Minute: "2h01m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestAdvice(t *testing.T) {
	for reason, want := range map[string]string{
		v1alpha1.ReasonBuildFailed:          "fairlead update shop main -n production --retry",
		v1alpha1.ReasonPreflightFailed:      "fairlead update shop main -n production",
		v1alpha1.ReasonCommitFailedBefore:   "--retry",
		v1alpha1.ReasonCommitNotInSource:    "Push the commit to a branch",
		v1alpha1.ReasonReleaseUnusable:      "fairlead releases shop -n production",
		v1alpha1.ReasonRollbackFailed:       "fairlead rollback shop -n production",
		v1alpha1.ReasonBackupFailed:         "Without a backup",
		v1alpha1.ReasonHookFailed:           "onFailure to Continue",
		v1alpha1.ReasonPullFailed:           "registry",
		v1alpha1.ReasonRegistryUnauthorized: "docker login",
		v1alpha1.ReasonHostConflict:         "the port",
		v1alpha1.ReasonCancelled:            "start it afresh",
		"SomethingNew":                      "fairlead logs ur/shop-x7k2p -n production",
	} {
		ur := request()
		ur.Status.Phase = v1alpha1.PhaseFailed
		ur.Status.Failure = &v1alpha1.FailureStatus{Reason: reason}
		if got := strings.Join(Advice(ur), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: %q lacks %q", reason, got, want)
		}
	}
}
