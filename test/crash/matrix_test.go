// SPDX-License-Identifier: Apache-2.0

//go:build crash

package crash

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
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
	for _, step := range []string{"Rollout", "Verify"} {
		l.cancelled(t, step)
	}
}

// cancelled is one update that is cancelled when a step has done its work, and whose
// daemon is killed before it has heard of either. The next one undoes it.
func (l *lane) cancelled(t *testing.T, step string) {
	t.Helper()
	if !t.Run(step+"/cancelled", func(t *testing.T) {
		d := l.daemon.For(t)
		l.arm(t, step+":held")
		u := l.begin(t, d, unwanted)
		u.fired(t, d)
		ur := d.WaitRequest(u.name, "in the step", func(ur *v1alpha1.UpdateRequest) bool { return string(ur.Status.Step) == step })
		if err := d.Client.Patch(t.Context(), ur, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"cancel":true}}`))); err != nil {
			t.Fatal(err)
		}
		u.settled(t, u.revive(t, d))
	}) {
		t.FailNow() // what comes after it says nothing
	}
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
