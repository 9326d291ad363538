// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// TestPages goes through the pages of administration, with one daemon and one
// application.
func TestPages(t *testing.T) {
	s := newSite(t, apps.Hello)
	admin, operator, viewer := s.signedIn("admin", "--all-namespaces"), s.signedIn("operator"), s.signedIn("viewer")
	for _, part := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"viewer", func(t *testing.T) { s.viewerOnlySees(t, viewer) }},
		{"host and audit", func(t *testing.T) { s.hostAndAudit(t, admin) }},
		{"tokens", func(t *testing.T) { s.tokens(t, admin) }},
		{"settings", func(t *testing.T) { s.settings(t, admin) }},
		{"backups", func(t *testing.T) { s.backups(t, admin) }},
		{"two people", func(t *testing.T) { s.twoPeople(t, admin, operator) }},
		{"container log", func(t *testing.T) { s.containerLog(t, operator, viewer) }},
		{"options", func(t *testing.T) { s.options(t, operator) }},
		{"loading", func(t *testing.T) { s.loading(t, operator) }},
		{"keyboard", func(t *testing.T) { s.keyboard(t, operator) }},
		{"branch", func(t *testing.T) { s.branch(t, admin, viewer) }},
		{"first run", func(t *testing.T) { s.firstRun(t, admin) }},
		{"Chinese at 200 %", func(t *testing.T) { s.chinese(t, admin) }},
	} {
		if !t.Run(part.name, func(t *testing.T) { s.during(t); part.do(t) }) {
			return
		}
	}
}

// typed puts text into a field, in the place of what is there.
func (b *tab) typed(selector, text string) {
	b.t.Helper()
	b.until(selector+" is there", fmt.Sprintf(`document.querySelector(%s) !== null`, quote(selector)))
	eval[any](b, fmt.Sprintf(`(() => { document.querySelector(%s).value = %s; })()`, quote(selector), quote(text)))
}

func quote(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be written
	}
	return string(data)
}

// unharmed fails the test if a script in data ran.
func (b *tab) unharmed(what string) {
	b.t.Helper()
	if eval[bool](b, `window.hacked !== undefined`) {
		b.t.Errorf("a script in %s ran", what)
	}
}

// posted sends a form by hand, with the token of the page, and returns the status of
// the answer.
func (b *tab) posted(path, form string) int {
	b.t.Helper()
	eval[any](b, fmt.Sprintf(`(() => { window.answered = 0; fetch(%s, {method: "POST", redirect: "manual",
		headers: {"Content-Type": "application/x-www-form-urlencoded"},
		body: %s + "&csrf=" + encodeURIComponent(document.querySelector("input[name=csrf]").value)})
		.then((answer) => { window.answered = answer.status || 303; }); })()`, quote(path), quote(form)))
	b.until("the form is answered", `window.answered > 0`)
	return eval[int](b, `window.answered`)
}

// What a viewer may not do is not offered, and is refused when it is asked for all
// the same.
func (s *site) viewerOnlySees(t *testing.T, b *tab) {
	for _, path := range []string{"/ui/", s.app(), s.app() + "/backups", s.app() + "/figures", s.app() + "/settings", s.app() + "/logs/web"} {
		b.open(path)
		b.until("the page is there", `document.querySelector("main h1") !== null`)
		if offered := eval[string](b, `[...document.querySelectorAll("main form[method=post] button")].map((b) => b.innerText).join()`); offered != "" {
			t.Errorf("%s offers a viewer to %s", path, offered)
		}
	}
	if nav := eval[string](b, `document.querySelector("nav").innerText`); strings.Contains(nav, "Tokens") || strings.Contains(nav, "Audit") {
		t.Errorf("a viewer is led to %q", nav)
	}
	before := len(s.Releases(s.name))
	for path, form := range map[string]string{
		s.app() + "/update": "commit=", s.app() + "/plan": "commit=", s.app() + "/check": "", s.app() + "/backups": "", "/ui/tokens": "role=admin&life=1h",
		"/ui/new": "directory=/srv", s.app() + "/settings": "as=yaml&generation=1&text=spec%3A%20%7B%7D",
	} {
		if status := b.posted(path, form); status != 403 {
			t.Errorf("POST %s is answered with %d", path, status)
		}
	}
	for _, path := range []string{"/ui/tokens", "/ui/audit"} {
		b.open(path)
		b.shows("You may not do this")
	}
	if n := len(s.Releases(s.name)); n != before {
		t.Error("a viewer has changed something")
	}
}

