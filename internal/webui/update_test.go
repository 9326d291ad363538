// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// How far a step is comes from what is measured, else from how long it took before.
func TestEstimate(t *testing.T) {
	half := &v1alpha1.StepProgress{Done: 50, Total: 100, Unit: v1alpha1.ProgressBytes}
	for what, tt := range map[string]struct {
		row     stepRow
		percent int
		left    time.Duration
	}{
		"measured":              {stepRow{StepStatus: v1alpha1.StepStatus{Progress: half}, Took: 10 * time.Second}, 50, 10 * time.Second},
		"measured, known":       {stepRow{StepStatus: v1alpha1.StepStatus{Progress: half}, Took: 10 * time.Second, Usual: time.Hour}, 50, 10 * time.Second},
		"just begun":            {stepRow{StepStatus: v1alpha1.StepStatus{Progress: &v1alpha1.StepProgress{Done: 1, Total: 100}}, Took: 2 * time.Second, Usual: 30 * time.Second}, 1, 28 * time.Second},
		"done is never told":    {stepRow{StepStatus: v1alpha1.StepStatus{Progress: &v1alpha1.StepProgress{Done: 9, Total: 9}}, Took: 99 * time.Second}, 99, time.Second},
		"total is not known":    {stepRow{StepStatus: v1alpha1.StepStatus{Progress: &v1alpha1.StepProgress{Done: 9}}, Took: 3 * time.Second, Usual: 12 * time.Second}, 25, 9 * time.Second},
		"by earlier ones":       {stepRow{Took: 3 * time.Second, Usual: 12 * time.Second}, 25, 9 * time.Second},
		"longer than ever":      {stepRow{Took: 30 * time.Second, Usual: 12 * time.Second}, 95, 0},
		"nothing to go by":      {stepRow{Took: 30 * time.Second}, 0, 0},
		"more than was thought": {stepRow{StepStatus: v1alpha1.StepStatus{Progress: &v1alpha1.StepProgress{Done: 300, Total: 100}}, Took: 99 * time.Second}, 99, time.Second},
	} {
		row := tt.row
		row.estimate()
		if row.Percent != tt.percent || row.Left != tt.left {
			t.Errorf("%s: %d %%, %s left; want %d %%, %s", what, row.Percent, row.Left, tt.percent, tt.left)
		}
	}
}

// The progress of a request knows its own steps.
func TestProgressOf(t *testing.T) {
	step := func(name v1alpha1.StepName, state v1alpha1.StepState, p *v1alpha1.StepProgress) v1alpha1.StepStatus {
		s := v1alpha1.StepStatus{Name: name, State: state, Progress: p}
		if state == v1alpha1.StepSucceeded {
			s.FinishedAt = &at
		}
		return s
	}
	restore := &v1alpha1.UpdateRequest{}
	restore.Spec.RestoreFrom = &v1alpha1.LocalReference{Name: "b"}
	restore.Status.Steps = []v1alpha1.StepStatus{step(v1alpha1.StepPreflight, v1alpha1.StepSucceeded, nil),
		step(v1alpha1.StepRestore, v1alpha1.StepRunning, &v1alpha1.StepProgress{Done: 6, Total: 12, Unit: v1alpha1.ProgressSteps})}
	if got := progressOf(restore); got != 37 {
		t.Errorf("a restore in its midst is at %d %%", got)
	}
	update := &v1alpha1.UpdateRequest{}
	update.Status.Steps = []v1alpha1.StepStatus{step(v1alpha1.StepPreflight, v1alpha1.StepSucceeded, nil), step(v1alpha1.StepBackup, v1alpha1.StepSkipped, nil)}
	if got := progressOf(update); got != 28 {
		t.Errorf("an update after two of seven steps is at %d %%", got)
	}
}

// Whatever a request ends with, it is told what can be done; and if it failed, in a few
// words why.
func TestAdvice(t *testing.T) {
	for _, lang := range i18n.Languages() {
		for _, reason := range []string{
			v1alpha1.ReasonSuperseded, v1alpha1.ReasonCancelled, v1alpha1.ReasonApplicationNotFound, v1alpha1.ReasonInvalidSpec,
			v1alpha1.ReasonCommitFailedBefore, v1alpha1.ReasonCommitNotFound, v1alpha1.ReasonReleaseNotFound, v1alpha1.ReasonReleaseUnusable,
			v1alpha1.ReasonPreflightFailed, v1alpha1.ReasonBackupFailed, v1alpha1.ReasonBackupNotFound, v1alpha1.ReasonBackupUnusable,
			v1alpha1.ReasonRestoreFailed, v1alpha1.ReasonFetchFailed, v1alpha1.ReasonBuildFailed, v1alpha1.ReasonPullFailed, v1alpha1.ReasonNoSpace,
			v1alpha1.ReasonLocalEdits, v1alpha1.ReasonHealthCheckFailed, v1alpha1.ReasonOneShotFailed, v1alpha1.ReasonRolloutFailed,
			v1alpha1.ReasonVerifyFailed, v1alpha1.ReasonRollbackFailed, v1alpha1.ReasonEngineUnavailable, v1alpha1.ReasonHookFailed,
			v1alpha1.ReasonRegistryUnauthorized, v1alpha1.ReasonHostConflict, v1alpha1.ReasonCommitNotInSource,
		} {
			if !lang.Has("advice." + reason) {
				t.Errorf("%s: there is no advice for %s", lang.Tag, reason)
			}
			failed := reason != v1alpha1.ReasonSuperseded && reason != v1alpha1.ReasonCancelled
			if failed && !lang.Has("reason."+reason) {
				t.Errorf("%s: %s has no words", lang.Tag, reason)
			}
		}
	}
}

