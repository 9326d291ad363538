// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

const injected = `<script>alert("x")</script>`

// made renders a page of a template in a language.
func made(t *testing.T, p *pages, lang *i18n.Lang, name string, data any) string {
	t.Helper()
	var b bytes.Buffer
	v := view{Lang: lang, Languages: i18n.Languages(), Path: "/ui/", Username: "ann", CSRF: "the-token", Data: data}
	if err := p.byLang[lang][name].ExecuteTemplate(&b, layoutTemplate, v); err != nil {
		t.Fatalf("%s in %s: %v", name, lang.Tag, err)
	}
	return b.String()
}

// Every page of administration can be made, in both languages, with and without the
// right to act; what others wrote is text in it.
func TestPagesOfAdministration(t *testing.T) {
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	p, err := loadPages(a)
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	s := &Server{opts: Options{Now: func() time.Time { return now.Time }}}
	backup := v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "shop-1"}}
	backup.Spec = v1alpha1.BackupSpec{ApplicationRef: v1alpha1.LocalReference{Name: "shop"}, ID: "backup_20260304_050607", Commit: strings.Repeat("a", 40)}
	backup.Status = v1alpha1.BackupStatus{Bytes: 5 << 20, CompletedAt: &now, Warnings: []string{injected},
		Artifacts: []v1alpha1.BackupArtifact{{Name: "files", Kind: "Files", Bytes: 1, Note: injected}}}
	dryRun := &v1alpha1.UpdateRequest{}
	dryRun.Name = "shop-x"
	dryRun.Status = v1alpha1.UpdateRequestStatus{Phase: v1alpha1.PhaseSucceeded, FinishedAt: &now, Plan: &v1alpha1.UpdatePlan{Restore: []string{injected}},
		Checks: []v1alpha1.CheckResult{{Name: "Backup", Result: "Warning", Message: injected}}}
	full := now.Add(48 * time.Hour)

	for _, lang := range i18n.Languages() {
		c := &call{s: s, Lang: lang}
		var f figures
		size := int64(1 << 20)
		f.Updates = []updateFigure{
			{Request: injected, Phase: v1alpha1.PhaseFailed, FinishedAt: now.Time, Seconds: 61},
			{Request: "a", Phase: v1alpha1.PhaseSucceeded, FinishedAt: now.Time, Seconds: 6, Downtime: &downtimeFigure{Seconds: 0.25, Probes: 9, Failed: 2}},
			{Request: "b", Phase: v1alpha1.PhaseSucceeded, FinishedAt: now.Time, Seconds: 6, Downtime: &downtimeFigure{Probes: 9}},
		}
		f.Backups = []backupFigure{{"shop-1", now.Time, 5 << 20}}
		f.Disk = &diskFigure{Host: "h", Free: 5 << 30, Total: 50 << 30, PerDay: 2 << 30, FullAt: &full, NextUpdate: 1 << 20,
			Needs: []v1alpha1.DiskNeed{{For: v1alpha1.DiskForBackup, Bytes: &size}, {For: v1alpha1.DiskForBuild}}}
		soon := &figures{Updates: f.Updates[:1], Disk: &diskFigure{Host: "h", Free: 5, Total: 50, NextUpdate: 9}}
		charts := []chart{c.durationChart(&f, "prod"), c.downtimeChart(&f, "prod"), c.backupChart(&f), c.diskChart(&f),
			c.durationChart(&figures{}, "prod"), c.downtimeChart(soon, "prod"), c.backupChart(&figures{}), c.diskChart(soon), c.diskChart(&figures{})}
		// What was not measured has no bar, and is not told to be none.
		if down := charts[1]; len(down.Bars) != 2 || down.Rows[0].Text != c.T("chart.downtimes.unknown") || down.Bars[0].Tone != "bad" || down.Bars[1].Tone != "good" {
			t.Errorf("the downtimes are %+v", down)
		}
		if none := charts[5]; none.Bars != nil || none.Summary != c.T("chart.downtimes.unmeasured") {
			t.Errorf("without a measurement: %+v", none)
		}
		if short := charts[7]; short.Ahead == "" || !strings.Contains(short.Summary, c.T("chart.disk.short")) {
			t.Errorf("an update that does not fit is told as %+v", short)
		}

		host := &v1alpha1.DockerHost{}
		host.Name = "h"
		q := resource.MustParse("40Gi")
		free := resource.MustParse("2Gi")
		host.Status = v1alpha1.DockerHostStatus{EngineVersion: injected, DiskFree: &free, DiskTotal: &q, LastSeen: &now,
			Usage: &v1alpha1.DiskUsage{MeasuredAt: now, Images: &q, UnusedImages: &free}}
		settings := &settingsPage{Namespace: "prod", App: "shop", Errors: []string{injected}, Conflict: true}
		settings.fill(map[string]any{"compose": map[string]any{"directory": injected}})
		settings.Groups[0].Fields[0].Error = injected
		yaml := &settingsPage{Namespace: "prod", App: "shop", May: true, YAML: true, Text: injected, Checked: true, Saved: true}
		may := *settings
		may.May = true

		for name, list := range map[string][]any{
			"backups": {&backupsPage{Namespace: "prod", App: "shop"},
				&backupsPage{Namespace: "prod", App: "shop", Backups: []v1alpha1.Backup{backup}, Chart: charts[1], Running: dryRun, MayMake: true, MayUse: true, MayDownload: true}},
			"restore": {&restorePage{Namespace: "prod", App: "shop", Backup: backup},
				&restorePage{Namespace: "prod", App: "shop", Backup: backup, Plan: dryRun, May: true, Wrong: true, Typed: injected}},
			"figures": {&figuresPage{Namespace: "prod", App: "shop", Charts: charts}},
			"logs":    {&logsPage{App: "shop", Service: "web"}, &logsPage{App: "shop", Service: "web", Container: injected, Plain: injected + "\ntwo"}},
			"hosts":   {&hostPage{}, &hostPage{Hosts: []*hostCard{c.host(host)}}},
			"tokens": {&tokensPage{Namespace: "prod"}, &tokensPage{Namespace: "prod", Namespaces: []string{"prod", injected}, MayCreate: true, Error: injected, Made: &tokenRow{Name: "ci", Secret: "s3cret"},
				Tokens: []tokenRow{{Name: "ci", Role: "admin", Everywhere: true, Created: now.Time, Expired: true}}}},
			"audit":    {&auditPage{Namespace: "prod"}, auditOf(now.Time)},
			"settings": {settings, &may, yaml},
			"new": {&newAppPage{Namespace: "prod"}, &newAppPage{Namespace: "prod", Directory: injected, Error: injected, Checked: &candidate{Directory: "/x", Message: injected},
				Candidates: []candidate{{Project: injected, Directory: "/opt/shop", Fit: true}, {Project: "b", Application: "prod/b"}}}},
		} {
			for i, data := range list {
				html := made(t, p, lang, name, data)
				if strings.Contains(html, injected) {
					t.Errorf("%s %d: script is in the page", name, i)
				}
				if strings.Contains(html, "style=") || strings.Contains(html, "onclick") {
					t.Errorf("%s %d: has what the policy of the page forbids", name, i)
				}
				if n := strings.Count(html, "<h1"); n != 1 {
					t.Errorf("%s %d: %d first headings", name, i, n)
				}
			}
		}
		// Only whoever may is offered something.
		viewer := made(t, p, lang, "backups", &backupsPage{Namespace: "prod", App: "shop", Backups: []v1alpha1.Backup{backup}})
		if strings.Contains(viewer, "/restore\"") || strings.Contains(viewer, "/download\"") || strings.Contains(viewer, "/applications/shop/backups\">") && strings.Contains(viewer, `name="csrf"`) && strings.Count(viewer, `method="post"`) > 2 {
			t.Error("a viewer is offered what they may not do")
		}
		if got := made(t, p, lang, "settings", settings); strings.Contains(got, `value="save"`) || !strings.Contains(got, "readonly") {
			t.Error("a viewer can edit the settings")
		}
		// An error stands beside its field, and is told to screen readers.
		if got := made(t, p, lang, "settings", &may); !strings.Contains(got, `aria-describedby="compose-directory-hint" aria-invalid="true"`) {
			t.Error("the wrong field is not marked")
		}
	}
}

