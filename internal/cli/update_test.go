// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// pending waits for the request of a command and for its watches: that of the
// progress and that of the log's follower.
func (w *world) pending(watches int) *v1alpha1.UpdateRequest {
	ur := <-w.created
	for range watches {
		<-w.watched
	}
	return ur
}

func building(w *world) func(*v1alpha1.UpdateRequestStatus) {
	return func(st *v1alpha1.UpdateRequestStatus) {
		st.Phase, st.Step, st.Commit, st.LogFile = v1alpha1.PhaseBuilding, v1alpha1.StepBuild, newSHA, w.logPath()
		st.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepBuild, State: v1alpha1.StepRunning, Attempt: 1, StartedAt: &metav1.Time{Time: testTime}}}
	}
}

func ending(phase v1alpha1.Phase) func(*v1alpha1.UpdateRequestStatus) {
	return func(st *v1alpha1.UpdateRequestStatus) {
		st.Phase, st.Duration, st.Message = phase, "12s", "the message"
	}
}

func TestUpdateToTheEnd(t *testing.T) {
	for phase, code := range map[v1alpha1.Phase]int{
		v1alpha1.PhaseSucceeded: ExitOK, v1alpha1.PhaseFailed: ExitFailed,
		v1alpha1.PhaseRolledBack: ExitRolledBack, v1alpha1.PhaseCancelled: ExitCancelled,
	} {
		t.Run(string(phase), func(t *testing.T) {
			w := newWorld(t)
			result := w.start(t.Context(), "update", "shop", "main", "--retry")
			ur := w.pending(2)
			if !strings.HasPrefix(ur.Name, "shop-") || ur.Spec.ApplicationRef.Name != "shop" || ur.Spec.Commit != "main" || !ur.Spec.Retry || ur.Spec.Force {
				t.Errorf("created %+v", ur)
			}
			l := w.log("web: Step 3/5")
			w.set(ur, building(w))
			w.eventually("Build       | web: Step 3/5")
			if err := l.Summary(updatelog.Summary{Result: string(phase)}); err != nil {
				t.Fatal(err)
			}
			w.set(ur, ending(phase))
			err := <-result
			exits(t, err, code)
			if err != nil && err.Error() != "" {
				t.Errorf("said twice: %v", err)
			}
			w.says("Created update request "+ur.Name, "Build       started", w.logPath(), "12s")
			if strings.Contains(w.stdout(), "\x1b") {
				t.Errorf("escape sequences without a terminal: %q", w.stdout())
			}
		})
	}
}

func TestUpdateOnATerminal(t *testing.T) {
	w := newWorld(t)
	w.width = 80
	result := w.start(t.Context(), "update", "shop")
	ur := w.pending(2)
	w.log("web: Step 3/5")
	w.set(ur, building(w))
	w.eventually("web: Step 3/5")
	w.set(ur, ending(v1alpha1.PhaseSucceeded))
	exits(t, <-result, ExitOK)
	w.says(hideCursor, showCursor, "\x1b[2A", "updated to abc1234")
	last := w.stdout()[strings.LastIndex(w.stdout(), "\x1b[?25l"):]
	if strings.Contains(last, "Step 3/5") {
		t.Errorf("the log stays on the screen: %q", last)
	}
}

func TestUpdateOverARestartOfTheDaemon(t *testing.T) {
	w := newWorld(t)
	result := w.start(t.Context(), "update", "shop")
	ur := w.pending(2)
	l := w.log("one")
	w.set(ur, building(w))
	w.eventually("| one")
	w.setDown(&url.Error{Op: "Get", URL: "https://x", Err: syscall.ECONNREFUSED})
	w.eventually("Connection  lost, trying again: connection refused")
	l.Printf("Build", "two") // meanwhile
	w.setDown(nil)
	w.eventually("Connection  is back")
	w.eventually("| two")
	l.Printf("CleanUp", "three")
	if err := l.Summary(updatelog.Summary{Result: "Succeeded"}); err != nil {
		t.Fatal(err)
	}
	w.set(ur, ending(v1alpha1.PhaseSucceeded))
	exits(t, <-result, ExitOK)
	for _, line := range []string{"| one\n", "| two\n", "| three\n"} {
		if n := strings.Count(w.stdout(), line); n != 1 {
			t.Errorf("%q is there %d times:\n%s", line, n, w.stdout())
		}
	}
}

