// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"strings"
	"testing"
	"time"
)

// A row that is kept is the same as one that is made, is another one in another
// language, and gives way to what has changed.
func TestRowsAreKept(t *testing.T) {
	w := newWorld(t)
	first, second := application(), application()
	second.Name = "till"
	w.api.objects["namespaces/default/summary"] = summaryOf(first, second)
	b := w.signedIn("viewer")
	fresh := b.get("/ui/").body
	if n := w.ui.rows.Len(); n != 2 {
		t.Fatalf("%d rows are kept, want 2", n)
	}
	if again := b.get("/ui/").body; again != fresh || !strings.Contains(again, `id="app-default-till"`) {
		t.Errorf("the page is another one with rows that were kept:\n%s\nfirst:\n%s", again, fresh)
	}
	b.lang = "zh-Hans"
	if chinese := b.get("/ui/").body; !strings.Contains(chinese, "有 3 个新提交") || strings.Contains(chinese, "newer commits") {
		t.Errorf("the rows are in another language than the page:\n%s", chinese)
	}
	b.lang = "en"
	second.Status.Update = nil
	w.api.mu.Lock()
	w.api.objects["namespaces/default/summary"] = summaryOf(first, second)
	w.api.mu.Unlock()
	changed := b.get("/ui/").body
	if n := strings.Count(fresh, "class=\"newer\"") - strings.Count(changed, "class=\"newer\""); n != 1 {
		t.Errorf("%d applications have no update any more, want 1:\n%s", n, changed)
	}
	if w.ui.rows.Len() != 5 {
		t.Errorf("%d rows are kept, want two in each language and the one that changed", w.ui.rows.Len())
	}
}

// Who may do something in another namespace than their own is led to it; what they
// are led to is asked for anew after a while.
func TestNavigationOfOtherNamespaces(t *testing.T) {
	w := newWorld(t)
	guest := w.signedIn("guest")
	const link = `href="/ui/tokens"`
	if strings.Contains(guest.get("/ui/").body, link) {
		t.Error("somebody is led to tokens, who may not list any")
	}
	w.api.mu.Lock()
	w.api.objects["namespaces"] = map[string]any{"namespaces": []string{"default", "other"}}
	w.api.objects["namespaces/other/summary"] = summaryOf()
	w.api.mu.Unlock()
	w.pass(offersFor + time.Second)
	if !strings.Contains(guest.get("/ui/").body, link) {
		t.Error("somebody who may list the tokens of another namespace is not led to them")
	}
}

// Without an application, the overview says what can be done: make one, wait for
// somebody who does, or ask for a role.
func TestOverviewWithoutApplications(t *testing.T) {
	w := newWorld(t)
	w.api.objects["namespaces/default/summary"] = summaryOf()
	w.api.tokens["nobody-token"] = "nobody"
	const first = `href="/ui/new"`
	if p := w.signedIn("owner").get("/ui/"); !strings.Contains(p.body, "No applications yet") || strings.Count(p.body, first) != 1 {
		t.Errorf("who may make the first application is shown\n%s", p.body)
	}
	if p := w.signedIn("viewer").get("/ui/"); !strings.Contains(p.body, "none yet in the namespace default") || strings.Contains(p.body, first) {
		t.Errorf("who may only look is shown\n%s", p.body)
	}
	p := w.signedIn("nobody").get("/ui/")
	for _, text := range []string{"may not look at any application yet", "system:serviceaccount:default:fairlead-token-nobody"} {
		if !strings.Contains(p.body, text) {
			t.Errorf("who may look at nothing is not told %q:\n%s", text, p.body)
		}
	}
	if p.status != 200 || strings.Contains(p.body, first) || strings.Contains(p.body, "data-stream") {
		t.Errorf("who may look at nothing is answered with %d\n%s", p.status, p.body)
	}
}
