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

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

const (
	// axeVariable names axe-core, see hack/axe.sh; without it nothing is looked for.
	axeVariable = "FAIRLEAD_AXE"
	// picturesVariable names a directory for a picture of each page.
	picturesVariable = "FAIRLEAD_SCREENSHOTS"
)

// shown are the pictures that docs/ui.md shows.
var shown = map[string]bool{
	"overview-en-light-1440": true, "update-runs-en-dark-1440": true, "update-undone-en-light-360": true, "plan-zh-Hans-light-360": true,
}

// look is a page to look at.
type look struct {
	name, path string
	// before, if set, brings the page into a state.
	before func(*tab)
	// ready is true when the page shows what it is for.
	ready string
	// wide has it looked at on a screen of 4K too.
	wide bool
}

// TestLook opens each page in both languages, and looks at it in both themes, as wide
// as a phone and as a screen: axe-core finds nothing that keeps anybody out, and
// nothing is wider than the window, and a screen reader is told all there is. It leaves
// pictures for people to look at.
func TestLook(t *testing.T) {
	s := newSite(t, apps.Shop)
	// What it writes has colours.
	s.publish("Show prices with taxes", "\x1b[1;32m2\x1b[0m", apps.Behaviour{})
	done := s.Update(s.name, "").Name
	s.WantEnd(done, v1alpha1.PhaseSucceeded)
	s.publish("Sort the catalogue by name", "3", apps.Behaviour{Unhealthy: true})
	undone := s.Update(s.name, "").Name
	s.WantEnd(undone, v1alpha1.PhaseRolledBack)
	failed := s.unbuilt()
	s.Patch(s.App(s.name), `{"spec":{"rollout":{"services":[{"name":"web","healthTimeout":"10m"}]}}}`)
	s.publish("Begin faster, with a smaller cache and a rather long subject that goes on", "4", apps.Behaviour{StartDelay: "10m"})
	runs := s.Update(s.name, "").Name
	s.WaitStep(runs, v1alpha1.StepRollout)

	update := func(name string) string { return "/ui/namespaces/" + s.Namespace + "/updates/" + name }
	const heading = `document.querySelector("main h1") !== null`
	s.looks(s.signedIn("admin", "--all-namespaces"),
		look{name: "update-runs", path: update(runs), ready: `document.querySelectorAll(".logline").length > 3`},
		look{name: "update-cancel", path: update(runs) + "/cancel", ready: heading},
		look{name: "overview-runs", path: "/ui/", ready: `document.querySelector("main progress") !== null`},
	)
	s.Cancel(runs)
	s.WaitEnded(runs)
	if _, errOut, code := s.Fairlead("check", s.name, "-n", s.Namespace); code != 0 {
		t.Fatal(errOut)
	}
	admin := s.signedIn("admin", "--all-namespaces")
	admin.open(s.app() + "/backups")
	admin.until("there is a backup", `document.querySelector("a[href$='/restore']") !== null`)
	restore := eval[string](admin, `document.querySelector("a[href$='/restore']").getAttribute("href")`)
	s.looksAtSettings(admin)
	const pressed = `document.querySelector("dialog[open] #confirm") !== null`
	s.looks(admin,
		look{name: "overview", path: "/ui/", ready: heading, wide: true},
		look{name: "application", path: s.app(), ready: heading, wide: true},
		look{name: "plan", path: s.app(), ready: pressed, before: func(b *tab) { b.click("#update-now") }},
		look{name: "plan-back", path: s.app(), ready: pressed, before: func(b *tab) { b.click("#release-" + s.name + "-1 form button") }},
		look{name: "choose", path: s.app(), ready: `document.querySelector("dialog[open] form[action$='/plan']") !== null`, before: func(b *tab) { b.click("#choose") }},
		look{name: "update-done", path: update(done), ready: `document.getElementById("outcome") !== null && document.querySelector(".logline") !== null`},
		look{name: "update-cancelled", path: update(runs), ready: `document.getElementById("outcome") !== null && document.querySelector(".logline") !== null`},
		look{name: "update-failed", path: update(failed), ready: `document.getElementById("outcome") !== null && document.querySelector(".logline") !== null`},
		look{name: "update-undone", path: update(undone), ready: `document.getElementById("outcome") !== null && document.querySelector(".logline") !== null`, wide: true},
		look{name: "backups", path: s.app() + "/backups", ready: heading},
		look{name: "restore", path: restore, ready: heading},
		look{name: "figures", path: s.app() + "/figures", ready: heading},
		look{name: "settings", path: s.app() + "/settings", ready: heading},
		look{name: "settings-yaml", path: s.app() + "/settings?as=yaml", ready: heading},
		look{name: "logs", path: s.app() + "/logs/web", ready: `document.querySelector(".logline span[class]") !== null`},
		look{name: "new", path: "/ui/new", ready: heading},
		look{name: "hosts", path: "/ui/hosts", ready: heading},
		look{name: "tokens", path: "/ui/tokens", ready: heading},
		look{name: "tokens-made", path: "/ui/tokens", ready: `document.querySelector("#secret") !== null`, before: func(b *tab) { b.click("form[action='/ui/tokens'] .primary") }},
		look{name: "audit", path: "/ui/audit", ready: heading},
		look{name: "nowhere", path: "/ui/nowhere", ready: heading},
		look{name: "menu", path: "/ui/", ready: `document.querySelector("details.menu").open`, before: func(b *tab) { b.click("details.menu summary") }},
	)
	viewer := s.signedIn("viewer")
	s.looks(viewer,
		look{name: "denied", path: "/ui/tokens", ready: heading},
		look{name: "settings-viewer", path: s.app() + "/settings", ready: `document.querySelector("#rollout-soak[readonly]") !== null`, before: opened},
	)
	stranger := s.tab()
	stranger.open("/ui/sign-in")
	s.looks(stranger, look{name: "sign-in", path: "/ui/sign-in", ready: heading})
	namespace := s.emptyNamespace()
	for name, role := range map[string]string{"empty": "viewer", "empty-admin": "admin"} {
		empty := s.tab()
		empty.signIn(s.token(role, "-n", namespace))
		s.looks(empty, look{name: name, path: "/ui/", ready: heading})
	}
	s.looksAtStates(admin, restore)
	s.looksOut()
	s.looksAtRestore(admin)
	s.looksLost(s.signedIn("operator"), s.signedIn("operator"))
}