// zone has the browser be in a time zone; in that of the host if it is empty.
func (b *tab) zone(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name}); err != nil {
		b.t.Fatal(err)
	}
}

func (s *site) hostAndAudit(t *testing.T, b *tab) {
	b.open("/ui/hosts")
	b.shows("Docker engine")
	b.until("the disk is shown", `document.querySelectorAll("progress.meter").length >= 2`)
	b.open("/ui/audit")
	// What people did; and what the daemon did only when it is asked for.
	const daemon = `[...document.querySelectorAll("tbody td[data-label=Who]")].some((td) => td.innerText.includes("Fairlead itself"))`
	b.until("there are lines", `document.querySelector("tbody time") !== null`)
	if eval[bool](b, daemon) {
		t.Error("what the daemon did is among what people did")
	}
	b.open("/ui/audit?daemon=true")
	b.until("what the daemon did is there", daemon)
	b.open("/ui/audit")
	b.until("what people did is there", `document.querySelector("tbody")?.innerText.includes("update") ?? false`)
	// Times are told in the zone of who looks.
	b.zone("Asia/Kolkata")
	b.open("/ui/audit")
	b.until("there are lines", `document.querySelector("tbody time") !== null`)
	at, err := time.Parse(time.RFC3339, eval[string](b, `document.querySelector("tbody time").dateTime`))
	if err != nil {
		t.Fatal(err)
	}
	there := at.In(time.FixedZone("Asia/Kolkata", 5*60*60+30*60)).Format("3:04 PM")
	b.until("it is told that it was "+there, fmt.Sprintf(`document.querySelector("tbody time").textContent.replace(/\s/g, " ").includes(%s)`, quote(there)))
	b.zone("")
	// What the viewer was refused stands there.
	b.open("/ui/audit?refused=true")
	b.shows("refused (403)")
	if done := eval[bool](b, `document.querySelector("tbody .badge.good") !== null`); done {
		t.Error("what was done is shown among what was refused")
	}
}

// A token is made, lets somebody in, and is revoked, which signs them out.
func (s *site) tokens(t *testing.T, b *tab) {
	b.open("/ui/tokens")
	b.typed("#name", "No Such Name!")
	b.click("form[action='/ui/tokens'] .primary")
	b.until("a bad name is refused", `document.querySelector("[role=alert]") !== null`)
	if typed := eval[string](b, `document.querySelector("#name").value`); typed != "No Such Name!" {
		t.Errorf("what was typed became %q", typed)
	}
	b.typed("#name", "guest")
	b.click("form[action='/ui/tokens'] .primary")
	b.until("the token is shown", `document.querySelector("#secret")?.value.length > 100`)
	secret := eval[string](b, `document.querySelector("#secret").value`)
	guest := s.tab()
	guest.open("/ui/sign-in")
	guest.typed("input[name=token]", secret)
	guest.click("form.stack button")
	guest.shows(s.name)
	b.open("/ui/tokens")
	if eval[bool](b, fmt.Sprintf(`document.body.innerHTML.includes(%s)`, quote(secret))) {
		t.Error("the token is shown again")
	}
	b.click("#token-guest form button")
	b.until("it is gone", `document.querySelector("#token-guest") === null && document.querySelector("h1") !== null`)
	guest.open(s.app())
	guest.until("the guest is signed out", `location.pathname === "/ui/sign-in"`)
}

