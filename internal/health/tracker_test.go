// SPDX-License-Identifier: Apache-2.0

package health

import (
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

func TestTracker(t *testing.T) {
	began := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
	run1, run2 := began.Add(-time.Second), began.Add(time.Second)
	yes, no := true, false
	running := func(ok *bool, output string) Sample {
		return Sample{State: docker.StateRunning, StartedAt: run1, ProbeOK: ok, ProbeOutput: output}
	}
	type step struct {
		at   time.Duration
		s    Sample
		want Verdict
	}
	open := func(reason string, remaining time.Duration) Verdict {
		return Verdict{Reason: reason, Remaining: remaining}
	}
	failed := func(reason string) Verdict { return Verdict{Failed: true, Reason: reason} }
	late := func(reason string) Verdict { return Verdict{Failed: true, TimedOut: true, Reason: reason} }
	exited := Sample{State: docker.StateExited, StartedAt: run1, ExitCode: 1, Ran: 2 * time.Second}
	const notYet = "healthy, but not yet for 5 s"

	tests := []struct {
		name    string
		policy  Policy
		noProbe bool
		restart docker.RestartPolicy
		steps   []step
	}{
		{name: "healthy for long enough", steps: []step{
			{0, running(nil, ""), open("waiting for its healthcheck", 0)},
			{1 * time.Second, running(&yes, ""), open(notYet, 5*time.Second)},
			{5 * time.Second, running(&yes, ""), open(notYet, time.Second)},
			{6 * time.Second, running(&yes, ""), Verdict{Ready: true, Reason: "healthy"}},
			{7 * time.Second, exited, Verdict{Ready: true, Reason: "healthy"}},
		}},
		{name: "time alone is not health", steps: []step{
			{0, running(&yes, ""), open(notYet, 5*time.Second)},
			{9 * time.Second, running(nil, ""), open(notYet, 0)},
		}},
		{name: "one success is enough", policy: Policy{MinHealthy: -1}, steps: []step{
			{0, running(&yes, ""), Verdict{Ready: true, Reason: "healthy"}},
		}},
		{name: "a failure resets", steps: []step{
			{0, running(&yes, ""), open(notYet, 5*time.Second)},
			{4 * time.Second, running(&no, "exit 1: refused"), open("healthcheck exit 1: refused", 0)},
			{6 * time.Second, running(&yes, ""), open(notYet, 5*time.Second)},
			{10 * time.Second, running(&yes, ""), open(notYet, time.Second)},
			{11 * time.Second, running(&yes, ""), Verdict{Ready: true, Reason: "healthy"}},
		}},
		{name: "a restart resets", restart: docker.RestartPolicy{Name: "always"}, steps: []step{
			{0, running(&yes, ""), open(notYet, 5*time.Second)},
			{2 * time.Second, Sample{State: docker.StateRestarting, StartedAt: run1, RestartCount: 1, ExitCode: 1, Ran: 2 * time.Second}, open("exited with code 1 after 2 s, being restarted", 0)},
			{6 * time.Second, Sample{State: docker.StateRunning, StartedAt: run2, RestartCount: 1, ProbeOK: &yes}, open(notYet, 5*time.Second)},
		}},
		{name: "a restart that nobody counted resets", steps: []step{
			{0, running(&yes, ""), open(notYet, 5*time.Second)},
			{6 * time.Second, Sample{State: docker.StateRunning, StartedAt: run2, ProbeOK: &yes}, open(notYet, 5*time.Second)},
		}},
		{name: "a pause resets", steps: []step{
			{0, running(&yes, ""), open(notYet, 5*time.Second)},
			{1 * time.Second, Sample{State: docker.StatePaused, StartedAt: run1}, open("the container is paused", 0)},
			{6 * time.Second, running(&yes, ""), open(notYet, 5*time.Second)},
		}},
		{name: "exit without a restart policy", steps: []step{
			{0, running(&yes, ""), open(notYet, 5*time.Second)},
			{2 * time.Second, exited, failed("exited with code 1 after 2 s")},
			{3 * time.Second, running(&yes, ""), failed("exited with code 1 after 2 s")},
		}},
		{name: "a clean exit is one too", noProbe: true, restart: docker.RestartPolicy{Name: "on-failure"}, steps: []step{
			{0, Sample{State: docker.StateExited, StartedAt: run1, Ran: 300 * time.Millisecond}, failed("exited with code 0 after 300 ms")},
		}},
		{name: "out of memory", steps: []step{
			{0, Sample{State: docker.StateExited, StartedAt: run1, ExitCode: 137, OOMKilled: true}, failed("exited with code 137, killed because it ran out of memory")},
		}},
		{name: "exited, but the engine will restart it", restart: docker.RestartPolicy{Name: "unless-stopped"}, steps: []step{
			{0, exited, open("exited with code 1 after 2 s", 0)},
			{9 * time.Second, Sample{State: docker.StateRunning, StartedAt: run2}, open("waiting for its healthcheck", 0)},
			{11 * time.Second, Sample{State: docker.StateExited, StartedAt: run2, ExitCode: 1}, open("exited with code 1", 0)},
			{20 * time.Second, Sample{State: docker.StateRestarting, StartedAt: run2, ExitCode: 1}, open("exited with code 1, being restarted", 0)},
			{2 * time.Minute, Sample{State: docker.StateRestarting, StartedAt: run2, ExitCode: 1}, late("not healthy within 2 min: exited with code 1, being restarted")},
		}},
		{name: "exited, and the engine does not restart it", restart: docker.RestartPolicy{Name: "unless-stopped"}, steps: []step{
			{0, running(nil, ""), open("waiting for its healthcheck", 0)},
			{1 * time.Second, exited, open("exited with code 1 after 2 s", 0)},
			{10 * time.Second, exited, open("exited with code 1 after 2 s", 0)},
			{11 * time.Second, exited, Verdict{Failed: true, Abandoned: true, Reason: "exited with code 1 after 2 s, and the engine did not restart it"}},
		}},
		{name: "and there is less time", policy: Policy{Timeout: 8 * time.Second}, restart: docker.RestartPolicy{Name: "unless-stopped"}, steps: []step{
			{1 * time.Second, exited, open("exited with code 1 after 2 s", 0)},
			{4 * time.Second, exited, open("exited with code 1 after 2 s", 0)},
			{5 * time.Second, exited, Verdict{Failed: true, Abandoned: true, Reason: "exited with code 1 after 2 s, and the engine did not restart it"}},
		}},
		{name: "retries used up", restart: docker.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}, steps: []step{
			{0, Sample{State: docker.StateExited, StartedAt: run1, ExitCode: 1, RestartCount: 2}, failed("exited with code 1")},
		}},
		{name: "crash loop", restart: docker.RestartPolicy{Name: "always"}, steps: []step{
			{0, Sample{State: docker.StateRunning, StartedAt: run1, RestartCount: 7}, open("waiting for its healthcheck", 0)},
			{1 * time.Second, Sample{State: docker.StateRestarting, StartedAt: run1, RestartCount: 9, ExitCode: 3}, open("exited with code 3, being restarted", 0)},
			{2 * time.Second, Sample{State: docker.StateRunning, StartedAt: run2, RestartCount: 10}, failed("restarted 3 times, last exited with code 3")},
		}},
		{name: "no crash loop wanted", policy: Policy{MaxRestarts: -1}, restart: docker.RestartPolicy{Name: "always"}, steps: []step{
			{0, Sample{State: docker.StateRunning, StartedAt: run1}, open("waiting for its healthcheck", 0)},
			{1 * time.Second, Sample{State: docker.StateRunning, StartedAt: run2, RestartCount: 99}, open("waiting for its healthcheck", 0)},
		}},
		{name: "deadline", policy: Policy{Timeout: 10 * time.Second}, steps: []step{
			{0, running(&no, "exit 1: connection refused"), open("healthcheck exit 1: connection refused", 0)},
			{5 * time.Second, running(&no, "exit 1: connection refused"), open("healthcheck exit 1: connection refused", 0)},
			{10 * time.Second, running(nil, ""), late("not healthy within 10 s: healthcheck exit 1: connection refused (2 failed attempts)")},
		}},
		{name: "deadline while nearly ready", policy: Policy{Timeout: 10 * time.Second}, steps: []step{
			{6 * time.Second, running(&yes, ""), open(notYet, 5*time.Second)},
			{10 * time.Second, running(nil, ""), late("not healthy within 10 s: " + notYet)},
		}},
		{name: "ready in the last moment", policy: Policy{Timeout: 10 * time.Second}, steps: []step{
			{5 * time.Second, running(&yes, ""), open(notYet, 5*time.Second)},
			{10 * time.Second, running(&yes, ""), Verdict{Ready: true, Reason: "healthy"}},
		}},
		{name: "never started", policy: Policy{Timeout: time.Second}, steps: []step{
			{0, Sample{State: docker.StateCreated}, open("not started", 0)},
			{time.Second, Sample{State: docker.StateCreated}, late("not healthy within 1 s: not started")},
		}},
		{name: "could not be started", steps: []step{
			{0, Sample{State: docker.StateCreated, Error: "port is already allocated"}, failed("the engine could not start it: port is already allocated")},
		}},
		{name: "being removed", steps: []step{
			{0, Sample{State: docker.StateRemoving, StartedAt: run1}, failed("the container is being removed")},
		}},
		{name: "without a healthcheck", noProbe: true, steps: []step{
			{0, running(nil, ""), open("has no healthcheck, must run for 10 s", 10*time.Second)},
			{4 * time.Second, running(nil, ""), open("has no healthcheck, must run for 10 s", 6*time.Second)},
			{10 * time.Second, running(nil, ""), Verdict{Ready: true, Reason: "running for 10 s"}},
		}},
		{name: "without a healthcheck, restarted", noProbe: true, restart: docker.RestartPolicy{Name: "always"}, steps: []step{
			{0, running(nil, ""), open("has no healthcheck, must run for 10 s", 10*time.Second)},
			{9 * time.Second, Sample{State: docker.StateRunning, StartedAt: run2, RestartCount: 1}, open("has no healthcheck, must run for 10 s", 10*time.Second)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := NewTracker(tt.policy, !tt.noProbe, tt.restart, began)
			for i, s := range tt.steps {
				if got := tr.Observe(began.Add(s.at), s.s); got != s.want {
					t.Fatalf("step %d: %+v\nwant %+v", i, got, s.want)
				}
			}
		})
	}
}