// What the clean-up could not remove after the request had succeeded is told without a log, too.
func TestUpdateWaitsForTheCleanUp(t *testing.T) {
	for name, watches := range map[string]int{"--no-log": 1, "--timeout=1m": 2} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			result := w.start(t.Context(), "update", "shop", name)
			ur := w.pending(watches)
			ur.Finalizers = []string{"fairlead.dev/work"}
			if err := w.client.Update(t.Context(), ur); err != nil {
				t.Fatal(err)
			}
			step := func(message string) func(*v1alpha1.UpdateRequestStatus) {
				return func(st *v1alpha1.UpdateRequestStatus) {
					ending(v1alpha1.PhaseSucceeded)(st)
					st.CleanUpPending = message == ""
					st.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepCleanUp, State: v1alpha1.StepSucceeded, Attempt: 1, Message: message}}
				}
			}
			w.set(ur, step(""))
			w.eventually("CleanUp     ")
			select {
			case err := <-result:
				t.Fatalf("it ended before: %v", err)
			default:
			}
			w.set(ur, step("not everything could be cleaned up"))
			exits(t, <-result, ExitOK)
			w.says("CleanUp     not everything could be cleaned up")
		})
	}
}

func TestUpdateNotSeenToTheEnd(t *testing.T) {
	t.Run("Ctrl-C", func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		result := w.start(ctx, "update", "shop", "--no-log", "-n", "default")
		ur := w.pending(1)
		cancel()
		exits(t, <-result, ExitUnknown, "stopped watching", "goes on", "fairlead cancel "+ur.Name, "fairlead status ur/"+ur.Name+" --watch")
		var now v1alpha1.UpdateRequest
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(ur), &now); err != nil || now.Spec.Cancel {
			t.Errorf("the request was touched: %v %+v", err, now.Spec)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		w := newWorld(t)
		exits(t, w.run(t.Context(), "update", "shop", "--timeout", "10ms"), ExitUnknown, "not finished within 10ms", "goes on")
	})
	t.Run("deleted", func(t *testing.T) {
		w := newWorld(t)
		result := w.start(t.Context(), "update", "shop")
		ur := w.pending(2)
		if err := w.client.Delete(t.Context(), ur); err != nil {
			t.Fatal(err)
		}
		exits(t, <-result, ExitUnknown, "was deleted")
	})
	t.Run("without waiting", func(t *testing.T) {
		w := newWorld(t)
		exits(t, w.run(t.Context(), "update", "shop", "--wait=false", "--name", "mine", "-o", "name"), ExitOK)
		if got := w.stdout(); got != "updaterequest.fairlead.dev/mine\n" {
			t.Errorf("stdout %q", got)
		}
		exits(t, w.run(t.Context(), "update", "shop", "--wait=false", "--name", "mine"), ExitFailed, "already", "--name")
	})
}

func TestDryRunPrintsThePlan(t *testing.T) {
	w := newWorld(t)
	result := w.start(t.Context(), "update", "shop", "--dry-run", "--no-log")
	ur := w.pending(1)
	if !ur.Spec.DryRun {
		t.Error("not a dry run")
	}
	w.set(ur, func(st *v1alpha1.UpdateRequestStatus) {
		st.Phase = v1alpha1.PhaseSucceeded
		st.Plan = &v1alpha1.UpdatePlan{Services: []v1alpha1.ServicePlan{{Name: "web", Action: v1alpha1.ActionReplace, Reason: "image changed"}}}
	})
	exits(t, <-result, ExitOK)
	w.says("nothing was changed", "SERVICE", "image changed")
}

func TestUpdatePrintsTheObject(t *testing.T) {
	w := newWorld(t)
	result := w.start(t.Context(), "update", "shop", "-o", "json", "--no-log")
	w.set(w.pending(1), ending(v1alpha1.PhaseFailed))
	exits(t, <-result, ExitFailed)
	var ur v1alpha1.UpdateRequest
	if err := json.Unmarshal([]byte(w.stdout()), &ur); err != nil || ur.Status.Phase != v1alpha1.PhaseFailed || ur.Kind != "UpdateRequest" {
		t.Errorf("stdout is not the object: %v\n%s", err, w.stdout())
	}
}

func TestUpdateTellsWhyItWaits(t *testing.T) {
	w := newWorld(t)
	var shop v1alpha1.Application
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "shop"}, &shop); err != nil {
		t.Fatal(err)
	}
	shop.Status.ActiveRequest = "shop-1"
	if err := w.client.Status().Update(t.Context(), &shop); err != nil {
		t.Fatal(err)
	}
	exits(t, w.run(t.Context(), "update", "shop", "--wait=false"), ExitOK)
	w.says("being updated by shop-1")
}

