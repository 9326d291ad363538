// SPDX-License-Identifier: Apache-2.0

//go:build crash

package crash

import (
	"strings"
	"testing"
)

// TestCrashAtEveryStep ends the daemon before each step, after it, and after it
// with its result not written. The next daemon finishes or goes back. The steps
// that touch nothing of what runs are met in one update, by a daemon after the other.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	for _, point := range everyPoint {
		l.crash(t, good, point, "Backup")
		l.crash(t, good, point, "Rollout")
		others := []string{"Preflight", "Fetch", "Build", "Verify", "CleanUp", "Summarize"}
		if point == "after" { // then nothing is left to do
			others = others[:len(others)-1]
		}
		l.crash(t, good, point, others...)
	}
}

// TestCrashWhileGoingBack does the same with a commit that fails in its rollout.
func TestCrashWhileGoingBack(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	l.crash(t, bad, "after-lost", "Rollout")
	l.crash(t, bad, "after", "Rollout")
	for _, point := range everyPoint {
		l.crash(t, bad, point, "Rollback")
	}
	l.crash(t, bad, "before", "Summarize")
}

var everyPoint = []string{"before", "after-lost", "after"}

// crash is one update with a crash at a point of each of the steps.
func (l *lane) crash(t *testing.T, q quality, point string, steps ...string) {
	t.Helper()
	if !t.Run(point+"/"+strings.Join(steps, "+"), func(t *testing.T) {
		d := l.daemon.For(t)
		l.arm(t, steps[0]+":"+point)
		u := l.begin(t, d, q)
		u.fired(t, d)
		for _, step := range steps[1:] {
			d.Kill9() // it is dead: this collects it
			l.arm(t, step+":"+point)
			d.Restart()
			u.fired(t, d)
		}
		u.settled(t, u.revive(t, d))
	}) {
		t.FailNow() // what comes after it says nothing
	}
}
