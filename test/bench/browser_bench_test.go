// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/chrome"
)

const (
	paintedWithin  = 200 * time.Millisecond
	firstPageBytes = 100_000
	onScreenWithin = 200 * time.Millisecond
)

// tab is a page in a browser of its own.
type tab struct {
	*testing.T
	ctx  context.Context
	base string
}

// newTab is somebody who is signed in.
func newTab(f *fixture) *tab {
	f.Helper()
	browser, stop, err := chrome.Start()
	must(f.T, err)
	f.Cleanup(stop)
	b := &tab{f.T, browser, "http://" + f.daemon.HTTP()}
	token, errOut, code := f.daemon.Fairlead("token", "create", "--role", "viewer", "--for", "1h", "-n", f.daemon.Namespace)
	if code != 0 {
		f.Fatal(errOut)
	}
	b.open("/ui/sign-in")
	b.do(chromedp.SendKeys("input[name=token]", strings.TrimSpace(token)))
	value[any](b, `document.querySelector("form.stack button").click()`)
	b.until(`location.pathname === "/ui/" && document.querySelector("h1") !== null`)
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	must(b.T, chromedp.Do(ctx, steps...))
}

func (b *tab) open(path string) { b.Helper(); b.do(chromedp.Navigate(b.base + path)) }

func value[T any](b *tab, expression string) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	must(b.T, err)
	return v
}

func (b *tab) until(expression string) {
	b.Helper()
	ticker, deadline := time.NewTicker(20*time.Millisecond), time.After(2*time.Minute)
	defer ticker.Stop()
	for {
		// A page that is just being left cannot be asked.
		if ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression)); err == nil && ok {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			b.Fatalf("it does not come about: %s", expression)
		}
	}
}

// painted is how a browser without anything in its cache sees a page.
type painted struct {
	Paint float64  // first contentful paint, in ms since the navigation began
	Bytes int      // of everything that was fetched for it, as sent
	Hosts []string // that it was fetched from
}

const howPainted = `(() => {
	const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
	return { Paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
		Bytes: all.reduce((sum, e) => sum + e.transferSize, 0), Hosts: [...new Set(all.map((e) => new URL(e.name).host))] };
})()`

// TestWebFirstPaint measures the first page of somebody who is signed in.
func TestWebFirstPaint(t *testing.T) {
	f := deploy(t, apps.Hello)
	f.update(f.publish("."))
	b := newTab(f)
	host, err := url.Parse(b.base)
	must(t, err)
	size := 0
	var paints []time.Duration
	for range 15 {
		b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, network.ClearBrowserCache, cdp.Empty{})
			return err
		}))
		b.open("/ui/")
		b.until(`performance.getEntriesByName("first-contentful-paint").length > 0 && document.readyState === "complete"`)
		p := value[painted](b, howPainted)
		if len(p.Hosts) != 1 || p.Hosts[0] != host.Host {
			t.Errorf("the page fetches from %v", p.Hosts)
		}
		paints = append(paints, time.Duration(p.Paint*float64(time.Millisecond)))
		size = max(size, p.Bytes)
	}
	slices.Sort(paints)
	median, worst := paints[len(paints)/2], paints[len(paints)-1]
	row("web UI: first contentful paint of the overview, nothing in the browser's cache", "under 200 ms", "%d ms (longest of 15: %d ms)",
		median.Milliseconds(), worst.Milliseconds())
	row("everything that is fetched for it", "under 100 kB", "%.1f kB", float64(size)/1000)
	if median > paintedWithin {
		t.Errorf("it takes %s, want %s or less", median, paintedWithin)
	}
	if size > firstPageBytes {
		t.Errorf("it takes %d bytes, want %d or less", size, firstPageBytes)
	}
}

// watchLines notes, for each line that says when it was printed, how long ago that
// was in the frame that shows it.
const watchLines = `(() => {
	window.late = new Map();
	const look = () => {
		const now = performance.timeOrigin + performance.now();
		for (const line of document.querySelectorAll(".logline")) {
			const stamp = /printed=(\d+)/.exec(line.textContent)?.[1];
			if (stamp && !window.late.has(stamp)) window.late.set(stamp, now - Number(stamp) / 1e6);
		}
		requestAnimationFrame(look);
	};
	requestAnimationFrame(look);
})()`

// TestWebLog measures a line of a log: from the moment at which a command in a
// container prints it until the browser shows it.
func TestWebLog(t *testing.T) {
	f, request := printing(t)
	b := newTab(f)
	b.open(fmt.Sprintf("/ui/namespaces/%s/updates/%s", f.daemon.Namespace, request))
	b.until(`document.querySelector(".logline, [data-log-empty]") !== null`)
	value[any](b, watchLines)
	f.release(request)
	f.daemon.WantEnd(request, v1alpha1.PhaseSucceeded)
	b.until(fmt.Sprintf(`window.late.size === %d`, printed))
	var delays []time.Duration
	for _, ms := range value[[]float64](b, `[...window.late.values()]`) {
		delays = append(delays, time.Duration(ms*float64(time.Millisecond)))
	}
	slices.Sort(delays)
	p99 := delays[len(delays)*99/100]
	row("web UI: a line of a log, from its container to the screen, p99", "under 200 ms", "%d ms (median %d ms)", p99.Milliseconds(), delays[len(delays)/2].Milliseconds())
	if p99 > onScreenWithin {
		t.Errorf("p99 is %s, want %s or less", p99, onScreenWithin)
	}
}