// The settings as a form and as YAML: what is wrong is told and kept, what was
// observed meanwhile is no conflict, what somebody else changed is one.
func (s *site) settings(t *testing.T, b *tab) {
	page := s.app() + "/settings"
	b.open(page)
	b.typed("#rollout-soak", "soon")
	b.click("button[value=save]")
	b.until("the error stands beside its field", `document.querySelector("#rollout-soak[aria-invalid]")?.value === "soon"`)
	b.typed("#rollout-soak", "500ms")
	b.click("button[value=check]")
	b.shows("Nothing was saved")
	b.click("button[value=save]")
	b.shows("Saved.")
	if soak := s.App(s.name).Spec.Rollout.Soak; soak == nil || soak.Duration != 500*time.Millisecond {
		t.Errorf("soak is %v", soak)
	}

	// The gateway, for all services and for one: what the page knows to be wrong, what
	// only the API server does, and what is saved.
	const ofWeb = "input[name='gateway.services[web].%s']"
	b.typed("#gateway-holdBytes", "much")
	b.typed(fmt.Sprintf(ofWeb, "holdTimeout"), "90s")
	b.click("button[value=save]")
	b.until("the error stands beside its field", `document.querySelector("#gateway-holdBytes[aria-invalid]")?.value === "much"`)
	b.typed("#gateway-holdBytes", "32Mi")
	b.typed(fmt.Sprintf(ofWeb, "probe.failing"), "1000")
	b.click("button[value=check]")
	b.until("the error of the service stands beside its field, which is shown", fmt.Sprintf(`(() => {
		const field = document.querySelector(%s);
		return field?.ariaInvalid === "true" && field.checkVisibility() && field.parentElement.innerText.includes("100 at most");
	})()`, quote(fmt.Sprintf(ofWeb, "probe.failing"))))
	b.typed(fmt.Sprintf(ofWeb, "probe.failing"), "4")
	b.click("button[value=save]")
	b.shows("Saved.")
	if g := s.App(s.name).Spec.Gateway; g.HoldBytes.String() != "32Mi" || len(g.Services) != 1 || g.Services[0].HoldTimeout.Duration != 90*time.Second || g.Services[0].Probe.Failing != 4 {
		t.Errorf("the gateway is set to %+v", g)
	}

	b.open(page + "?as=yaml")
	text := eval[string](b, `document.querySelector("#text").value`)
	b.typed("#text", strings.Replace(text, "attempts: 10", "attempts: many", 1))
	b.click("button[value=save]")
	b.until("the error is told", `document.querySelector("[role=alert]")?.innerText.includes("attempts") && document.querySelector("#text").value.includes("many")`)

	// The status changes while it is edited.
	b.open(page + "?as=yaml")
	checked := func(app *v1alpha1.Application) string {
		if app.Status.Update == nil {
			return ""
		}
		return app.Status.Update.HandledCheck
	}
	before := s.App(s.name)
	if _, errOut, code := s.Fairlead("check", s.name, "-n", s.Namespace); code != 0 {
		t.Fatal(errOut)
	}
	s.WaitApp(s.name, "the source was looked at", func(app *v1alpha1.Application) bool {
		return checked(app) != checked(before) && app.ResourceVersion != before.ResourceVersion
	})
	b.typed("#text", strings.Replace(text, "attempts: 10", "attempts: 11", 1))
	b.click("button[value=save]")
	b.shows("Saved.")
	if n := s.App(s.name).Spec.Verify.Attempts; n != 11 {
		t.Errorf("%d attempts", n)
	}

	b.open(page + "?as=yaml")
	s.Patch(s.App(s.name), `{"spec":{"verify":{"attempts":12}}}`)
	b.typed("#text", strings.Replace(text, "attempts: 10", "attempts: 13", 1))
	b.click("button[value=save]")
	b.shows("Somebody else changed the settings")
	if kept := eval[bool](b, `document.querySelector("#text").value.includes("attempts: 13")`); !kept || s.App(s.name).Spec.Verify.Attempts != 12 {
		t.Errorf("what was typed is kept: %v; %d attempts", kept, s.App(s.name).Spec.Verify.Attempts)
	}
}