func auditOf(at time.Time) *auditPage {
	p := &auditPage{All: true, Next: at.Format(time.RFC3339Nano), Who: injected}
	for _, status := range []int{200, 403} {
		p.Entries = append(p.Entries, struct {
			Time                               time.Time
			ID, Via, Who, From, Verb, Resource string
			Namespace, Name, Reason            string
			Status                             int
		}{Time: at, Who: injected, Verb: "create", Resource: "updaterequests", Name: injected, Reason: injected, Status: status})
	}
	return p
}

// A branch or a tag whose name a request cannot have is asked for by its commit.
func TestChoicesCanBeAskedFor(t *testing.T) {
	for name, want := range map[string]string{
		"main": "main", "v1.2.0-rc.1": "v1.2.0-rc.1", "team/x@2+b": "team/x@2+b",
		"发布": sha, `v1-<b>&"`: sha, "-x": sha, "#7": sha,
	} {
		if got := wanted(name, sha); got != want {
			t.Errorf("%s is asked for as %s", name, got)
		}
	}
}

// While it is found out what a restore would overwrite, the page waits for that by
// itself; not with something typed that would be lost.
func TestRestoreWaitsForItsPlan(t *testing.T) {
	dryRun := &v1alpha1.UpdateRequest{}
	dryRun.Name = "dry"
	page := &restorePage{Namespace: "prod", App: "shop"}
	if got := page.Stream(); got != "" {
		t.Errorf("without a plan it listens to %q", got)
	}
	page.Plan = dryRun
	if got := page.Stream(); got != "/ui/namespaces/prod/updates/dry/status" {
		t.Errorf("it listens to %q", got)
	}
	page.Wrong = true
	if got := page.Stream(); got != "" {
		t.Errorf("with something typed it listens to %q", got)
	}
	page.Wrong, dryRun.Status.FinishedAt = false, &metav1.Time{}
	if got := page.Stream(); got != "" {
		t.Errorf("with the plan it listens to %q", got)
	}
}