// What was undone is not told as if it were there.
func TestServicesThatWereTakenBack(t *testing.T) {
	w := newWorld(t)
	ur := request("cancelled", v1alpha1.PhaseCancelled)
	ur.Status.Steps = []v1alpha1.StepStatus{{Name: v1alpha1.StepRollout, State: v1alpha1.StepFailed, StartedAt: &at}, {Name: v1alpha1.StepRollback, State: v1alpha1.StepSucceeded, StartedAt: &at}}
	ur.Status.Services = []v1alpha1.ServiceUpdate{{Name: "web", Action: v1alpha1.ActionReplace, NewContainers: []string{"97e9b98a59aa"}, Health: "starting"}}
	w.api.objects["namespaces/default/requests/cancelled"] = ur
	page := w.signedIn("admin").get("/ui/namespaces/default/updates/cancelled").body
	if !strings.Contains(page, "What was tried, and undone") || strings.Contains(page, "starting") {
		t.Error("a container that was taken back is told to be starting")
	}
	ur.Status.Steps[1].State = v1alpha1.StepFailed
	page = w.signedIn("admin").get("/ui/namespaces/default/updates/cancelled").body
	if strings.Contains(page, "What was tried, and undone") || !strings.Contains(page, "starting") {
		t.Error("what was not undone is told to be")
	}
}

// Every check has a name in every language.
func TestNamesOfChecks(t *testing.T) {
	for _, lang := range i18n.Languages() {
		for _, name := range []string{"Engine", "Memory", "Repository", "BackupDirectory", "Disk", "DiskForecast", "Commit", "LocalEdits",
			"Compose", "Healthy", "UpdateConfig", "Backup", "Variables", "Hooks", "Order", "Gateway"} {
			if !lang.Has("check." + name) {
				t.Errorf("%s: the check %s has no name", lang.Tag, name)
			}
		}
	}
}

