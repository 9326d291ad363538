// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/fairlead-dev/fairlead/test/apps"
)

// tabTo presses Tab until something has the focus that fits a selector.
func (b *tab) tabTo(selector string) {
	b.t.Helper()
	const most = 80
	for range most {
		b.do(chromedp.KeyEvent(kb.Tab))
		if eval[bool](b, fmt.Sprintf(`document.activeElement?.matches(%s) ?? false`, quote(selector))) {
			return
		}
	}
	b.t.Fatalf("%d times Tab do not lead to %s", most, selector)
}

// Without a mouse: the page is gone through with Tab, a dialog keeps the focus and
// gives it back, and an update is asked for.
func (s *site) keyboard(t *testing.T, b *tab) {
	s.publish("By keyboard", "6", apps.Behaviour{})
	b.open(s.app())
	b.do(chromedp.KeyEvent(kb.Tab))
	if first := eval[string](b, `document.activeElement.className`); first != "skip" {
		t.Errorf("Tab leads to %q first, not over the navigation", first)
	}
	b.tabTo("#update-now")
	if !eval[bool](b, `document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
		t.Error("it is not seen what has the focus")
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("the plan is told", `document.querySelector("dialog[open] #confirm") !== null`)
	b.tabTo("dialog #confirm")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("the dialog is closed, and the focus is back", `document.querySelector("dialog") === null && document.activeElement.id === "update-now"`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("the plan is told again", `document.querySelector("dialog[open] #confirm") !== null`)
	b.tabTo("dialog #confirm")
	b.do(chromedp.KeyEvent(kb.Enter))
	if got := b.outcome(); !strings.Contains(got, "The update succeeded.") {
		t.Errorf("the outcome is told as %q", got)
	}
	b.tabTo("[data-log-view]")
}
