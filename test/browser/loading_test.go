// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// slow has each answer come that much later; none if it is 0.
func (b *tab) slow(latency time.Duration) {
	b.t.Helper()
	conditions := []*network.Conditions{}
	if latency > 0 {
		conditions = append(conditions, &network.Conditions{Latency: float64(latency.Milliseconds()), DownloadThroughput: -1, UploadThroughput: -1})
	}
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: conditions})
		return err
	}))
}

// What is under way is told where a person looks: at what was clicked, in the place of
// a log, and in a plan that is still made.
func (s *site) loading(t *testing.T, b *tab) {
	const busy = `(() => {
		const e = document.querySelector("#update-now");
		return e.ariaBusy === "true" && getComputedStyle(e).cursor === "progress" && getComputedStyle(e, "::before").borderRightStyle === "solid";
	})()`
	b.open(s.app())
	b.until("the page is there", `document.querySelector("#update-now") !== null && document.readyState === "complete"`)
	b.slow(2 * time.Second)
	b.click("#update-now")
	b.until("the button says that it is under way", busy)
	b.slow(0)
	b.until("the plan is told", `document.querySelector("dialog[open] #confirm") !== null`)
	if eval[bool](b, busy) {
		t.Error("the button stays as if it were under way")
	}
	b.click("dialog[open] [data-dialog-close]")
	b.until("the dialog is closed", `document.querySelector("dialog") === null`)
	eval[any](b, `(() => {
		window.waited = false;
		new MutationObserver(() => { window.waited ||= document.querySelector("dialog[open] [role=status] + progress:not([value])") !== null; })
			.observe(document.body, { childList: true, subtree: true });
	})()`)
	b.click("#update-now")
	b.until("the plan is told", `document.querySelector("dialog[open] #confirm") !== null`)
	if !eval[bool](b, `window.waited`) {
		t.Error("it is not told that the plan is being made")
	}

	update := eval[string](b, `document.querySelector("#updates tbody a").getAttribute("href")`)
	b.slow(2 * time.Second)
	b.open(update)
	b.until("it is told that the log is read", `document.querySelector("[data-log-loading]")?.checkVisibility() ?? false`)
	b.slow(0)
	b.until("the log takes its place", `document.querySelector(".logline") !== null && !document.querySelector("[data-log-loading]").checkVisibility()`)
}
