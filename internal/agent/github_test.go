// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// What "Details" on GitHub leads to is a page for people, not the API, which a
// browser has no token for.
func TestPageOfARequest(t *testing.T) {
	for public, want := range map[string]string{
		"https://fairlead.example.com":        "https://fairlead.example.com/ui/namespaces/prod/updates/shop-1",
		"https://example.com/below/fairlead/": "https://example.com/below/fairlead/ui/namespaces/prod/updates/shop-1",
	} {
		g, err := NewGitHub(GitHubOptions{PublicURL: public})
		if err != nil {
			t.Fatal(err)
		}
		if got := g.page(types.NamespacedName{Namespace: "prod", Name: "shop-1"}); got != want {
			t.Errorf("%s: %s, want %s", public, got, want)
		}
	}
}
