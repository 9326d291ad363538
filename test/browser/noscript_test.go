// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// usable checks a page that has no scripts: it ran none, what it offers does something
// without, and nothing is empty that a script would have filled.
func (b *tab) usable(path string) {
	b.t.Helper()
	b.open(path)
	b.until(path+" is there", `document.readyState === "complete" && document.querySelector("main h1") !== null`)
	if dead := eval[string](b, `[...document.querySelectorAll("button, input, select, textarea")].filter((e) => e.checkVisibility() && e.readOnly !== true &&
		(e.form === null || e.type === "button")).map((e) => e.outerHTML).join("\n")`); dead != "" {
		b.t.Errorf("%s offers what needs a script:\n%s", path, dead)
	}
	if empty := eval[string](b, `[...document.querySelectorAll("time, #main [role=status], pre")].filter((e) => e.checkVisibility() && e.textContent.trim() === "")
		.map((e) => e.outerHTML).join("\n")`); empty != "" {
		b.t.Errorf("%s has what only a script would fill:\n%s", path, empty)
	}
}

// TestWithoutScripts does everything with scripts switched off: pages take the place
// of dialogs, and load anew by themselves while something runs.
func TestWithoutScripts(t *testing.T) {
	s := newSite(t, apps.Hello)
	b := s.tab()
	b.scripts(false)
	b.open("/ui/sign-in")
	b.typed("input[name=token]", s.token("admin", "--all-namespaces"))
	b.click("form.stack button")
	b.until("they are signed in", `location.pathname === "/ui/" && document.querySelector("h1") !== null`)

	s.publish("Second version", "2", apps.Behaviour{})
	b.open(s.app())
	b.clickThrough("form[action$='/check'] button")
	b.untilLoaded("the new commit is shown", `document.body.innerText.includes("1 newer commit")`)
	b.open("/ui/")
	b.shows("1 newer commit")

	ended := func(want string) {
		t.Helper()
		if got := b.outcome(); !strings.Contains(got, want) {
			t.Errorf("the outcome is told as %q, want %q", got, want)
		}
	}
	// The plan is a page, and comes by itself.
	b.open(s.app())
	b.click("#update-now")
	b.click("main #confirm")
	ended("The update succeeded.")
	b.until("its log is there", `document.querySelector("#log pre")?.innerText.includes("[CleanUp]")`)
	done := eval[string](b, `location.pathname`)

	s.publish("A slow start", "3", apps.Behaviour{StartDelay: "30s"})
	b.open(s.app())
	b.click("#update-now")
	b.click("main #confirm")
	b.until("the update has a page", `location.pathname.includes("/updates/")`)
	runs := eval[string](b, `location.pathname`)
	s.WaitStep(runs[strings.LastIndex(runs, "/")+1:], v1alpha1.StepRollout)
	b.usable("/ui/")
	b.usable(s.app())
	b.usable(runs)
	b.click("a[href$='/cancel']")
	b.click("main #confirm")
	ended("cancelled")

	b.open(s.app())
	b.click("#release-" + s.name + "-1 form button")
	b.click("main #confirm")
	ended("The update succeeded.")

	t.Run("backups", func(t *testing.T) { s.during(t); s.backupsWithoutScripts(t, b) })
	t.Run("settings", func(t *testing.T) { s.during(t); s.settingsWithoutScripts(t, b) })
	t.Run("tokens", func(t *testing.T) { s.during(t); s.tokensWithoutScripts(t, b) })
	t.Run("new", func(t *testing.T) { s.during(t); s.newWithoutScripts(t, b) })

	for _, path := range []string{"/ui/", s.app(), done, s.app() + "/backups", s.app() + "/figures", s.app() + "/settings", s.app() + "/settings?as=yaml",
		s.app() + "/logs/web", s.app() + "/choose", "/ui/hosts", "/ui/tokens", "/ui/audit", "/ui/audit?refused=true", "/ui/new"} {
		b.usable(path)
	}
	b.open(s.app() + "/logs/web")
	b.shows("web: listening on")
	b.open(s.app() + "/choose")
	b.click("form[action$='/plan'] button")
	b.until("the plan is told", `document.querySelector("main #confirm") !== null`)

	b.click("details.menu button[value='zh-Hans']")
	b.until("it is in Chinese", `document.documentElement.lang === "zh-Hans"`)
	b.click("details.menu button[name=theme][value=dark]")
	b.until("it is dark", `document.documentElement.dataset.theme === "dark"`)
	b.clickThrough("form[action='/ui/sign-out'] button:not([name])")
	b.open(s.app())
	b.until("they have to sign in", `location.pathname === "/ui/sign-in"`)
}