func release(number int64, state, backup string) v1alpha1.Release {
	r := v1alpha1.Release{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop-" + string(rune('0'+number))}}
	r.Spec.ApplicationRef.Name, r.Spec.Number, r.Spec.Commit, r.Spec.Subject = "shop", number, oldSHA, "A subject"
	r.Status.State, r.Status.Backup = state, backup
	return r
}

func TestChooseRelease(t *testing.T) {
	all := []v1alpha1.Release{release(8, v1alpha1.ReleasePrevious, ""), release(7, v1alpha1.ReleaseCurrent, ""),
		release(6, v1alpha1.ReleaseExpired, ""), release(5, v1alpha1.ReleasePrevious, ""), release(4, v1alpha1.ReleasePrevious, "")}
	for wanted, want := range map[string]string{"": "shop-5", "8": "shop-8", "#4": "shop-4", "shop-7": "shop-7", "release/shop-5": "shop-5"} {
		to, current, err := chooseRelease("shop", all, wanted)
		if err != nil || to.Name != want || current.Name != "shop-7" {
			t.Errorf("%q: %v, %v", wanted, to, err)
		}
	}
	for wanted, says := range map[string]string{"6": "images are gone", "9": "no release", "shop": "no release"} {
		if _, _, err := chooseRelease("shop", all, wanted); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", wanted, err)
		}
	}
	if _, _, err := chooseRelease("shop", nil, ""); err == nil {
		t.Error("went back to nothing")
	}
	if _, _, err := chooseRelease("shop", all[:2], ""); err == nil {
		t.Error("went forward to release 8")
	}
}

func TestRollback(t *testing.T) {
	current, previous := release(7, v1alpha1.ReleaseCurrent, ""), release(5, v1alpha1.ReleasePrevious, "backup_20260303_010203")
	w := newWorld(t, &current, &previous)
	result := w.start(t.Context(), "rollback", "shop", "--no-log")
	ur := w.pending(1)
	if ur.Spec.RollbackTo == nil || ur.Spec.RollbackTo.Name != "shop-5" || ur.Spec.Commit != "" {
		t.Errorf("created %+v", ur.Spec)
	}
	w.set(ur, ending(v1alpha1.PhaseSucceeded))
	exits(t, <-result, ExitOK)
	w.says("from release shop-7 (0123456 A subject) to release shop-5", "Data is not restored", "backup_20260303_010203", "rolled back to release shop-5")
}

func TestCancel(t *testing.T) {
	ended := func(phase v1alpha1.Phase) func(*v1alpha1.UpdateRequest) {
		return func(ur *v1alpha1.UpdateRequest) { ur.Status.Phase = phase }
	}
	w := newWorld(t, request("runs", ended(v1alpha1.PhaseBuilding)), request("done", ended(v1alpha1.PhaseSucceeded)), request("gone", ended(v1alpha1.PhaseCancelled)))
	exits(t, w.run(t.Context(), "cancel", "gone"), ExitOK)
	exits(t, w.run(t.Context(), "cancel", "done"), ExitFailed, "ended already: Succeeded")
	exits(t, w.run(t.Context(), "cancel", "none"), ExitFailed, "no update request")
	result := w.start(t.Context(), "cancel", "ur/runs", "--wait", "--no-log")
	<-w.watched
	var ur v1alpha1.UpdateRequest
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "runs"}, &ur); err != nil || !ur.Spec.Cancel {
		t.Errorf("not cancelled: %v", err)
	}
	w.set(&ur, ending(v1alpha1.PhaseCancelled))
	exits(t, <-result, ExitOK)
}

func TestConnectionGivenUp(t *testing.T) {
	now := testTime
	a := &app{Options: Options{Now: func() time.Time { return now }, Out: io.Discard, Err: io.Discard}}
	p := progress{app: a, session: &session{namespace: "prod"}, last: request("shop-1", nil), view: &plainView{out: io.Discard, now: a.Now}}
	refused := &url.Error{Op: "Get", URL: "https://x", Err: syscall.ECONNREFUSED}
	if err := p.lost(refused); err != nil {
		t.Fatal(err)
	}
	now = now.Add(patience - time.Second)
	if err := p.lost(refused); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	exits(t, p.lost(refused), ExitUnknown, "cannot reach the API server", "Gave up after 5m", "fairlead cancel shop-1 -n prod")
}
