// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// lines are those of the log, as they are drawn while it is scrolled through.
func (b *tab) lines() []string {
	b.t.Helper()
	// A browser without a screen need not draw a page that is behind another one: the
	// page is told of each place at once.
	return eval[[]string](b, `(() => {
		const view = document.querySelector("[data-log-view]"), all = [];
		for (let at = 0; ; at += view.clientHeight / 2) {
			view.scrollTop = at;
			view.dispatchEvent(new Event("scroll"));
			for (const line of view.querySelectorAll(".logline")) all[line.dataset.n - 1] = line.textContent;
			if (view.clientHeight === 0 || at >= view.scrollHeight - view.clientHeight) break;
		}
		return Array.from(all, (line) => line ?? "a line that was not drawn");
	})()`)
}

// A page that is loaded again and again in the midst of an update has every line of
// its log, once and in order, and so has one that stays.
func TestLogOverReloads(t *testing.T) {
	s := newSite(t, apps.Hello)
	s.Patch(s.App(s.name), `{"spec":{"rollout":{"services":[{"name":"web","healthTimeout":"60s"}]}}}`)
	red := "\x1b[1;31mred\x1b[0m"
	s.publish("Second version", red, apps.Behaviour{StartDelay: "12s"})
	b, stays := s.signedIn("operator"), s.signedIn("viewer")
	b.open(s.app())
	request := b.asked("#update-now")
	page := "/ui/namespaces/" + s.Namespace + "/updates/" + request
	stays.open(page)
	file := func() []string {
		ur := s.Request(request)
		return strings.Split(strings.TrimSuffix(s.Log(ur), "\n"), "\n")
	}
	reloads := 0
	for ; reloads < 12; reloads++ {
		b.until("there is a log", `document.querySelector(".logline") !== null`)
		got := b.lines()
		if want := file(); len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("after %d reloads the page has\n%s\nand the file\n%s", reloads, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if eval[bool](b, `document.getElementById("outcome") !== null`) {
			break
		}
		// One more line, or the end, and then from the beginning.
		b.until("it goes on", fmt.Sprintf(`document.getElementById("outcome") !== null || Number(document.querySelector("[data-log-total]").textContent.replace(/\D/g, "")) > %d`, len(got)))
		b.do(chromedp.Reload())
	}
	if reloads < 2 {
		t.Errorf("it was loaded again only %d times in the update", reloads)
	}
	s.WantEnd(request, v1alpha1.PhaseSucceeded)
	want := file()
	for name, tab := range map[string]*tab{"that was loaded again": b, "that stayed": stays} {
		tab.outcome()
		tab.until("the log is whole", fmt.Sprintf(`document.querySelector("[data-log-total]").textContent.replace(/\D/g, "") === "%d"`, len(want)))
		if got := tab.lines(); !slices.Equal(got, want) {
			t.Errorf("the page %s has\n%s\nand the file\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	// What is downloaded is the file.
	eval[any](b, `(() => { window.file = null; fetch(document.querySelector("#log a[href$=download]").href).then(async (answer) => {
		window.file = [answer.headers.get("Content-Disposition") ?? "", await answer.text()]; }); })()`)
	b.until("it is downloaded", `window.file !== null`)
	if got := eval[[]string](b, `window.file`); !strings.Contains(got[0], "attachment") || strings.TrimSuffix(got[1], "\n") != strings.Join(want, "\n") {
		t.Errorf("the file %q is\n%s", got[0], got[1])
	}
	// Colours of a terminal are seen as colours, in both themes, and its codes are not.
	b.open(s.app() + "/logs/web")
	b.until("the log is shown", `document.querySelector("[data-log-view]")?.innerText.includes("web: version red") ?? false`)
	seen := map[string]bool{}
	for _, theme := range []string{"light", "dark"} {
		colours := eval[[]string](b, fmt.Sprintf(`(() => { document.documentElement.dataset.theme = %q;
			const line = [...document.querySelectorAll(".logline")].find((l) => l.textContent.includes("version red"));
			const word = [...line.querySelectorAll("span")].find((e) => e.textContent === "red");
			return [getComputedStyle(word).color, getComputedStyle(line).color, getComputedStyle(word).fontWeight]; })()`, theme))
		if colours[0] == colours[1] || colours[2] != "700" {
			t.Errorf("in the %s theme bold red is shown as %v", theme, colours)
		}
		seen[colours[0]] = true
	}
	if len(seen) != 2 {
		t.Errorf("both themes have the same red: %v", seen)
	}
}
