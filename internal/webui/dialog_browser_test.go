// SPDX-License-Identifier: Apache-2.0

//go:build browser

package webui

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/chrome"
)

// What a dialog does while the daemon is away: a form that does not arrive says so,
// and a stream that is refused once is opened again. The API is the fake of this
// package, as a real daemon cannot be had to refuse just the stream.
func TestDialogsWithoutADaemon(t *testing.T) {
	w := newWorld(t)
	working := request("working", v1alpha1.PhasePreflight)
	working.Spec.DryRun = true
	w.api.objects["namespaces/default/requests/working"] = working
	var refused atomic.Bool
	again := make(chan struct{}, 10)
	w.api.stream = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		<-r.Context().Done()
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/updates/working/status") {
			if refused.CompareAndSwap(false, true) {
				http.Error(rw, "starting", http.StatusServiceUnavailable)
				return
			}
			again <- struct{}{}
		}
		w.ui.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)

	browser, stop, err := chrome.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(browser, time.Minute)
	t.Cleanup(cancel)
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	until := func(what, expression string) {
		t.Helper()
		for {
			if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression)); err == nil && ok {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("it does not come about that %s", what)
			case <-time.After(30 * time.Millisecond):
			}
		}
	}
	run := func(script string) {
		t.Helper()
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](script+"; null")); err != nil {
			t.Fatal(err)
		}
	}
	do(chromedp.Navigate(server.URL + "/ui/sign-in"))
	do(chromedp.SendKeys("input[name=token]", "admin-token"))
	run(`document.querySelector("form.stack button").click()`)
	until("they are signed in", `location.pathname === "/ui/"`)
	do(chromedp.Navigate(server.URL + "/ui/namespaces/default/applications/shop"))

	run(fmt.Sprintf(`const a = document.createElement("a"); a.href = %q; a.dataset.dialog = ""; document.querySelector("main").append(a); a.click()`,
		"/ui/namespaces/default/plans/working"))
	until("the dialog is there", `document.querySelector("dialog[open] .dialog-body h1") !== null`)
	select {
	case <-again:
	case <-ctx.Done():
		t.Fatal("the stream that was refused is not opened again")
	}
	run(`document.querySelector("dialog[open]").close()`)

	server.CloseClientConnections()
	_ = server.Listener.Close()
	run(`document.querySelector("#update-now").click()`)
	until("it is told that nothing arrived", `document.querySelector("dialog[open] [role=alert]")?.textContent.includes("did not answer")`)
	run(`document.querySelector("dialog[open] [data-dialog-close]").click()`)
	until("the dialog is closed", `document.querySelector("dialog") === null`)
}
