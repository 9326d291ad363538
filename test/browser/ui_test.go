// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

const script = `<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">`

// asked opens the plan as a dialog, confirms it, and waits for the update's page.
func (b *tab) asked(opener string) (request string) {
	b.t.Helper()
	b.click(opener)
	b.until("the plan is told in a dialog", `document.querySelector("dialog[open] #confirm") !== null`)
	b.click("dialog[open] #confirm")
	b.until("the update has a page", `location.pathname.includes("/updates/")`)
	at := eval[string](b, `location.pathname`)
	return at[strings.LastIndex(at, "/")+1:]
}

func (b *tab) outcome() string {
	b.t.Helper()
	b.until("the update has ended", `document.getElementById("outcome") !== null`)
	return eval[string](b, `document.getElementById("outcome").innerText`)
}

// Somebody updates while another one watches; the update after that fails and is
// undone; then the first one goes back to an older release.
func TestUpdateFailAndGoBack(t *testing.T) {
	s := newSite(t, apps.Hello)
	admin, viewer := s.signedIn("admin"), s.signedIn("viewer")

	s.publish("Second version "+script, "2", apps.Behaviour{})
	admin.open(s.app())
	viewer.open("/ui/")
	admin.click("form[action$='/check'] button")
	// Without a reload.
	admin.shows("1 newer commit")
	viewer.shows("1 newer commit")
	admin.shows(script)
	if got := eval[bool](viewer, `document.querySelector("main form[method=post]") !== null`); got {
		t.Error("a viewer is offered to do something")
	}

	request := admin.asked("#update-now")
	viewer.open("/ui/namespaces/" + s.Namespace + "/updates/" + request)
	for _, b := range []*tab{admin, viewer} {
		if got := b.outcome(); !strings.Contains(got, "The update succeeded.") {
			t.Errorf("the outcome is told as %q", got)
		}
		b.shows(script)
		b.until("the log is whole", `document.querySelector("[data-log-view]")?.innerText.includes("[CleanUp]") ?? false`)
		if hacked := eval[bool](b, `window.hacked !== undefined`); hacked {
			t.Error("a script in a commit message ran")
		}
	}
	ur := s.Request(request)
	lines := strings.Count(s.Log(ur), "\n")
	admin.until("every line is there once", fmt.Sprintf(`document.querySelector("[data-log-total]").textContent.replace(/\D/g, "") === "%d"`, lines))

	s.publish("Third version", "3", apps.Behaviour{Unhealthy: true})
	admin.open(s.app())
	failing := admin.asked("#update-now")
	if got := admin.outcome(); !strings.Contains(got, "failed and was undone") || !strings.Contains(got, "Roll out") {
		t.Errorf("the outcome is told as %q", got)
	}
	admin.shows("What was undone")
	admin.shows("What can be done next")
	s.WantEnd(failing, v1alpha1.PhaseRolledBack)

	admin.open(s.app())
	back := admin.asked("#release-" + s.name + "-1 form button")
	if got := admin.outcome(); !strings.Contains(got, "The update succeeded.") {
		t.Errorf("the outcome is told as %q", got)
	}
	if r := s.WantEnd(back, v1alpha1.PhaseSucceeded); r.Spec.RollbackTo == nil || r.Spec.RollbackTo.Name != s.name+"-1" {
		t.Errorf("it went back to %+v", r.Spec.RollbackTo)
	}

	t.Run("long log", func(t *testing.T) { s.longLog(t, admin, ur) })
	t.Run("restart", func(t *testing.T) { s.restart(t, admin) })
	t.Run("signed out everywhere", func(t *testing.T) {
		admin.until("the page is connected", `document.documentElement.dataset.connection !== "lost"`)
		admin.open("/ui/")
		other := admin.sibling()
		other.open("/ui/")
		other.click("button[name=everywhere]")
		other.until("they are signed out", `location.pathname === "/ui/sign-in"`)
		admin.shows("Your session has ended")
	})
}

