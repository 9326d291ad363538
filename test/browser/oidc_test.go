// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"

	"github.com/fairlead-dev/fairlead/test/apps"
	"github.com/fairlead-dev/fairlead/test/harness"
	"github.com/fairlead-dev/fairlead/test/idp"
)

// Somebody signs in at a provider on another site, comes back, and is who the
// provider says: cookies that are sent to this site only survive the way.
func TestSignInWithAProvider(t *testing.T) {
	port, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	provider := idp.Start(t, []idp.User{{Name: "ann", Email: "ann@example.com", Groups: []string{"ops"}}, {Name: "bob", Email: "bob@example.com"}},
		"http://"+listen+"/ui/sign-in/callback")
	provider.Remembers.Store(true)
	s := &site{t: t, base: "http://" + listen, Daemon: harness.Start(t, harness.Options{
		Args: append([]string{"--listen", listen, "--oidc-provider-name", "Example ID"}, provider.Flags()...)})}
	if _, errOut, code := s.Fairlead("kubectl", "create", "clusterrolebinding", "ops", "--clusterrole=fairlead-admin", "--group=oidc:ops"); code != 0 {
		t.Fatal(errOut)
	}

	ann := s.tab()
	ann.open("/ui/tokens")
	ann.shows("Sign in with Example ID")
	ann.click("a[href^='/ui/sign-in/provider']")
	ann.click("button[value=ann]")
	ann.until("she is back where she wanted to go", `location.pathname === "/ui/tokens" && document.querySelector("h1") !== null`)
	ann.shows("oidc:ann@example.com")
	other := ann.sibling()
	other.open("/ui/")
	other.click("button[name=everywhere]")
	other.shows("You are signed out of Fairlead.")
	ann.open("/ui/")
	ann.until("she is signed out", `location.pathname === "/ui/sign-in"`)

	// The provider knows her until she signs out there too.
	const way = "a[href^='/ui/sign-in/provider']"
	ann.click(way)
	ann.until("she is in without being asked", `location.pathname === "/ui/" && document.querySelector("h1") !== null`)
	ann.click("button[name=everywhere]")
	ann.click("#provider")
	ann.until("the provider leads her back", `location.pathname === "/ui/sign-in"`)
	ann.click(way)
	ann.until("she is asked who she is", `document.querySelector("button[value=ann]") !== null`)

	bob := s.tab()
	bob.open("/ui/sign-in")
	bob.click("a[href^='/ui/sign-in/provider']")
	bob.click("button[value=bob]")
	bob.shows("You may not look at any application yet")
	bob.shows("oidc:bob@example.com")

	// With the provider away, a token is still a way in.
	provider.Away.Store(true)
	s.signedIn("viewer")
}

// The pages on the way to the provider and back are looked at as all others are.
func TestLookOfSigningInWithAProvider(t *testing.T) {
	port, err := apps.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	provider := idp.Start(t, []idp.User{{Name: "ann", Email: "ann@example.com"}}, "http://"+listen+"/ui/sign-in/callback")
	s := &site{t: t, base: "http://" + listen, Daemon: harness.Start(t, harness.Options{
		Args: append([]string{"--listen", listen, "--oidc-provider-name", "Example ID"}, provider.Flags()...)})}
	const heading = `document.querySelector("main h1") !== null`
	b := s.tab()
	b.open("/ui/sign-in")
	s.looks(b, look{name: "sign-in-provider", path: "/ui/sign-in", ready: heading}, look{name: "signed-out", path: "/ui/signed-out", ready: heading})
	stay := b.stays("*/ui/sign-in/callback*")
	for _, language := range []string{"en", "zh-Hans"} {
		b.open("/ui/sign-in")
		eval[any](b, fmt.Sprintf(`document.cookie = "fairlead-language=%s; path=/; SameSite=Lax"`, language))
		b.open("/ui/sign-in/provider")
		b.click("button[value=ann]")
		b.until("she is signed in", fmt.Sprintf(`document.documentElement.lang === %q && location.pathname === "/ui/sign-in/callback"`, language))
		b.look("signed-in-"+language, false)
		// It leads on without a script too.
		b.click("main a.primary")
		b.until("it leads on", `location.pathname === "/ui/"`)
		b.look("nothing-"+language, false)
		b.click("button[name=everywhere]")
		b.until("she is signed out", `location.pathname === "/ui/signed-out"`)
	}
	if n := stay.Load(); n != 2 {
		t.Errorf("%d pages led on by themselves, want 2", n)
	}
}

// stays has pages whose address fits a pattern stay where they would lead on by
// themselves, and counts them.
func (b *tab) stays(pattern string) *atomic.Int32 {
	b.t.Helper()
	var held atomic.Int32
	err := chromedp.Listen(b.ctx, func(ev any) {
		paused, ok := ev.(*fetch.EventRequestPaused)
		if !ok {
			return
		}
		// An event must be answered from elsewhere.
		go func() {
			headers := paused.ResponseHeaders
			headers = slices.DeleteFunc(headers, func(h *fetch.HeaderEntry) bool { return strings.EqualFold(h.Name, "Refresh") })
			if len(headers) < len(paused.ResponseHeaders) {
				held.Add(1)
			}
			_, _ = chromedp.Call(b.ctx, fetch.ContinueResponse, fetch.ContinueResponseParams{ // a page that does not come is missed
				RequestID: paused.RequestID, ResponseCode: paused.ResponseStatusCode, ResponseHeaders: headers})
		}()
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := chromedp.Call(b.ctx, fetch.Enable, fetch.EnableParams{
		Patterns: []*fetch.RequestPattern{{URLPattern: pattern, RequestStage: fetch.RequestStageResponse}}}); err != nil {
		b.t.Fatal(err)
	}
	return &held
}