// opened opens all that is folded up in the page.
func opened(b *tab) {
	b.until("the page is there", `document.readyState === "complete" && document.querySelector("main h1") !== null`)
	eval[any](b, `document.querySelectorAll("main details").forEach((d) => { d.open = true; })`)
}

// looksAtSettings looks at the form with everything that it can hold, folded up and
// open, with a row that is new, and with mistakes of every kind.
func (s *site) looksAtSettings(b *tab) {
	s.t.Helper()
	s.Patch(s.App(s.name), `{"spec":{
		"compose":{"variables":{"HEALTH_INTERVAL":"8s"},"requestVariables":["NOTE"]},
		"update":{"windows":[{"days":["Sat","Sun"],"start":"02:00","end":"05:30","timeZone":"Europe/Berlin"}]},
		"rollout":{"services":[{"name":"web","order":"StartFirst","parallelism":1,"failureAction":"Rollback"},{"name":"worker","stopTimeout":"2m"}]},
		"verify":{"checks":[{"name":"front page","http":{"url":"https://shop.example.com/health","status":200,"contains":"ok"}},
			{"name":"database","tcp":{"address":"127.0.0.1:5432"}},{"name":"queue","exec":{"service":"worker","command":["/app","health"]}}]},
		"gateway":{"mode":"Auto","services":[{"name":"web","holdTimeout":"20s"}]},
		"hooks":[{"name":"warm the cache","at":["AfterService"],"services":["web"],"exec":{"service":"web","command":["/app","warm"]}},
			{"name":"tell the load balancer","at":["BeforeService","AfterService"],"http":{"url":"https://lb.example.com/drain"},"onFailure":"Continue"}],
		"notifications":[{"name":"on-call","events":["Failed","RolledBack"],"webhook":{"url":"https://hooks.example.com/fairlead"}},{"name":"chat","serviceRef":{"name":"chat"}}]}}`)
	page := s.app() + "/settings"
	const rows = 10
	there := fmt.Sprintf(`document.querySelectorAll(".row[id]").length === %d`, rows)
	s.looks(b,
		look{name: "settings-full", path: page, ready: there},
		look{name: "settings-open", path: page, ready: there, before: opened, wide: true},
		look{name: "settings-new", path: page, ready: fmt.Sprintf(`document.querySelectorAll(".row[id]").length === %d`, rows+1), before: func(b *tab) { b.click("button[value='add hooks']") }},
		look{name: "settings-wrong", path: page, ready: `document.querySelectorAll("[aria-invalid]").length >= 3 && document.querySelector("[role=alert]") !== null`, before: func(b *tab) {
			b.typed("#rollout-soak", "soon")
			b.typed("#gateway-holdBytes", "much")
			b.typed("#hooks input[name$='.timeout']", "a while")
			b.click("button[value=save]")
		}},
	)
}

// looksLost looks at pages whose daemon has gone away. It is the end of the daemon.
func (s *site) looksLost(tabs ...*tab) {
	s.t.Helper()
	for i, language := range languages {
		tabs[i].speak(language)
		tabs[i].view(1440, 900)
		tabs[i].open(s.app())
		tabs[i].until("the page is there", `document.querySelector("#update-now") !== null && document.readyState === "complete"`)
	}
	s.Stop()
	for i, language := range languages {
		tabs[i].until("the loss is told", `document.documentElement.dataset.connection === "lost"`)
		tabs[i].spoken("lost-" + language)
		tabs[i].look("lost-"+language, false)
	}
}

