// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/github"
	ghclient "github.com/fairlead-dev/fairlead/internal/github/client"
	"github.com/fairlead-dev/fairlead/internal/github/githubtest"
	"github.com/fairlead-dev/fairlead/internal/github/report"
)

// hub is a world whose Application "shop" reports to a fake of GitHub.
type hub struct {
	*world
	fake *githubtest.Fake
	repo *githubtest.Repo
}

// apiSecrets reads Secrets of the test's API server.
type apiSecrets struct{ reader client.Reader }

func (s apiSecrets) Secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	var secret corev1.Secret
	err := s.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret)
	return secret.Data, err
}

func newHub(t *testing.T, now clock.PassiveClock) *hub {
	t.Helper()
	h := &hub{fake: githubtest.New("/api/v3/")}
	h.fake.Permit("good", true)
	h.repo = h.fake.Repo("acme/shop", true)
	for _, c := range []string{"aaaa", "c0de", "c1de", "c2de", "fffe"} {
		h.repo.Push("heads/main", githubtest.Commit{SHA: sha(c), Message: c})
	}
	h.world = newWorld(t, func(w *world) {
		w.also = func(mgr ctrl.Manager) error {
			origin := func(context.Context, string) (string, error) { return "", errors.New("no clone here") }
			r := &controllers.GitHubReportReconciler{
				Client: mgr.GetClient(), Events: mgr.GetEventRecorder("fairlead"), Clock: now,
				// As a daemon that has just started: nothing is remembered.
				GitHub:    github.NewResolver(apiSecrets{w.direct}, origin, ghclient.NewPool(ghclient.Options{Transport: h.fake})),
				TargetURL: func(ur types.NamespacedName) string { return "https://fairlead.example.com/" + ur.Name },
			}
			return r.SetupWithManager(mgr)
		}
	})
	secret := &corev1.Secret{Data: map[string][]byte{"token": []byte("good")}}
	secret.Namespace, secret.Name = h.ns, "gh"
	must(t, h.direct.Create(t.Context(), secret))
	h.patch(&v1alpha1.Application{}, "shop", `{"spec":{"github":{"owner":"acme","repository":"shop","apiURL":"https://github.example.com/api/v3/",
		"secretRef":{"name":"gh"},"commitStatuses":true,"environment":"production"}}}`)
	return h
}

// told waits until something becomes true of what GitHub was told.
func (h *hub) told(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		changed := h.fake.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			h.t.Fatalf("GitHub was not told: %s\nstatuses of c0de: %+v\ndeployments: %+v\ncalls: %+v", what, h.repo.Statuses(sha("c0de")), h.repo.Deployments(), h.fake.Calls())
		}
	}
}

func (h *hub) states(commit string) []string {
	var out []string
	for _, s := range h.repo.Statuses(sha(commit)) {
		out = append(out, s.State)
	}
	return out
}

// deployments as "COMMIT state state".
func (h *hub) deployments() []string {
	var out []string
	for _, d := range h.repo.Deployments() {
		line := d.SHA[:4]
		for _, s := range d.Statuses {
			line += " " + s.State
		}
		out = append(out, line)
	}
	return out
}

func (h *hub) wants(commit string, states, deployments []string) {
	h.t.Helper()
	h.told(commit+" "+strings.Join(states, " ")+"; "+strings.Join(deployments, ", "), func() bool {
		return slices.Equal(h.states(commit), states) && slices.Equal(h.deployments(), deployments)
	})
}

func commit(sha string) func(*v1alpha1.UpdateRequest) {
	return func(ur *v1alpha1.UpdateRequest) { ur.Spec.Commit = sha }
}

