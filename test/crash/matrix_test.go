// SPDX-License-Identifier: Apache-2.0

//go:build crash

package crash

import (
	"testing"
)

// TestCrashAtEveryStep ends the daemon before each step, after it, and after it
// with its result not written. The next daemon finishes or goes back.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	for _, step := range []string{"Preflight", "Backup", "Fetch", "Build", "Rollout", "Verify", "CleanUp"} {
		for _, point := range everyPoint {
			l.crash(t, good, step, point)
		}
	}
	l.crash(t, good, "Summarize", "before")
	l.crash(t, good, "Summarize", "after-lost")
}

// TestCrashWhileGoingBack does the same with a commit that fails in its rollout.
func TestCrashWhileGoingBack(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	l.crash(t, bad, "Rollout", "after-lost")
	l.crash(t, bad, "Rollout", "after")
	for _, point := range everyPoint {
		l.crash(t, bad, "Rollback", point)
	}
	l.crash(t, bad, "Summarize", "before")
}

var everyPoint = []string{"before", "after-lost", "after"}

// crash is one update with one crash.
func (l *lane) crash(t *testing.T, q quality, step, point string) {
	t.Helper()
	if !t.Run(step+"/"+point, func(t *testing.T) {
		d := l.daemon.For(t)
		l.arm(t, step+":"+point)
		u := l.begin(t, d, q)
		u.fired(t, d)
		u.settled(t, u.revive(t, d))
	}) {
		t.FailNow() // what comes after it says nothing
	}
}
