// SPDX-License-Identifier: Apache-2.0

//go:build browser

// Package browser drives the web UI of a real daemon on a real engine with a real
// browser. FAIRLEAD_CHROMIUM names the browser; see hack/chromium.sh.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/chrome"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// patience is how long something may take that nothing is in the way of.
const patience = 90 * time.Second

// browser is the one of all tests.
var browser context.Context

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	started, stop, err := chrome.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	browser = started
	return m.Run()
}

// site is an application that runs, and the daemon that it belongs to.
type site struct {
	*harness.Daemon
	t    *testing.T
	repo *apps.Repo
	name string
	base string // of the UI
	// version and behaviour of the service web, in the repository
	version, behaviour string
}

// newSite starts a daemon at a port that it keeps, and brings up an application.
func newSite(t *testing.T, app apps.App, args ...string) *site {
	t.Helper()
	port, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	repo := apps.ForTest(t, app, apps.Options{Label: "browser", Env: map[string]string{"HEALTH_INTERVAL": "8s"}})
	// Between the end of the daemon and that of the application's networks.
	t.Cleanup(func() { harness.RemoveGateways(t, repo.Project) })
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	d := harness.Start(t, harness.Options{Args: append([]string{"--listen", listen}, args...)})
	s := &site{Daemon: d, t: t, repo: repo, name: string(app), base: "http://" + listen, version: "version.txt", behaviour: "behaviour.json"}
	if app == apps.Shop {
		s.version, s.behaviour = "web/version.txt", "web/behaviour.json"
	}
	s.Apply(harness.Manifest(s.name, repo, ""))
	s.WantEnd(s.Update(s.name, "").Name, "Succeeded")
	return s
}

func (s *site) publish(message, version string, behaviour apps.Behaviour) string {
	s.t.Helper()
	sha, err := s.repo.Publish(s.t.Context(), message, map[string]string{s.version: version + "\n", s.behaviour: behaviour.JSON()})
	if err != nil {
		s.t.Fatal(err)
	}
	return sha
}

func (s *site) token(role string, more ...string) string {
	s.t.Helper()
	out, errOut, code := s.Fairlead(append([]string{"token", "create", "--role", role, "--for", "1h", "-n", s.Namespace}, more...)...)
	if code != 0 {
		s.t.Fatal(errOut)
	}
	return strings.TrimSpace(out)
}

func (s *site) app() string { return "/ui/namespaces/" + s.Namespace + "/applications/" + s.name }

// tab is a page in a browser of its own: it shares no cookies with others.
type tab struct {
	*site
	ctx context.Context
}

func (s *site) tab() *tab {
	s.t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	s.t.Cleanup(cancel)
	return s.opened(ctx)
}

// sibling is another tab of the same browser: it shares the cookies.
func (b *tab) sibling() *tab {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	return b.opened(ctx)
}

// opened is a tab that is there. It lives as long as the context of the first
// thing that is done in it, which therefore has no time limit.
func (s *site) opened(ctx context.Context) *tab {
	s.t.Helper()
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		s.t.Fatal(err)
	}
	return &tab{site: s, ctx: ctx}
}

// during has failures belong to a part of the test until it ends.
func (s *site) during(t *testing.T) {
	whole, daemon := s.t, s.Daemon
	s.t, s.Daemon = t, s.Daemon.For(t)
	t.Cleanup(func() { s.t, s.Daemon = whole, daemon })
}

// signedIn is a tab of somebody who has a role; more is what `fairlead token create`
// is told besides.
func (s *site) signedIn(role string, more ...string) *tab {
	s.t.Helper()
	b := s.tab()
	b.signIn(s.token(role, more...))
	return b
}

func (b *tab) signIn(token string) {
	b.t.Helper()
	b.open("/ui/sign-in")
	b.do(chromedp.SendKeys("input[name=token]", token))
	b.click("form.stack button")
	b.until("they are signed in", `location.pathname === "/ui/" && document.querySelector("h1") !== null`)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.text())
	}
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// click clicks by the element's own method, so that it may be out of view, and when the
// page's scripts have run.
func (b *tab) click(selector string) {
	b.t.Helper()
	quoted, err := json.Marshal(selector)
	if err != nil {
		b.t.Fatal(err)
	}
	b.until(selector+" is there", fmt.Sprintf(`document.querySelector(%s) !== null && document.readyState === "complete"`, quoted))
	eval[any](b, fmt.Sprintf(`document.querySelector(%s).click()`, quoted))
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression is true, over the loading of pages.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	deadline, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	ticker := time.NewTicker(30 * time.Millisecond)
	defer ticker.Stop()
	for {
		if ok, err := chromedp.Run(deadline, chromedp.Evaluate[bool](expression)); err == nil && ok {
			return
		}
		select {
		case <-deadline.Done():
			b.t.Fatalf("it does not come about that %s:\n%s", what, b.text())
		case <-ticker.C:
		}
	}
}

func (b *tab) text() string {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text[:min(len(text), 4000)]
}

// shows waits until the page has a text.
func (b *tab) shows(text string) {
	b.t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		b.t.Fatal(err)
	}
	b.until("the page shows "+text, fmt.Sprintf(`document.body.innerText.includes(%s)`, quoted))
}
