// SPDX-License-Identifier: Apache-2.0

//go:build browser

package browser

import (
	"fmt"
	"testing"

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

	// With the provider away, a token is still a way in.
	provider.Away.Store(true)
	s.signedIn("viewer")
}