var languages = [...]string{"en", "zh-Hans"}

// speak chooses a language, for the pages that are opened from now on. What a page
// writes to document.cookie need not be there yet when the next one is asked for.
func (b *tab) speak(language string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: "fairlead-language", Value: language, URL: b.base, Path: "/"}); err != nil {
		b.t.Fatal(err)
	}
}

// emptyNamespace makes a namespace without an application.
func (s *site) emptyNamespace() string {
	s.t.Helper()
	const name = "empty"
	if _, errOut, code := s.Fairlead("kubectl", "create", "namespace", name); code != 0 {
		s.t.Fatal(errOut)
	}
	return name
}

// looks looks at pages in all ways.
func (s *site) looks(b *tab, pages ...look) {
	s.t.Helper()
	for _, l := range pages {
		for _, language := range languages {
			b.speak(language)
			b.view(1440, 900)
			b.open(l.path)
			if l.before != nil {
				l.before(b)
			}
			b.until(l.name+" is there in "+language, fmt.Sprintf(`document.readyState === "complete" && document.documentElement.lang === %q && (%s)`, language, l.ready))
			b.spoken(l.name + "-" + language)
			b.punctuated(l.name + "-" + language)
			b.look(l.name+"-"+language, l.wide)
		}
	}
}

// look looks at the page that is open.
func (b *tab) look(name string, wide bool) {
	b.t.Helper()
	sizes := [][2]int64{{360, 900}, {1440, 900}}
	if wide {
		sizes = append(sizes, [2]int64{3840, 2160})
	}
	for _, theme := range []string{"light", "dark"} {
		for _, size := range sizes {
			b.view(size[0], size[1])
			eval[any](b, fmt.Sprintf(`document.documentElement.dataset.theme = %q`, theme))
			name := fmt.Sprintf("%s-%s-%d", name, theme, size[0])
			b.fits(name)
			b.axe(name)
			b.picture(name)
		}
	}
}

func (b *tab) view(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// fits checks that nothing makes the page wider than the window, and that no word beside a
// chart is cut off.
func (b *tab) fits(name string) {
	b.t.Helper()
	wide := eval[[]string](b, `(() => {
		const width = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= width) return [];
		return [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > width + 1)
			.map((e) => e.tagName.toLowerCase() + (e.id && "#" + e.id) + (typeof e.className === "string" && e.className && "." + e.className)).slice(0, 8);
	})()`)
	if len(wide) > 0 {
		b.t.Errorf("%s is wider than the window, by %s", name, strings.Join(wide, ", "))
	}
	if cut := eval[[]string](b, `[...document.querySelectorAll("svg text")].filter((e) => e.getBBox().x < 0).map((e) => e.textContent)`); len(cut) > 0 {
		b.t.Errorf("%s cuts off %q", name, cut)
	}
}

// axe looks for what WCAG 2.2 AA, and good practice, forbid.
func (b *tab) axe(name string) {
	b.t.Helper()
	path := os.Getenv(axeVariable)
	if path == "" {
		b.t.Fatalf("%s is not set: run hack/axe.sh and name what it prints", axeVariable)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	quoted, err := json.Marshal(string(source))
	if err != nil {
		b.t.Fatal(err)
	}
	// Once for each page; what the page's policy forbids does not bind the debugger.
	eval[any](b, fmt.Sprintf(`void (window.axe ?? (0, eval)(%s))`, quoted))
	defer b.unstuck()()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`axe.run(document, {
		runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"] }, resultTypes: ["violations"],
	}).then((r) => r.violations.map((v) => v.id + " (" + v.help + "): " + v.nodes.map((n) => n.target.join(" ") + ": " + n.failureSummary).join("; ")))`,
		func(p *runtime.EvaluateParams) { yes := true; p.AwaitPromise = &yes }))
	if err != nil {
		b.t.Fatalf("%s: axe: %v", name, err)
	}
	for _, violation := range found {
		b.t.Errorf("%s: %s", name, violation)
	}
}

// picture leaves a picture of the page, if somebody wants one.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv(picturesVariable)
	if dir == "" {
		return
	}
	if shown[name] {
		b.shot(dir, name)
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	defer b.unrolled()()
	defer b.unstuck()()
	whole, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	b.keep(filepath.Join(dir, name+".png"), whole)
}

// shot leaves the picture of what the window shows, for the documentation.
func (b *tab) shot(dir, name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	small, err := chromedp.Run(ctx, func(ctx context.Context, target *chromedp.Target) ([]byte, error) {
		quality := int64(80)
		r, err := cdp.Call(ctx, target, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
		return r.Data, err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.keep(filepath.Join(dir, "docs", name+".webp"), small)
}

func (b *tab) keep(path string, data []byte) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
