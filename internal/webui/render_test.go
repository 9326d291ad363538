// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// Lines end between the parts of a path, and what is there stays what it was.
func TestPathsInParts(t *testing.T) {
	for path, want := range map[string]string{
		"/srv/my-shop/.update/": "/srv/ my-shop/ .update/",
		"/":                     "/",
		"relative":              "relative",
		"team/web-app:1.2":      "team/ web-app :1.2",
		"host:5000/web":         "host :5000/ web",
		"":                      "",
		"/a/<b>/c":              "/a/ &lt;b&gt;/ c",
	} {
		got := string(pathHTML(path))
		parts := strings.ReplaceAll(got, "</span><span>", " ")
		parts = strings.TrimSuffix(strings.TrimPrefix(parts, `<span class="path">`), "</span>")
		if parts = strings.TrimSuffix(strings.TrimPrefix(parts, "<span>"), "</span>"); parts != want {
			t.Errorf("%q has the parts %q, want %q", path, parts, want)
		}
	}
	said := string(sayHTML(i18n.Choose("en", ""), "<x> could be restored from backup_1 (/srv/my-shop/backups/backup_1); see /tmp and 1/2"))
	if want := `&lt;x&gt; could be restored from backup_1 (<span class="path"><span>/srv/</span><span>my-shop/</span><span>backups/</span><span>backup_1</span></span>); see /tmp and 1/2`; said != want {
		t.Errorf("%q, want %q", said, want)
	}
}

// A sentence begins with a capital letter, a name as it is.
func TestSentences(t *testing.T) {
	en := i18n.Choose("en", "")
	for text, want := range map[string]string{
		"the application runs c60c29d as release shop-2": "The application runs c60c29d as release shop-2",
		"not healthy: worker (stopped)":                  "Not healthy: worker (stopped)",
		"web: not healthy":                               "web: not healthy",
		"thermostat has failed":                          "thermostat has failed",
		"":                                               "",
	} {
		if got := string(sentenceHTML(en, text)); got != want {
			t.Errorf("%q is told as %q, want %q", text, got, want)
		}
	}
	if !ofStep("step Rollout runs") || ofStep("step Rollout is tried again") || ofStep("step one of web runs") {
		t.Error("which step runs is not told from other messages")
	}
}

// What a check tells is not told twice.
func TestPlanTellsOnce(t *testing.T) {
	p := &planPage{Request: &v1alpha1.UpdateRequest{Status: v1alpha1.UpdateRequestStatus{Message: "preflight: Commit: not found"}}}
	if len(p.Failures()) != 0 || len(p.Warnings()) != 0 {
		t.Error("checks are told of where there are none")
	}
	commit, edits := v1alpha1.CheckResult{Name: "Commit", Result: "Failed", Message: "not found"}, v1alpha1.CheckResult{Name: "LocalEdits", Result: "Warning", Message: "1 file"}
	p.Notable = []v1alpha1.CheckResult{commit, edits}
	if failed, warn := p.Failures(), p.Warnings(); len(failed) != 1 || failed[0] != commit || len(warn) != 1 || warn[0] != edits {
		t.Errorf("failed: %v, warnings: %v", failed, warn)
	}
	if p.Request.Status.Message = "something else"; len(p.Failures()) != 0 || len(p.Warnings()) != 2 {
		t.Error("the message is not told although no check tells it")
	}
}

// The marks of a chart differ from each other, also where there was no downtime.
func TestMarksDiffer(t *testing.T) {
	c := &call{Lang: i18n.Choose("en", "")}
	for _, seconds := range []float64{0, 0.004, 0.3, 7} {
		u := updateFigure{Request: "r", Phase: v1alpha1.PhaseSucceeded, FinishedAt: time.Now(), Downtime: &downtimeFigure{Seconds: seconds, Probes: 9}}
		if seconds > 0 {
			u.Downtime.Failed = 1
		}
		ch := c.downtimeChart(&figures{Updates: []updateFigure{u, {Request: "other"}}}, "default")
		seen := map[string]bool{}
		for _, mark := range ch.Grid {
			if seen[mark.Text] {
				t.Errorf("%v s: %+v", seconds, ch.Grid)
			}
			seen[mark.Text] = true
		}
		if !regexp.MustCompile(`^Measured: 1 of 2 updates\. With downtime: [01]\.`).MatchString(ch.Summary) {
			t.Errorf("%v s: %q", seconds, ch.Summary)
		}
	}
}