func TestGitHubIsTold(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	g := h.steps.hold("one", v1alpha1.StepBuild)
	h.request("one")
	g.await(t)
	h.wants("c0de", []string{"pending"}, []string{"c0de in_progress"})
	g.release()
	h.wants("c0de", []string{"pending", "success"}, []string{"c0de in_progress success"})
	last := h.repo.Statuses(sha("c0de"))[1]
	if last.Context != "fairlead/"+h.ns+"/shop" || !strings.HasPrefix(last.Description, "runs, updated in ") || last.URL != "https://fairlead.example.com/one" {
		t.Errorf("the status is %+v", last)
	}
	h.await("one", "annotated", func(ur *v1alpha1.UpdateRequest) bool {
		r := report.RecordOf(ur)
		return r.Status == "success" && r.DeploymentStatus == "success" && r.Deployment == h.repo.Deployments()[0].ID
	})

	h.request("two", commit("c1de"))
	h.told("two", func() bool {
		return len(h.states("c1de")) > 0 && h.states("c1de")[len(h.states("c1de"))-1] == "success"
	})
	h.told("one is not active any more", func() bool { return h.repo.Deployments()[0].State() == "inactive" })

	calls := len(h.fake.Calls())
	h.request("dry", func(ur *v1alpha1.UpdateRequest) { ur.Spec.DryRun = true })
	h.awaitEnd("dry", v1alpha1.PhaseSucceeded, v1alpha1.ReasonDryRun)
	h.steps.on("nothing", v1alpha1.StepPreflight, nothingToDo)
	h.request("nothing", commit("aaaa"))
	h.awaitEnd("nothing", v1alpha1.PhaseSucceeded, v1alpha1.ReasonUnchanged)
	// One that is told after them shows that they were passed over.
	h.request("three", commit("c2de"))
	h.told("three", func() bool { return slices.Contains(h.states("c2de"), "success") })
	if got := h.states("aaaa"); len(got) != 0 || len(h.repo.Deployments()) != 3 {
		t.Errorf("told of a dry run, or of an update without a change: %v, %v (%d calls before)", got, h.deployments(), calls)
	}
}

func TestGitHubIsToldOfFailures(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	h.steps.on("bad", v1alpha1.StepRollout, fails(v1alpha1.ReasonHealthCheckFailed, "web: password=hunter2 is wrong"))
	h.request("bad")
	h.awaitEnd("bad", v1alpha1.PhaseRolledBack, v1alpha1.ReasonHealthCheckFailed)
	h.told("failure", func() bool { return slices.Contains(h.states("c0de"), "failure") })
	for _, s := range h.repo.Statuses(sha("c0de")) {
		if strings.Contains(s.Description, "hunter2") {
			t.Errorf("the world is told %q", s.Description)
		}
		if s.State == "failure" && s.Description != "HealthCheckFailed in step Rollout; rolled back" {
			t.Errorf("the status says %q", s.Description)
		}
	}
	h.steps.on("disk", v1alpha1.StepBackup, fails(v1alpha1.ReasonBackupFailed, "disk full"))
	h.request("disk", commit("c1de"))
	h.told("error", func() bool { return slices.Contains(h.states("c1de"), "error") })

	g := h.steps.hold("stop", v1alpha1.StepBuild)
	h.request("stop", commit("c2de"))
	g.await(t)
	h.told("pending", func() bool { return slices.Contains(h.states("c2de"), "pending") && len(h.repo.Deployments()) == 3 })
	h.patchRequest("stop", `{"spec":{"cancel":true}}`)
	h.told("cancelled", func() bool {
		return slices.Equal(h.states("c2de"), []string{"pending", "error"}) && h.repo.Deployments()[2].State() == "inactive"
	})
	if d := h.repo.Deployments(); d[0].State() != "failure" || d[1].State() != "error" {
		t.Errorf("deployments: %v", h.deployments())
	}
}