// A log of 100,000 lines is shown by few elements, and searched.
func (s *site) longLog(t *testing.T, b *tab, ur *v1alpha1.UpdateRequest) {
	before := strings.Count(s.Log(ur), "\n")
	f, err := os.OpenFile(ur.Status.LogFile, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	const more = 100_000
	for n := range more {
		fmt.Fprintf(&text, "2026-03-04T05:06:07.000Z  [Build] web: \x1b[32mline %d\x1b[0m of many %s\n", n, script)
	}
	if _, err := f.WriteString(text.String()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.open("/ui/namespaces/" + s.Namespace + "/updates/" + ur.Name)
	b.until("every line is counted", fmt.Sprintf(`document.querySelector("[data-log-total]").textContent.replace(/\D/g, "") === "%d"`, before+more))
	if n := eval[int](b, `document.querySelectorAll(".logline").length`); n > 300 {
		t.Errorf("%d lines are elements", n)
	}
	eval[any](b, `(() => { const v = document.querySelector("[data-log-view]"); v.scrollTop = v.scrollHeight; })()`)
	b.until("the last line is shown", fmt.Sprintf(`[...document.querySelectorAll(".logline")].some((l) => l.textContent.includes("line %d of"))`, more-1))
	eval[any](b, `(() => { const s = document.querySelector("[data-log-search]"); s.value = "line 77777 "; s.dispatchEvent(new Event("input")); })()`)
	b.until("what was searched is shown", `document.querySelector(".logline.now")?.textContent.includes("line 77777 of") ?? false`)
	if hacked := eval[bool](b, `window.hacked !== undefined`); hacked {
		t.Error("a script in a log ran")
	}
}

// A page that is open while the daemon is away says so, and goes on by itself.
func (s *site) restart(t *testing.T, b *tab) {
	b.open("/ui/")
	b.until("the page has loaded", `document.querySelector("table.apps") !== null`)
	s.Stop()
	b.until("the loss is told", `document.documentElement.dataset.connection === "lost"`)
	b.shows("No connection to Fairlead")
	s.Restart()
	b.until("the page is connected again", `["live", "back"].includes(document.documentElement.dataset.connection)`)
	// It is up to date again, and still signed in.
	s.publish("Fourth version", "4", apps.Behaviour{})
	if _, errOut, code := s.Fairlead("check", s.name, "-n", s.Namespace); code != 0 {
		t.Fatal(errOut)
	}
	b.shows("newer commit")
}

// A session that ends in the midst of an update says so; the update goes on.
func TestSessionEndsDuringAnUpdate(t *testing.T) {
	s := newSite(t, apps.Hello, "--web-session-max", "12s")
	// The update goes on for longer than the session.
	s.Patch(s.App(s.name), `{"spec":{"rollout":{"services":[{"name":"web","healthTimeout":"60s"}]}}}`)
	s.publish("Second version", "2", apps.Behaviour{StartDelay: "15s"})
	b := s.signedIn("operator")
	b.open(s.app())
	request := b.asked("#update-now")
	b.shows("Your session has ended")
	s.WantEnd(request, v1alpha1.PhaseSucceeded)
}

// Behind a gateway it is told what was seen from outside while containers were
// replaced; before that, what the gateway will cost once.
func TestDowntime(t *testing.T) {
	s := newSite(t, apps.Hello)
	s.Patch(s.App(s.name), `{"spec":{"gateway":{"mode":"Auto"}}}`)
	b := s.signedIn("operator")
	for version, interruption := range []string{"once, as the gateway takes over", "none"} {
		s.publish("Another version", fmt.Sprint(version+2), apps.Behaviour{})
		b.open(s.app())
		b.click("#update-now")
		b.until("the interruption is told", fmt.Sprintf(`[...document.querySelectorAll("dialog[open] td:last-child")].some((td) => td.innerText.startsWith(%s))`, quote(interruption)))
		b.click("dialog[open] #confirm")
		if got := b.outcome(); !strings.Contains(got, "The update succeeded.") {
			t.Fatalf("the outcome is told as %q", got)
		}
	}
	at := eval[string](b, `location.pathname`)
	seen := s.Request(at[strings.LastIndex(at, "/")+1:]).Status.Downtime
	if seen == nil || seen.Failed > 0 || seen.Probes == 0 {
		t.Fatalf("from outside it was seen that %+v", seen)
	}
	b.until("the downtime is told", fmt.Sprintf(`document.querySelector("#downtime").innerText.includes("%d")`, seen.Probes))
	if told := eval[string](b, `document.querySelector("#downtime").innerText`); !strings.HasPrefix(told, "None") {
		t.Errorf("the downtime is told as %q", told)
	}
}
