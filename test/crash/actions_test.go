// SPDX-License-Identifier: Apache-2.0

//go:build crash

package crash

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/requestwatch"
	"github.com/fairlead-dev/fairlead/test/crash/engineproxy"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// enough is more changes on the engine than any of these updates makes.
const enough = 60

// TestCrashAfterEveryAction ends the daemon when the engine has carried out the
// first change to a container, the second, and so on, before the daemon is
// told, until an update ends without having come so far.
func TestCrashAfterEveryAction(t *testing.T) {
	t.Parallel()
	// Two lanes, as it is the longest of all.
	for i, name := range []string{"odd", "even"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newLane(t).crashAfterActions(t, good, 1+i, 2)
		})
	}
}

// TestCrashAfterEveryActionGoingBack does the same with a commit that fails,
// from the last change of its rollout on; those before are as in a good one.
func TestCrashAfterEveryActionGoingBack(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	l.proxy.OnAction(nil)
	u := l.begin(t, l.daemon, bad)
	l.daemon.WaitPhase(u.name, v1alpha1.PhaseRollingBack)
	first := len(l.proxy.Actions())
	u.settled(t, l.daemon.WaitEnded(u.name))
	l.crashAfterActions(t, bad, max(1, first-2), 1)
}

// crashAfterActions begins with the action first and goes on with each that is by
// further ones later.
func (l *lane) crashAfterActions(t *testing.T, q quality, first, by int) {
	for n, over := first, false; !over; n += by {
		if n > enough {
			t.Fatalf("an update makes more than %d changes to containers: %v", enough, l.proxy.Actions())
		}
		if !t.Run(fmt.Sprint(n), func(t *testing.T) {
			d := l.daemon.For(t)
			hit := make(chan string, 1)
			l.proxy.OnAction(func(a engineproxy.Action) {
				if a.Number == n {
					if err := l.kill(d); err != nil {
						t.Errorf("kill the daemon: %v", err)
					}
					hit <- a.Name
				}
			})
			defer l.proxy.OnAction(nil)
			u := l.begin(t, d, q)
			if over = !u.until(t, d, func() bool { return len(hit) > 0 }); over {
				u.settled(t, d.WaitEnded(u.name))
				return
			}
			t.Logf("ended after: %s", <-hit)
			l.proxy.OnAction(nil)
			u.settled(t, u.revive(t, d))
		}) {
			t.FailNow() // what comes after it says nothing
		}
	}
}

// TestCrashWhileRecordingWhatRan ends the daemon when it has recorded as a
// release what ran before it knew the application, and not yet that this
// release is the current one. The next daemon must still be able to go back.
func TestCrashWhileRecordingWhatRan(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	// The daemon's data are lost, the application runs on.
	for _, r := range l.daemon.Releases(appName) {
		if err := l.daemon.Client.Delete(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
	}
	l.arm(t, "Release:after")
	u := l.begin(t, l.daemon, bad)
	u.fired(t, l.daemon)
	u.settled(t, u.revive(t, l.daemon))
}

// TestLostConnection cuts the daemon's connection to the engine in the middle
// of a change and keeps it cut for a while. The engine itself goes on.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	d := l.daemon
	l.proxy.OnAction(nil)
	u := l.begin(t, d, good)
	u.settled(t, d.WaitEnded(u.name))
	actions := l.proxy.Actions()
	if len(actions) < 8 {
		t.Fatalf("an update made the changes %v only", actions)
	}
	for n := 1; n <= len(actions); n += 6 {
		if !t.Run(fmt.Sprint(n, " ", actions[n-1].Name), func(t *testing.T) {
			l.cut(t, l.daemon.For(t), good, func(_ string, cut func()) {
				l.proxy.OnAction(func(a engineproxy.Action) {
					if a.Number == n {
						cut()
					}
				})
			})
		}) {
			t.FailNow() // what comes after it says nothing
		}
	}
	// In the middle of what a step is told, or begins with.
	for _, at := range []struct {
		step    v1alpha1.StepName
		quality quality
		path    string // a part of that of the request
	}{
		{v1alpha1.StepBackup, good, "/archive"},
		{v1alpha1.StepBuild, good, "/session"},
		{v1alpha1.StepVerify, good, ""},
		{v1alpha1.StepRollback, bad, ""},
	} {
		if !t.Run(string(at.step), func(t *testing.T) {
			d := l.daemon.For(t)
			l.cut(t, d, at.quality, func(request string, cut func()) {
				l.proxy.OnAnswer(func(r *http.Request) {
					var ur v1alpha1.UpdateRequest
					if strings.Contains(r.URL.Path, at.path) && d.Client.Get(t.Context(), keyOf(d, request), &ur) == nil && ur.Status.Step == at.step {
						cut()
					}
				})
			})
		}) {
			t.FailNow()
		}
	}
}

// cut breaks the connection when what arm puts in place says so; arm is told the name of the request
// before there is one.
func (l *lane) cut(t *testing.T, d *harness.Daemon, q quality, arm func(request string, cut func())) {
	cut := make(chan struct{})
	var once sync.Once
	defer l.proxy.OnAction(nil)
	defer l.proxy.OnAnswer(nil)
	arm(fmt.Sprintf("to-%d", l.number+1), func() {
		once.Do(func() {
			l.proxy.Cut()
			close(cut)
		})
	})
	u := l.begin(t, d, q)
	u.attempts = 4 // each attempt within the break counts
	if !u.until(t, d, func() bool {
		select {
		case <-cut:
			return true
		default:
			return false
		}
	}) {
		t.Fatal("the update ended before the connection was cut")
	}
	// The break lasts until the daemon has noticed it and waits.
	noticed := disturbed(d.WaitRequest(u.name, "the lost connection to be noticed", func(ur *v1alpha1.UpdateRequest) bool {
		return disturbed(ur) || requestwatch.Concluded(ur)
	}))
	if err := l.proxy.Restore(); err != nil {
		t.Fatal(err)
	}
	if !noticed {
		// A clean-up is not tried again: it never fails an update. The next one
		// removes what it left.
		ur := d.WantEnd(u.name, v1alpha1.PhaseSucceeded)
		if s := harness.Step(ur, v1alpha1.StepCleanUp); s.Message == "" {
			t.Fatalf("nobody noticed that the connection was cut: %+v", ur.Status.Steps)
		}
		l.proxy.OnAction(nil)
		u = l.begin(t, d, good)
	}
	l.proxy.OnAnswer(nil)
	u.settled(t, d.WaitEnded(u.name))
}