func TestVariables(t *testing.T) {
	got, err := variablesIn("A=1\r\n\n B = two=2 \nEMPTY=\n")
	if want := map[string]string{"A": "1", "B": " two=2 ", "EMPTY": ""}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	page := &planPage{Request: &v1alpha1.UpdateRequest{Spec: v1alpha1.UpdateRequestSpec{Variables: got}}}
	if again, err := variablesIn(page.Variables()); err != nil || !maps.Equal(again, got) {
		t.Errorf("%q became %q, %v", got, again, err)
	}
	for _, wrong := range []string{"A", "=1", " = "} {
		if _, err := variablesIn(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

// A form that is refused leads back to its page, and to no other site.
func TestBackFromARefusedForm(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("admin")
	form := url.Values{"csrf": {b.get("/ui/").csrf()}, "variables": {"WRONG"}}
	for from, back := range map[string]bool{w.server.URL + "/ui/namespaces/default/applications/shop?x=1": true, "https://elsewhere.example/ui/": false, w.server.URL + "/other": false, "": false} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/ui/namespaces/default/applications/shop/plan", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Referer", from)
		answer, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusUnprocessableEntity {
			t.Fatalf("from %s: %d, %v", from, answer.StatusCode, err)
		}
		if got := strings.Contains(string(body), "data-dialog-close"); got != back || back && !strings.Contains(string(body), `href="/ui/namespaces/default/applications/shop?x=1"`) {
			t.Errorf("from %s: a way back is %v", from, got)
		}
	}
}

// Pages about one namespace are about the one that is chosen.
func TestNamespaces(t *testing.T) {
	w := newWorld(t)
	w.api.objects["namespaces"] = map[string]any{"namespaces": []string{"default", "other"}}
	for _, ns := range []string{"default", "other"} {
		w.api.objects["namespaces/"+ns+"/tokens"] = map[string]any{"items": []any{}}
		w.api.objects["namespaces/"+ns+"/candidates"] = map[string]any{"items": []any{}}
		w.api.objects["namespaces/"+ns+"/summary"] = summaryOf()
	}
	b := w.signedIn("owner")
	if p := b.get("/ui/tokens"); !strings.Contains(p.body, `<option value="other">`) || !strings.Contains(p.body, `<option value="default" selected>`) {
		t.Error("another namespace cannot be chosen")
	}
	page := b.get("/ui/tokens?namespace=other")
	if !strings.Contains(page.body, `name="namespace" value="other"`) {
		t.Error("the form is not about the namespace that was chosen")
	}
	b.do(http.MethodPost, "/ui/tokens", url.Values{"csrf": {page.csrf()}, "namespace": {"other"}, "role": {"viewer"}})
	b.do(http.MethodPost, "/ui/tokens/ci/revoke", url.Values{"csrf": {page.csrf()}, "namespace": {"other"}})
	b.do(http.MethodPost, "/ui/new", url.Values{"csrf": {page.csrf()}, "namespace": {"other"}, "directory": {"/opt/x"}})
	asked := strings.Join(w.api.asked(), "\n")
	for _, call := range []string{"GET namespaces/other/tokens", "POST namespaces/other/tokens", "DELETE namespaces/other/tokens/ci", "POST namespaces/other/candidates"} {
		if !strings.Contains(asked, call) {
			t.Errorf("the API was not asked to %s, but:\n%s", call, asked)
		}
	}
	if strings.Contains(asked, "POST namespaces/default") || strings.Contains(asked, "DELETE namespaces/default") {
		t.Errorf("something was done in another namespace:\n%s", asked)
	}
}

// A forecast that does not fit says so.
func TestDisks(t *testing.T) {
	rows := diskRows(request("x", v1alpha1.PhaseSucceeded).Status.Plan)
	if len(rows) != 1 || rows[0].Needed != twoGiB || rows[0].Left != 0 || rows[0].Tone != "bad" {
		t.Errorf("%+v", rows)
	}
	if rows := diskRows(nil); rows != nil {
		t.Errorf("without a plan: %+v", rows)
	}
}

// The log of a container that has ended is asked for again, from the last line on.
func TestContainerLogGoesOn(t *testing.T) {
	w := newWorld(t)
	asked := make(chan string, 2)
	w.api.stream = func(rw http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("service") + " " + r.URL.Query().Get("container") + " " + r.Header.Get("Last-Event-ID")
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(rw, "event: container\ndata: {\"id\":\"c\"}\n\nid: c-1-0\nevent: line\ndata: {\"text\":\"x\"}\n\nevent: end\ndata: {}\n\n")
	}
	b := w.signedIn("viewer")
	s, _ := b.streamOf("/ui/namespaces/default/applications/shop/logs/web/events?container=web-1&after=c-0-0")
	if got := <-asked; got != "web web-1 c-0-0" {
		t.Errorf("asked for %s", got)
	}
	var names []string
	for range 3 {
		name, _, _ := next(t, s)
		names = append(names, name)
	}
	if got := strings.Join(names, " "); got != "container line end" {
		t.Errorf("got %s", got)
	}
	brokenOff(t, s)
}

// brokenOff waits for the end of a stream that tells the browser to come back.
func brokenOff(t *testing.T, s *bufio.Scanner) {
	t.Helper()
	for s.Scan() {
		if strings.Contains(s.Text(), eventOver) {
			t.Error("it is told to be over")
		}
	}
	if s.Err() == nil {
		t.Error("the stream has an end like one that is complete")
	}
}

func TestTimesOfAnyType(t *testing.T) {
	moment := at.Time
	for _, known := range []any{moment, &moment, at, &at} {
		if got := timeElement(known, "instant"); !strings.Contains(string(got), `datetime="2026-03-04T05:06:07Z"`) {
			t.Errorf("a %T is shown as %s", known, got)
		}
	}
	for _, none := range []any{time.Time{}, (*time.Time)(nil), (*metav1.Time)(nil)} {
		if got := timeElement(none, "ago"); got != "–" {
			t.Errorf("no %T is shown as %s", none, got)
		}
	}
}

func TestChecksInWords(t *testing.T) {
	chinese := i18n.Choose("zh-Hans", "")
	for name, want := range map[string]string{"Hook warm": "钩子 warm", "Memory": "内存", "Anything": "Anything"} {
		if got := checkText(chinese, name); got != want {
			t.Errorf("%s is called %s, want %s", name, got, want)
		}
	}
}

// The step in which an update was cancelled did not fail.
func TestCancelledDidNotFail(t *testing.T) {
	w := newWorld(t)
	ur := request("cancelled", v1alpha1.PhaseCancelled)
	ur.Status.Steps = append(ur.Status.Steps, v1alpha1.StepStatus{Name: v1alpha1.StepRollout, State: v1alpha1.StepFailed, StartedAt: &at, FinishedAt: &at})
	w.api.objects["namespaces/default/requests/cancelled"] = ur
	const path = "/ui/namespaces/default/updates/cancelled"
	if page := w.signedIn("viewer").get(path).body; strings.Contains(page, "It failed in the step") || !strings.Contains(page, "The update was cancelled.") {
		t.Error("a cancelled update is told as one that failed")
	}
	ur.Status.Phase = v1alpha1.PhaseFailed
	if page := w.signedIn("viewer").get(path).body; !strings.Contains(page, "It failed in the step “Roll out”.") {
		t.Error("it is not told in which step an update failed")
	}
}