// What the daemon writes in the course of its work is left out of who did what, unless
// somebody asks for it.
func TestAuditIsOfPeople(t *testing.T) {
	w := newWorld(t)
	w.api.objects["audit"] = map[string]any{"entries": []map[string]any{
		{"time": at, "who": "system:apiserver", "verb": "update", "resource": "updaterequests", "name": "shop-1", "status": 200},
		{"time": at, "who": "ann", "verb": "create", "resource": "updaterequests", "name": "shop-1", "status": 201},
	}}
	b := w.signedIn("admin")
	for path, people := range map[string]bool{
		"/ui/audit":                  true,
		"/ui/audit?verb=update":      true,
		"/ui/audit?daemon=true":      false,
		"/ui/audit?who=apiserver":    false,
		"/ui/audit?refused=true":     true,
		"/ui/audit?before=x&daemon=": true,
	} {
		before := len(w.api.asked())
		page := b.get(path)
		w.api.mu.Lock()
		query := w.api.queries[len(w.api.queries)-1]
		asked := len(w.api.queries) - before
		w.api.mu.Unlock()
		if got := strings.Contains(query, "people=true"); asked != 1 || got != people {
			t.Errorf("%s asked %d times, for %q", path, asked, query)
		}
		if !strings.Contains(page.body, "Fairlead itself") || strings.Contains(page.body, "system:apiserver") || !strings.Contains(page.body, `name="daemon"`) {
			t.Errorf("%s does not tell the daemon by name", path)
		}
		if got := strings.Contains(page.body, `name="daemon" value="true" checked`); got != (path == "/ui/audit?daemon=true") {
			t.Errorf("%s: the choice is %v", path, got)
		}
	}
}