// clickThrough clicks on what leads to a page, and waits until that is there: before,
// a further click would end what this one has begun.
func (b *tab) clickThrough(selector string) {
	b.t.Helper()
	b.until(selector+" is there", fmt.Sprintf(`document.querySelector(%s) !== null && document.readyState === "complete"`, quote(selector)))
	eval[any](b, fmt.Sprintf(`(() => { window.left = true; document.querySelector(%s).click(); })()`, quote(selector)))
	b.until(selector+" has led to a page", `window.left === undefined && document.readyState === "complete"`)
}

// untilLoaded loads the page again, as people do, until an expression is true.
func (b *tab) untilLoaded(what, expression string) {
	b.t.Helper()
	b.until(what, fmt.Sprintf(`(() => {
		if (document.readyState !== "complete") return false;
		if (%s) return true;
		document.querySelector("noscript a.button")?.click();
		return false; })()`, expression))
}

func (s *site) backupsWithoutScripts(t *testing.T, b *tab) {
	page := s.app() + "/backups"
	b.open(page)
	b.click("form[action$='/backups'] button")
	if got := b.outcome(); !strings.Contains(got, "The backup was made.") {
		t.Errorf("the outcome is told as %q", got)
	}
	env := filepath.Join(s.repo.Dir, ".env")
	saved, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(env, append(saved, "LATER=1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	b.usable(page)
	b.click("tr[id^=backup-] a[href$=restore]")
	b.click("form[action$='/restore/plan'] button")
	b.until("what is overwritten is told", `document.querySelectorAll("ul.plan li").length > 0`)
	b.typed("#confirm", "another")
	b.click(".button.danger")
	b.shows("Nothing was changed.")
	b.typed("#confirm", s.name)
	b.click(".button.danger")
	if got := b.outcome(); !strings.Contains(got, "what it was when the backup was made") {
		t.Errorf("the outcome is told as %q", got)
	}
	if got, err := os.ReadFile(env); err != nil || string(got) != string(saved) {
		t.Errorf("the settings are %q, %v", got, err)
	}
}

// A hook is added in the form, told what it lacks, and saved; another one is removed.
func (s *site) settingsWithoutScripts(t *testing.T, b *tab) {
	page := s.app() + "/settings"
	row := func(n int, field string) string { return fmt.Sprintf("[name='hooks[%d].%s']", n, field) }
	b.open(page)
	b.typed("#rollout-soak", "soon")
	b.clickThrough("button[value='add hooks']")
	b.until("there is a row, and what was typed", `document.querySelector("#hooks-0").open && document.querySelector("#rollout-soak").value === "soon"`)
	b.clickThrough("button[value='add hooks']")
	b.until("there are two", `document.querySelector("#hooks-1") !== null`)
	if eval[bool](b, fmt.Sprintf(`document.querySelector(%s).checkVisibility()`, quote(row(1, "http.url")))) {
		t.Error("a command has a URL to fill in")
	}
	b.typed(row(0, "name"), "first")
	b.clickThrough("button[value='remove hooks[0]']")
	b.until("there is one", `document.querySelector("#hooks-1") === null && document.querySelector("#hooks-0") !== null`)
	b.typed(row(0, "variant"), "http")
	if !eval[bool](b, fmt.Sprintf(`document.querySelector(%s).checkVisibility()`, quote(row(0, "http.url")))) {
		t.Error("a call has no URL to fill in")
	}
	b.typed("#rollout-soak", "1s")
	b.typed(row(0, "name"), "tell")
	b.typed(row(0, "http.url"), "ftp://example.org/")
	b.click("#row-0-hooks-at-Success")
	b.click("button[value=save]")
	b.until("what the API server says stands beside the URL", fmt.Sprintf(`(() => { const field = document.querySelector(%s);
		return field?.ariaInvalid === "true" && field.checkVisibility() && field.value === "ftp://example.org/"; })()`, quote(row(0, "http.url"))))
	b.typed(row(0, "http.url"), "http://127.0.0.1:1/told")
	b.typed(row(0, "onFailure"), "Continue")
	b.clickThrough("button[value='add verify.checks']")
	b.typed("[name='verify.checks[0].name']", "answers")
	b.typed("[name='verify.checks[0].variant']", "exec")
	b.typed("[name='verify.checks[0].exec.service']", "web")
	b.typed("[name='verify.checks[0].exec.command']", "/app\nhealth")
	b.clickThrough("button[value='add notifications']")
	b.typed("[name='notifications[0].name']", "chat")
	b.typed("[name='notifications[0].webhook.url']", "http://127.0.0.1:1/chat")
	b.clickThrough("button[value='add rollout.services']")
	b.typed("[name='rollout.services[0].name']", "web")
	b.typed("[name='rollout.services[0].healthTimeout']", "90s")
	b.click("button[value=save]")
	b.shows("Saved.")
	spec := s.App(s.name).Spec
	if len(spec.Hooks) != 1 || spec.Hooks[0].HTTP == nil || spec.Hooks[0].HTTP.URL != "http://127.0.0.1:1/told" || spec.Hooks[0].OnFailure != v1alpha1.HookContinue {
		t.Errorf("the hooks are %+v", spec.Hooks)
	}
	if c := spec.Verify.Checks; len(c) != 1 || c[0].Exec == nil || strings.Join(c[0].Exec.Command, " ") != "/app health" {
		t.Errorf("the checks are %+v", c)
	}
	if n := spec.Notifications; len(n) != 1 || n[0].Webhook == nil {
		t.Errorf("the notifications are %+v", n)
	}
	if r := spec.Rollout; len(r.Services) != 1 || r.Services[0].HealthTimeout.Duration != 90*time.Second || r.Soak.Duration != time.Second {
		t.Errorf("the rollout is %+v", r)
	}
	for list, left := range map[string]func(v1alpha1.ApplicationSpec) int{
		"verify.checks": func(s v1alpha1.ApplicationSpec) int { return len(s.Verify.Checks) },
		"notifications": func(s v1alpha1.ApplicationSpec) int { return len(s.Notifications) },
		"hooks":         func(s v1alpha1.ApplicationSpec) int { return len(s.Hooks) },
	} {
		b.open(page)
		b.clickThrough("button[value='remove " + list + "[0]']")
		b.shows("Nothing was saved yet.")
		b.click("button[value=save]")
		b.shows("Saved.")
		if n := left(s.App(s.name).Spec); n != 0 {
			t.Errorf("%d of %s are left", n, list)
		}
	}

	b.open(page + "?as=yaml")
	text := eval[string](b, `document.querySelector("#text").value`)
	b.typed("#text", strings.Replace(text, "attempts: 10", "attempts: many", 1))
	b.click("button[value=save]")
	b.until("the error is told", `document.querySelector("[role=alert]")?.innerText.includes("attempts") && document.querySelector("#text").value.includes("many")`)
	b.typed("#text", strings.Replace(text, "attempts: 10", "attempts: 14", 1))
	b.click("button[value=save]")
	b.shows("Saved.")
	if n := s.App(s.name).Spec.Verify.Attempts; n != 14 {
		t.Errorf("%d attempts", n)
	}
}

func (s *site) tokensWithoutScripts(t *testing.T, b *tab) {
	b.open("/ui/tokens")
	b.typed("#name", "plain")
	b.click("form[action='/ui/tokens'] .primary")
	b.until("the token is shown", `document.querySelector("#secret")?.value.length > 100`)
	b.open("/ui/tokens")
	b.click("#token-plain form button")
	b.until("it is gone", `document.querySelector("#token-plain") === null && document.querySelector("h1") !== null`)
}

func (s *site) newWithoutScripts(t *testing.T, b *tab) {
	other := apps.ForTest(t, apps.Hello, apps.Options{Label: "browser"})
	b.open("/ui/new")
	b.typed("#directory", other.Dir)
	b.typed("#name", "")
	b.click("button[value=check]")
	b.shows("This directory is a Git clone with a Compose file.")
	b.click("button[value=make]")
	b.until("it has a page", `location.pathname.includes("/applications/")`)
	b.shows("There was no update yet.")
	at := eval[string](b, `location.pathname`)
	if err := s.Client.Delete(t.Context(), s.App(at[strings.LastIndex(at, "/")+1:])); err != nil {
		t.Fatal(err)
	}
}
