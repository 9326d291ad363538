// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// A dry run says what would be done to whom, and does nothing.
func (s *site) updateDry() {
	t := s.t
	before, at, backups, releases := s.containers(), s.deployed(), s.backups(), len(s.Releases(s.name))
	r := s.succeeds(s.publish("Eighth version", version("8", "web")), harness.DryRun)
	wantCondition(t, r, v1alpha1.ConditionSucceeded, "True/DryRun")
	s.wantUntouched(before)
	s.wantDeployed(at)
	if now := s.backups(); !slices.Equal(now, backups) {
		t.Errorf("the backups %v became %v", backups, now)
	}
	if now := s.Releases(s.name); len(now) != releases {
		t.Errorf("the releases are %v", now)
	}
	if r.Status.Plan == nil || len(r.Status.Plan.Services) != 5 || r.Status.Plan.Summary == "" || len(r.Status.Plan.Backup) == 0 {
		t.Fatalf("the plan is %+v", r.Status.Plan)
	}
	plans := map[string]v1alpha1.ServicePlan{}
	for _, p := range r.Status.Plan.Services {
		plans[p.Name] = p
		if p.Reason == "" || p.Wave == 0 || p.Interruption == "" {
			t.Errorf("the plan for %s is %+v", p.Name, p)
		}
	}
	if p := plans["web"]; p.Action != v1alpha1.ActionReplace || p.Order != v1alpha1.OrderStartFirst || p.OrderReason == "" || p.Wave <= plans["db"].Wave {
		t.Errorf("the plan for web is %+v, db comes in wave %d", p, plans["db"].Wave)
	}
	for _, name := range []string{"db", "front"} {
		if plans[name].Action != v1alpha1.ActionKeep {
			t.Errorf("the plan for %s is %+v", name, plans[name])
		}
	}
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	s := running(t, apps.Hello, "")
	before := s.containers()
	commit := s.publish("Second version", map[string]string{"version.txt": "2\n"})
	r := s.Update(s.name, commit, harness.Suspend)
	s.WaitRequest(r.Name, "a word on why it waits", func(r *v1alpha1.UpdateRequest) bool {
		return r.Status.Phase == v1alpha1.PhasePending && r.Status.Message != ""
	})
	s.Patch(&v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: s.name}}, `{"spec":{"suspend":true}}`)
	s.Patch(r, `{"spec":{"suspend":false}}`)
	waits := s.WaitRequest(r.Name, "to wait for the application", func(r *v1alpha1.UpdateRequest) bool {
		return r.Status.ObservedGeneration == 2 && r.Status.Phase == v1alpha1.PhasePending
	})
	wantContains(t, "the message", waits.Status.Message, "Application is suspended")
	s.wantUntouched(before)
	// Others of the namespace, and a dry run, are not held back.
	s.succeeds(commit, harness.DryRun)
	s.wantUntouched(before)
	s.Patch(&v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: s.name}}, `{"spec":{"suspend":false}}`)
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	s.wantVersion("2")
}

// Requests of one application are carried out one after the other; of those that wait,
// a newer one makes the older ones pointless.
func (s *site) updateInQueue() {
	t := s.t
	first := s.publish("Slow to start", behave(version("5", "web"), "web", apps.Behaviour{StartDelay: "2s"}))
	second := s.publish("Never seen", behave(version("6", "web"), "web", apps.Behaviour{}))
	third := s.publish("Last", version("7", "web"))
	a := s.Update(s.name, first, harness.Named(s.name+"-a"))
	s.WaitPhase(a.Name, v1alpha1.PhaseBuilding, v1alpha1.PhaseRollingOut)
	b := s.Update(s.name, second, harness.Named(s.name+"-b"))
	waits := s.WaitRequest(b.Name, "its turn", func(r *v1alpha1.UpdateRequest) bool { return r.Status.Message != "" })
	wantContains(t, "the message", waits.Status.Message, a.Name)
	c := s.Update(s.name, third, harness.Named(s.name+"-c"))
	superseded := s.WantEnd(b.Name, v1alpha1.PhaseCancelled)
	wantCondition(t, superseded, v1alpha1.ConditionSucceeded, "False/Superseded")
	wantContains(t, "the message", superseded.Status.Message, c.Name)
	ra, rc := s.WantEnd(a.Name, v1alpha1.PhaseSucceeded), s.WantEnd(c.Name, v1alpha1.PhaseSucceeded)
	if rc.Status.StartedAt.Before(ra.Status.FinishedAt) {
		t.Errorf("%s started at %s, before %s ended at %s", c.Name, rc.Status.StartedAt, a.Name, ra.Status.FinishedAt)
	}
	if rc.Status.PreviousCommit != first || rc.Status.PreviousRelease != ra.Status.Release {
		t.Errorf("the last one came from %s, %s; want %s, %s", rc.Status.PreviousCommit, rc.Status.PreviousRelease, first, ra.Status.Release)
	}
	s.wantVersion("7")
	s.wantDeployed(third)
}