// A backup is made, downloaded, and gone back to.
func (s *site) backups(t *testing.T, b *tab) {
	page := s.app() + "/backups"
	env := filepath.Join(s.repo.Dir, ".env")
	saved, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	b.open(page)
	b.click("form[action$='/backups'] button")
	if got := b.outcome(); !strings.Contains(got, "The backup was made.") {
		t.Errorf("the outcome is told as %q", got)
	}
	b.open(page)
	const row = "tr[id^=backup-]"
	b.until("it is in the list", `document.querySelector("`+row+`") !== null`)
	eval[any](b, `(() => { window.archive = null; fetch(document.querySelector("`+row+` a[href$=download]").href).then((a) => a.arrayBuffer())
		.then((data) => { window.archive = new TextDecoder("latin1").decode(data); }); })()`)
	b.until("it is downloaded", `window.archive !== null`)
	if whole := eval[bool](b, `window.archive.startsWith("backup_") && window.archive.includes("manifest.json")`); !whole {
		t.Error("what was downloaded is no backup")
	}

	if err := os.WriteFile(env, append(saved, "LATER=1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	b.click(row + " a[href$=restore]")
	b.click("form[action$='/restore/plan'] button")
	b.until("what is overwritten is told", `document.querySelectorAll("ul.plan li").length > 0`)
	b.typed("#confirm", "another")
	b.click(".button.danger")
	b.shows("Nothing was changed.")
	b.typed("#confirm", s.name)
	b.click(".button.danger")
	b.until("the restore has a page", `location.pathname.includes("/updates/")`)
	b.until("its services are told", `document.querySelector("#service-web") !== null`)
	if got := b.outcome(); !strings.Contains(got, "what it was when the backup was made") {
		t.Errorf("the outcome is told as %q", got)
	}
	if health := eval[string](b, `document.querySelector("#service-web").innerText`); !strings.Contains(health, "healthy") {
		t.Errorf("the service is told as %q", health)
	}
	if got, err := os.ReadFile(env); err != nil || string(got) != string(saved) {
		t.Errorf("the settings are %q, %v", got, err)
	}
	b.open(s.app() + "/figures")
	b.until("the charts are drawn", `document.querySelectorAll("figure.chart").length === 4 && document.querySelectorAll("#sizes .bar").length >= 2`)
	b.shows("The next update is expected to write about")
}

// One asks, the other one sees it and cancels it.
func (s *site) twoPeople(t *testing.T, admin, operator *tab) {
	s.publish("A slow start", "2", apps.Behaviour{StartDelay: "20s"})
	admin.open(s.app())
	operator.open(s.app())
	request := operator.asked("#update-now")
	admin.until("the other one sees it run", `document.querySelector("#active a") !== null`)
	s.WaitStep(request, v1alpha1.StepRollout)
	admin.click("#active a")
	admin.click("a[href$='/cancel']")
	admin.click("dialog[open] #confirm")
	for _, b := range []*tab{admin, operator} {
		if got := b.outcome(); !strings.Contains(got, "cancelled") {
			t.Errorf("the outcome is told as %q", got)
		}
	}
	s.WantEnd(request, v1alpha1.PhaseCancelled)
}

// scripts switches scripts on or off, for the pages that are opened from now on.
func (b *tab) scripts(on bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}); err != nil {
		b.t.Fatal(err)
	}
}

