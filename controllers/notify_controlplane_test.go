// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/notify"
)

// receivers are webhook servers, by path, that keep what they were told.
type receivers struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	told    map[string][]string // by receiver: delivery and status
	refuse  map[string]int      // how often the receiver still refuses
	changed chan struct{}
	hang    chan struct{} // closed at the end; "dead" never answers before
}

func newReceivers(t *testing.T) *receivers {
	t.Helper()
	r := &receivers{t: t, told: map[string][]string{}, refuse: map[string]int{}, changed: make(chan struct{}), hang: make(chan struct{})}
	server := httptest.NewServer(r)
	r.url = server.URL
	t.Cleanup(func() { close(r.hang); server.Close() })
	return r
}

func (r *receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name := strings.Trim(req.URL.Path, "/")
	body, _ := io.ReadAll(req.Body)
	if name == "dead" {
		select {
		case <-r.hang:
		case <-req.Context().Done():
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse[name] > 0 {
		r.refuse[name]--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, status, _ := strings.Cut(string(body), `"status":`)
	r.told[name] = append(r.told[name], req.Header.Get("X-Fairlead-Request")+" "+strings.Trim(status, `"}`))
	close(r.changed)
	r.changed = make(chan struct{})
}

// want waits until a receiver was told so many things, and checks them.
func (r *receivers) want(name string, want ...string) {
	r.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		got, changed := slices.Clone(r.told[name]), r.changed
		r.mu.Unlock()
		if len(got) >= len(want) {
			if !slices.Equal(got, want) {
				r.t.Errorf("%s was told %q, want %q", name, got, want)
			}
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			r.t.Fatalf("%s was told %q in %s, want %q", name, got, patience, want)
		}
	}
}

// notifications as JSON for a patch, each with a webhook named as it is.
func (r *receivers) notifications(names ...string) string {
	var list []string
	for _, n := range names {
		list = append(list, fmt.Sprintf(`{"name":%q,"webhook":{"url":"%s/%s"}}`, n, r.url, n))
	}
	return `{"spec":{"notifications":[` + strings.Join(list, ",") + `]}}`
}

func newTellingWorld(t *testing.T, r *receivers, names ...string) *world {
	t.Helper()
	// A dead receiver must not hold up the test itself.
	w := newWorld(t, func(w *world) { w.sender = &notify.Sender{Timeout: 300 * time.Millisecond} })
	w.patch(&v1alpha1.Application{}, "shop", r.notifications(names...))
	w.awaitApp("shop", "with its receivers", func(a *v1alpha1.Application) bool { return len(a.Spec.Notifications) == len(names) })
	return w
}

// ledger waits until the ledger of a receiver is as wanted.
func (w *world) ledger(request, receiver, want string) {
	w.t.Helper()
	w.await(request, receiver+" was told "+want, func(ur *v1alpha1.UpdateRequest) bool {
		told, ok := ur.Annotations[notify.AnnotationOf(receiver)]
		return ok && told == want
	})
}

// Each receiver is told each event once and in order, one that refuses after it has
// come to its senses, and a dead one delays neither them nor the update. A restart
// repeats nothing.
func TestNotifications(t *testing.T) {
	t.Parallel()
	r := newReceivers(t)
	r.refuse["moody"] = 2
	w := newTellingWorld(t, r, "chat", "moody", "dead")
	w.steps.on("bad", v1alpha1.StepVerify, fails(v1alpha1.ReasonVerifyFailed, "it is broken"))
	w.steps.on("unsaved", v1alpha1.StepBackup, fails(v1alpha1.ReasonBackupFailed, "the disk is full"))
	w.request("good")
	w.awaitEnd("good", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.request("bad", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "beef" })
	w.awaitEnd("bad", v1alpha1.PhaseRolledBack, v1alpha1.ReasonVerifyFailed)
	w.request("unsaved", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "cafe" })
	w.awaitEnd("unsaved", v1alpha1.PhaseFailed, v1alpha1.ReasonBackupFailed)
	w.request("dry", func(ur *v1alpha1.UpdateRequest) { ur.Spec.DryRun = true })
	w.awaitPhase("dry", v1alpha1.PhaseSucceeded)
	w.steps.on("same", v1alpha1.StepPreflight, nothingToDo)
	w.request("same", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "dead" })
	w.awaitEnd("same", v1alpha1.PhaseSucceeded, v1alpha1.ReasonUnchanged)

	r.want("chat", "good started", "good success", "bad started", "bad rollback", "unsaved started", "unsaved backup_failure")
	for request, told := range map[string]string{"good": "Started,Succeeded", "bad": "Started,RolledBack", "unsaved": "Started,BackupFailed"} {
		w.ledger(request, "chat", told)
		w.ledger(request, "moody", told)
		w.ledger(request, "dead", "")
	}
	w.until("an Event of the dead receiver", func() bool { return slices.Contains(w.events["shop"], "Warning NotificationFailed") })

	before := len(r.told["chat"])
	w.stop()
	w.start()
	w.request("next", func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = "f00d" })
	w.ledger("next", "chat", "Started,Succeeded")
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := r.told["chat"][before:]; !slices.Equal(got, []string{"next started", "next success"}) {
		t.Errorf("after a restart chat was told %q", got)
	}
	if got := len(r.told["moody"]); got < 6 || got > 8 {
		t.Errorf("moody was told %q", r.told["moody"])
	}
}