// Two applications are updated at the same time.
func TestTwoApplicationsAtOnce(t *testing.T) {
	t.Parallel()
	one, two := running(t, apps.Hello, ""), running(t, apps.Hello, "")
	slow := map[string]string{"version.txt": "2\n", "behaviour.json": apps.Behaviour{StartDelay: "3s"}.JSON()}
	a, b := one.Update(one.name, one.publish("Two", slow)), two.Update(two.name, two.publish("Two", slow))
	ra, rb := one.WantEnd(a.Name, v1alpha1.PhaseSucceeded), two.WantEnd(b.Name, v1alpha1.PhaseSucceeded)
	if !ra.Status.StartedAt.Before(rb.Status.FinishedAt) || !rb.Status.StartedAt.Before(ra.Status.FinishedAt) {
		t.Errorf("they ran one after the other: %s to %s and %s to %s",
			ra.Status.StartedAt, ra.Status.FinishedAt, rb.Status.StartedAt, rb.Status.FinishedAt)
	}
	one.wantVersion("2")
	two.wantVersion("2")
}

// History keeps to its limits, and what a rollback needs stays.
func TestRetention(t *testing.T) {
	t.Parallel()
	s := newSite(t, apps.Hello)
	s.apply("  retention: {releases: 2, requests: 3, backups: {count: 1}}\n")
	var last []*v1alpha1.UpdateRequest
	for _, v := range []string{"1", "2", "3", "4", "5"} {
		last = append(last, s.succeeds(s.publish("Version "+v, map[string]string{"version.txt": v + "\n"})))
	}
	releases := s.Releases(s.name)
	if len(releases) != 2 || releases[0].Name != last[4].Status.Release || releases[1].Name != last[3].Status.Release {
		t.Errorf("the releases are %v", releases)
	}
	engine := harness.Engine(t)
	for _, rel := range releases {
		if _, err := engine.ImageInspect(t.Context(), rel.Spec.Services[0].ImageID); err != nil {
			t.Errorf("the image of the release %s: %v", rel.Name, err)
		}
	}
	first := last[0].Status.Services[0]
	if _, err := engine.ImageInspect(t.Context(), first.Image); err == nil {
		t.Errorf("the image %s of a release that was forgotten is still there", first.Image)
	}
	// The newest backup stays, and the one from which the data of a kept release
	// could come back.
	var held []string
	for _, r := range last[3:] {
		held = append(held, r.Status.Backup)
	}
	for _, b := range s.backups() {
		if !slices.Contains(held, b) {
			t.Errorf("the backup %s was not removed; the last two are %v", b, held)
		}
	}
	s.backup(last[4].Status.Backup)
	// Updates that fail keep to the limits too, and leave what is needed.
	for _, v := range []string{"6", "7", "8"} {
		r := s.ends(s.publish("Bad "+v, map[string]string{"version.txt": v + "\n", "Dockerfile": "FROM scratch\nCOPY no-such-file /\n"}), v1alpha1.PhaseFailed)
		wantCondition(t, r, v1alpha1.ConditionSucceeded, "False/BuildFailed")
		held = append(held[:2], r.Status.Backup)
		for _, b := range s.backups() {
			if !slices.Contains(held, b) {
				t.Errorf("after the bad version %s the backup %s was not removed; those that are needed are %v", v, b, held)
			}
		}
		s.backup(r.Status.Backup)
	}
	var requests v1alpha1.UpdateRequestList
	count := func() int {
		if err := s.Client.List(t.Context(), &requests, client.InNamespace(s.Namespace)); err != nil {
			t.Fatal(err)
		}
		return len(slices.DeleteFunc(requests.Items, func(r v1alpha1.UpdateRequest) bool { return r.Spec.ApplicationRef.Name != s.name }))
	}
	s.WaitGone(last[4])
	if n := count(); n != 3 {
		t.Errorf("%d requests are kept, want 3", n)
	}
	s.succeeds("", harness.RollbackTo(releases[1].Name))
	s.wantVersion("4")
}