// The log of a service is followed from one container to the next, and is text. Who
// updates meanwhile has no scripts: pages take the place of dialogs, and load anew by
// themselves.
func (s *site) containerLog(t *testing.T, operator, viewer *tab) {
	viewer.open(s.app())
	viewer.click("#service-web th a")
	viewer.until("the log is shown", `document.querySelector("[data-log-view]")?.innerText.includes("web: listening on")`)
	viewer.until("it says whose it is", `document.querySelector("[data-log-source]").textContent.includes("web")`)
	s.publish("Says a script", script, apps.Behaviour{})
	operator.scripts(false)
	operator.open(s.app())
	operator.click("#update-now")
	operator.click("main #confirm")
	if got := operator.outcome(); !strings.Contains(got, "The update succeeded.") {
		t.Errorf("the outcome is told as %q", got)
	}
	operator.until("the log is there", `document.querySelector("#log pre")?.innerText.includes("[CleanUp]")`)
	operator.open(s.app() + "/logs/web")
	operator.until("the log of the container is there", fmt.Sprintf(`document.querySelector("main pre")?.innerText.includes(%s)`, quote("web: version "+script)))
	operator.scripts(true)
	viewer.until("the next container is followed", fmt.Sprintf(`document.querySelector("[data-log-view]").innerText.includes(%s)`, quote("web: version "+script)))
	viewer.unharmed("the log of a container")
	if connection := eval[string](viewer, `document.documentElement.dataset.connection ?? "live"`); connection == "lost" || connection == "out" {
		t.Errorf("the connection is told as %s", connection)
	}
}