func TestGitHubIsAway(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	h.fake.Answer(githubtest.Outage)
	for _, c := range []string{"c0de", "c1de"} {
		h.request(c, commit(c))
		h.awaitEnd(c, v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	}
	if n := len(h.fake.Calls()); n == 0 || n > 5 {
		t.Errorf("a GitHub that is away was asked %d times while two updates ran", n)
	}
	if n := len(h.repo.Deployments()); n != 0 {
		t.Fatalf("%d deployments", n)
	}
	h.fake.Answer(nil)
	h.told("both", func() bool { return slices.Contains(h.states("c1de"), "success") && len(h.repo.Deployments()) == 2 })
	h.told("in their order", func() bool {
		d := h.repo.Deployments()
		return d[0].SHA == sha("c0de") && d[0].State() == "inactive" && d[1].SHA == sha("c1de") && d[1].State() == "success"
	})
}

func TestGitHubReportsSurviveARestart(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	g := h.steps.hold("one", v1alpha1.StepBuild)
	h.request("one")
	g.await(t)
	h.wants("c0de", []string{"pending"}, []string{"c0de in_progress"})
	h.await("one", "annotated", func(ur *v1alpha1.UpdateRequest) bool { return report.RecordOf(ur).DeploymentStatus == "in_progress" })
	h.stop()
	// The next daemon goes on where this one was, here without GitHub's answer
	// having been written down.
	h.patchRequest("one", `{"metadata":{"annotations":{"`+report.Annotation+`":"{\"status\":\"pending\"}"}}}`)
	h.start()
	h.told("the end", func() bool {
		return slices.Equal(h.states("c0de"), []string{"pending", "success"}) && h.repo.Deployments()[0].State() == "success"
	})
	if d := h.deployments(); len(d) != 1 {
		t.Errorf("deployments: %v", d)
	}
	h.await("one", "annotated", func(ur *v1alpha1.UpdateRequest) bool { return report.RecordOf(ur).DeploymentStatus == "success" })
	h.stop()
	before := len(h.fake.Calls())
	h.start()
	h.request("two", commit("c1de"))
	h.told("two", func() bool { return slices.Contains(h.states("c1de"), "success") })
	for _, c := range h.fake.Calls()[before:] {
		if strings.Contains(c.Path, sha("c0de")) {
			t.Errorf("told again: %+v", c)
		}
	}
}

func TestGitHubDoesNotKnowTheCommit(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	h.request("local", commit("beef"))
	h.awaitEvent("local", "Warning "+v1alpha1.ReasonGitHubGivenUp)
	h.await("local", "given up", func(ur *v1alpha1.UpdateRequest) bool {
		return strings.Contains(report.RecordOf(ur).GivenUp, "does not know the commit")
	})
	h.request("pushed")
	h.told("the next one", func() bool { return slices.Contains(h.states("c0de"), "success") })
	h.awaitEnd("local", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
}

func TestGitHubRefusesTheToken(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	h.fake.Permit("good", false)
	h.request("one")
	h.awaitEvent("one", "Warning "+v1alpha1.ReasonGitHubDelayed)
	h.awaitEnd("one", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	// A change of the Application has it tried at once.
	h.fake.Permit("good", true)
	h.patch(&v1alpha1.Application{}, "shop", `{"spec":{"github":{"environment":null}}}`)
	h.told("the end", func() bool { return slices.Equal(h.states("c0de"), []string{"success"}) })
	if d := h.deployments(); len(d) != 0 {
		t.Errorf("deployments: %v", d)
	}
}

func TestGitHubIsNotToldForEver(t *testing.T) {
	t.Parallel()
	now := testclock.NewFakePassiveClock(time.Now())
	h := newHub(t, now)
	h.fake.Answer(githubtest.Outage)
	h.request("one")
	h.awaitEnd("one", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	tried := len(h.fake.Calls())
	h.eventually("a try after the end", func() bool {
		now.SetTime(now.Now().Add(time.Second))
		return len(h.fake.Calls()) > tried
	})
	now.SetTime(time.Now().Add(25 * time.Hour))
	h.awaitEvent("one", "Warning "+v1alpha1.ReasonGitHubGivenUp)
	h.await("one", "given up", func(ur *v1alpha1.UpdateRequest) bool { return report.RecordOf(ur).GivenUp != "" })
}

func TestGitHubIsToldOfADeletedRequest(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	g := h.steps.hold("one", v1alpha1.StepBuild)
	h.request("one")
	g.await(t)
	h.wants("c0de", []string{"pending"}, []string{"c0de in_progress"})
	h.delete("one")
	h.wants("c0de", []string{"pending", "error"}, []string{"c0de in_progress inactive"})
	h.awaitGone("one")
}

// awaitEvent waits for an Event about a request.
func (w *world) awaitEvent(request, event string) {
	w.t.Helper()
	w.until("the Event "+event, func() bool { return slices.Contains(w.events[request], event) })
}

// eventually polls for what nothing tells of.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			w.t.Fatalf("not seen: %s", what)
		}
	}
}