// What a dead daemon could not tell, the next one does; old history is told nobody.
func TestNotificationsAfterARestart(t *testing.T) {
	t.Parallel()
	r := newReceivers(t)
	r.refuse["chat"] = 1 << 30
	w := newTellingWorld(t, r, "chat")
	w.request("one")
	w.awaitEnd("one", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.ledger("one", "chat", "")
	w.stop()
	old := w.newRequest("old")
	must(t, w.direct.Create(t.Context(), old))
	long := metav1.NewTime(time.Now().Add(-3 * time.Hour))
	old.Status = v1alpha1.UpdateRequestStatus{
		Phase: v1alpha1.PhaseFailed, Message: "it failed long ago", StartedAt: &long, FinishedAt: &long,
		Steps: []v1alpha1.StepStatus{{Name: v1alpha1.StepBackup, State: v1alpha1.StepSucceeded, StartedAt: &long, FinishedAt: &long}},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionFalse, Reason: "X", Message: "x", LastTransitionTime: long, ObservedGeneration: 1},
			{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionFalse, Reason: "X", Message: "x", LastTransitionTime: long, ObservedGeneration: 1},
		},
	}
	must(t, w.direct.Status().Update(t.Context(), old))
	r.mu.Lock()
	r.refuse["chat"] = 0
	r.mu.Unlock()
	w.start()
	r.want("chat", "one started", "one success")
	w.ledger("one", "chat", "Started,Succeeded")
	var ur v1alpha1.UpdateRequest
	must(t, w.direct.Get(t.Context(), client.ObjectKeyFromObject(old), &ur))
	if told, ok := ur.Annotations[notify.AnnotationOf("chat")]; ok {
		t.Errorf("history is told: %s", told)
	}
}

// failingSender refuses everything.
type failingSender struct {
	mu    sync.Mutex
	tries int
}

func (f *failingSender) Send(context.Context, *v1alpha1.Notification, v1alpha1.NotificationEvent, *v1alpha1.UpdateRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tries++
	return errors.New("nobody is there")
}

// After an hour a receiver is given up for an event, which an Event tells.
func TestNotificationIsGivenUp(t *testing.T) {
	t.Parallel()
	clock := testingclock.NewFakePassiveClock(time.Now())
	sender := &failingSender{}
	w := newWorld(t, func(w *world) { w.sender, w.clock = sender, clock })
	r := &receivers{url: "http://127.0.0.1:1"}
	w.patch(&v1alpha1.Application{}, "shop", r.notifications("chat"))
	w.awaitApp("shop", "with its receiver", func(a *v1alpha1.Application) bool { return len(a.Spec.Notifications) == 1 })
	w.request("one")
	w.awaitEnd("one", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	w.until("an Event of the first failure", func() bool { return slices.Contains(w.events["shop"], "Warning NotificationFailed") })
	clock.SetTime(clock.Now().Add(2 * time.Hour))
	w.ledger("one", "chat", "!Started,!Succeeded")
	w.until("an Event of the end", func() bool { return slices.Contains(w.events["shop"], "Warning NotificationGivenUp") })
}