// A dry run with a commit, profiles and variables of its own, and the update that
// comes of it.
func (s *site) options(t *testing.T, b *tab) {
	sha := s.publish("With options", "4", apps.Behaviour{})
	s.Patch(s.App(s.name), `{"spec":{"compose":{"requestVariables":["HEALTH_INTERVAL","NOTE"]}}}`)
	const tag = `v1.2-<b>&"`
	if err := s.repo.Tag(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
	b.open(s.app())
	b.click("#choose")
	b.until("the branches are listed", `document.querySelector("dialog[open]")?.innerText.includes("Branches") && document.querySelector("dialog[open]").innerText.includes("main")`)
	// The tag is told by its name and commit, and chosen.
	const ofTag = `[...document.querySelectorAll("dialog[open] section.card")].find((c) => c.querySelector("h2").innerText === "Tags")?.querySelector("li")`
	if got := eval[string](b, ofTag+`.innerText`); !strings.Contains(got, tag) || !strings.Contains(got, sha[:7]) {
		t.Errorf("the tag is told as %q", got)
	}
	eval[any](b, ofTag+`.querySelector("button").click()`)
	b.until("the plan is told", `document.querySelector("dialog[open] #confirm") !== null`)
	b.shows("With options")
	b.until("it is of the tag's commit", fmt.Sprintf(`document.querySelector("dialog[open] input[name=commit]").value === "%s"`, sha))
	b.open(s.app())
	b.typed("#variables", "WRONG")
	b.click("#versions details form button")
	b.until("what is wrong is told", `document.querySelector("dialog[open]")?.innerText.includes("Variables are written NAME=value")`)
	b.click("dialog[open] [data-dialog-close]")
	b.until("what was typed is still there", `document.querySelector("dialog") === null && document.querySelector("#variables").value === "WRONG"`)
	b.typed("#commit", sha[:10])
	b.typed("#profiles", "extra")
	b.typed("#variables", "HEALTH_INTERVAL=9s\nNOTE=<b>&=\"")
	b.click("#versions details form button")
	b.until("the plan is told", `document.querySelector("dialog[open] #confirm") !== null`)
	for _, text := range []string{"HEALTH_INTERVAL=9s", `NOTE=<b>&="`, "extra", "With options", "which leaves", "Images that are built"} {
		b.shows(text)
	}
	b.click("dialog[open] #confirm")
	if got := b.outcome(); !strings.Contains(got, "The update succeeded.") {
		t.Errorf("the outcome is told as %q", got)
	}
	at := eval[string](b, `location.pathname`)
	ur := s.Request(at[strings.LastIndex(at, "/")+1:])
	if v := ur.Spec.Variables; v["HEALTH_INTERVAL"] != "9s" || v["NOTE"] != `<b>&="` || len(ur.Spec.Profiles) != 1 || ur.Spec.Commit != sha {
		t.Errorf("it was asked for %+v", ur.Spec)
	}
	if ur.Status.BuildBytes < 0 || ur.Status.Plan == nil || len(ur.Status.Plan.Disk) == 0 {
		t.Errorf("the disk is told as %+v", ur.Status.Plan)
	}
	b.until("the downtime is told", `document.querySelector("#downtime").innerText.includes("probes from outside")`)
}

// The name of a branch is text too.
func (s *site) branch(t *testing.T, admin, viewer *tab) {
	const name = `x/<img/src=x/onerror="window.hacked=3">`
	if _, err := s.repo.Publish(t.Context(), "On a branch", map[string]string{"version.txt": "5\n"}); err != nil {
		t.Fatal(err)
	}
	if err := s.repo.Branch(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	s.Patch(s.App(s.name), fmt.Sprintf(`{"spec":{"source":{"ref":%s}}}`, quote(name)))
	admin.open(s.app())
	viewer.open("/ui/")
	admin.click("form[action$='/check'] button")
	admin.until("the branch is looked at", fmt.Sprintf(`document.querySelector("#versions").innerText.includes(%s)`, quote(name)))
	viewer.shows("1 newer commit")
	admin.unharmed("the name of a branch")
	viewer.unharmed("the name of a branch")
}

// An application is made of a directory.
func (s *site) firstRun(t *testing.T, b *tab) {
	other := apps.ForTest(t, apps.Hello, apps.Options{Label: "browser"})
	b.open("/ui/")
	b.click("a[href='/ui/new']")
	b.typed("#directory", "/no/such/directory")
	b.click("button[value=check]")
	b.shows("there is no such directory")
	b.typed("#directory", other.Dir)
	b.typed("#name", "")
	b.click("button[value=check]")
	b.shows("This directory is a Git clone with a Compose file.")
	b.click("button[value=make]")
	b.until("it has a page", `location.pathname.includes("/applications/")`)
	b.shows("There was no update yet.")
	at := eval[string](b, `location.pathname`)
	app := s.App(at[strings.LastIndex(at, "/")+1:])
	if app.Spec.Compose.Directory != other.Dir {
		t.Errorf("it is of %s, not of %s", app.Spec.Compose.Directory, other.Dir)
	}
	if err := s.Client.Delete(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	b.open("/ui/")
	b.shows(s.name)
}

// In Chinese, at 200 %: no page is wider than the window, and no text is missing.
func (s *site) chinese(t *testing.T, b *tab) {
	b.open("/ui/")
	b.click("details.menu button[value='zh-Hans']")
	b.until("it is in Chinese", `document.documentElement.lang === "zh-Hans"`)
	b.do(chromedp.EmulateViewport(640, 400, chromedp.EmulateScale(2)))
	updates := eval[string](b, `document.querySelector("table.apps td a[href*='/updates/']")?.getAttribute("href") ?? ""`)
	if updates == "" {
		t.Fatal("the overview leads to no update")
	}
	for _, path := range []string{"/ui/", s.app(), updates, s.app() + "/backups", s.app() + "/figures", s.app() + "/settings", s.app() + "/settings?as=yaml",
		s.app() + "/logs/web", "/ui/hosts", "/ui/tokens", "/ui/audit", "/ui/new"} {
		b.open(path)
		b.until("the page is there", `document.querySelector("main h1") !== null`)
		if wide := eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide > 0 {
			t.Errorf("%s is %d px too wide", path, wide)
		}
		// A key without a text stands there as it is.
		if keys := eval[string](b, `(document.querySelector("main").innerText.match(/(^|\s)(app|plan|update|chart|host|tokens|settings?|settinghint|audit|backups|logs?|phase|step|role|life|need|downtime)\.[a-z.]+(?=\s|$)/g) ?? []).join()`); keys != "" {
			t.Errorf("%s: there is no text for %s", path, keys)
		}
		if !eval[bool](b, `/[\u4e00-\u9fff]/.test(document.querySelector("main").innerText)`) {
			t.Errorf("%s is not in Chinese", path)
		}
	}
}
