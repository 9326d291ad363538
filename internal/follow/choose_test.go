// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/source"
)

// refs makes tags of names; name@5 was made in the fifth second.
func refs(names ...string) []source.Ref {
	var out []source.Ref
	for _, n := range names {
		name, second, dated := strings.Cut(n, "@")
		r := source.Ref{Name: "refs/tags/" + name, SHA: name}
		if dated {
			r.Time = time.Unix(int64(second[0]-'0'), 0)
		}
		out = append(out, r)
	}
	return out
}

func TestHighest(t *testing.T) {
	tests := []struct {
		name, within string
		tags         []string
		want         string // "" for none
	}{
		{"numbers, not text", "1.x", []string{"v1.9.0", "v1.10.0", "v1.2.0"}, "v1.10.0"},
		{"with v and without", ">=1.0.0", []string{"1.1.0", "v1.0.0"}, "1.1.0"},
		{"the range ends", ">=1.4.0 <2.0.0", []string{"v1.3.9", "v1.4.0", "v2.0.0"}, "v1.4.0"},
		{"tilde", "~1.4", []string{"v1.4.9", "v1.5.0"}, "v1.4.9"},
		{"caret", "^1.4", []string{"v1.4.9", "v1.5.0", "v2.0.0"}, "v1.5.0"},
		{"pre-releases do not count", "1.x", []string{"v1.1.0", "v1.2.0-rc.1"}, "v1.1.0"},
		{"but where the range names one", ">=1.2.0-0", []string{"v1.1.0", "v1.2.0-rc.1", "v1.2.0-rc.2"}, "v1.2.0-rc.2"},
		{"a release is above its candidates", ">=1.2.0-0", []string{"v1.2.0", "v1.2.0-rc.9"}, "v1.2.0"},
		{"what is no version", ">=1.0.0", []string{"v1.0.0", "2026", "v3", "latest", "v1.2", "release-9.0.0", "v01.9.0"}, "v1.0.0"},
		{"one version twice: the last by name", "1.x", []string{"1.2.0", "v1.2.0"}, "v1.2.0"},
		{"in any order", "1.x", []string{"v1.2.0", "1.2.0"}, "v1.2.0"},
		{"build metadata: the last by name", "1.x", []string{"v1.2.0+10", "v1.2.0+9"}, "v1.2.0+10"},
		{"none in the range", "3.x", []string{"v1.0.0"}, ""},
		{"no tags", "1.x", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := highest(refs(tt.tags...), tt.within)
			if got.SHA != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, errNothing) {
				t.Errorf("got %q, %v, want %q", got.SHA, err, tt.want)
			}
		})
	}
	if _, err := highest(refs("v1.0.0"), "one or so"); err == nil || errors.Is(err, errNothing) || !strings.Contains(err.Error(), "no range of versions") {
		t.Errorf("a range that is none: %v", err)
	}
}

func TestNewestTag(t *testing.T) {
	tests := []struct {
		name, pattern string
		tags          []string
		want          string // "" for none
	}{
		{"made last", "release-*", []string{"release-9@1", "release-1@5", "release-5@3"}, "release-1"},
		{"others do not count", "release-*", []string{"release-1@1", "nightly@9"}, "release-1"},
		{"of one second: numbers", "build-*", []string{"build-9@1", "build-10@1"}, "build-10"},
		{"of one second: versions", "v*", []string{"v1.2.0-rc.1@1", "v1.2.0@1", "v1.1.9@1"}, "v1.2.0"},
		{"of one second: names", "*", []string{"b@1", "a@1"}, "b"},
		{"leading zeros", "*", []string{"n-009@1", "n-10@1"}, "n-10"},
		{"several stars", "*-prod-*", []string{"a-prod-1@1", "b-test-1@2"}, "a-prod-1"},
		{"a star is no slash", "release/*", []string{"release/a/b@2", "release/a@1"}, "release/a"},
		{"classes", "v[12].?", []string{"v3.0@9", "v2.1@1"}, "v2.1"},
		{"none", "x*", []string{"a@1"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			some, err := matching(refs(tt.tags...), tt.pattern)
			if tt.want == "" {
				if !errors.Is(err, errNothing) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || newestTag(some).SHA != tt.want {
				t.Errorf("got %v, %v, want %s", some, err, tt.want)
			}
		})
	}
	if _, err := matching(refs("a"), "["); err == nil || !strings.Contains(err.Error(), "no shell pattern") {
		t.Errorf("a pattern that is none: %v", err)
	}
}

func TestCommitURL(t *testing.T) {
	for repository, want := range map[string]string{
		"https://github.com/ada/shop.git":                "https://github.com/ada/shop/commit/SHA",
		"https://github.com/ada/shop/":                   "https://github.com/ada/shop/commit/SHA",
		"git@github.com:ada/shop.git":                    "https://github.com/ada/shop/commit/SHA",
		"ssh://git@github.com:22/ada/shop.git":           "https://github.com/ada/shop/commit/SHA",
		"https://github.example.com/ada/shop":            "https://github.example.com/ada/shop/commit/SHA",
		"https://gitlab.com/group/sub/shop.git":          "https://gitlab.com/group/sub/shop/-/commit/SHA",
		"http://gitlab.example.com:8080/group/shop.git":  "http://gitlab.example.com:8080/group/shop/-/commit/SHA",
		"https://gitea.example.com/ada/shop":             "https://gitea.example.com/ada/shop/commit/SHA",
		"https://codeberg.org/ada/shop.git":              "https://codeberg.org/ada/shop/commit/SHA",
		"https://bitbucket.org/ada/shop.git":             "https://bitbucket.org/ada/shop/commits/SHA",
		"https://git.example.com/ada/shop.git":           "",
		"https://github.com.evil.example/ada/shop":       "https://github.com.evil.example/ada/shop/commit/SHA", // its own page, no other's
		"/srv/git/shop.git":                              "",
		"file:///srv/github/shop.git":                    "",
		"https://github.com/shop.git":                    "",
		"":                                               "",
		"https://token:password@github.com/ada/shop.git": "https://github.com/ada/shop/commit/SHA",
	} {
		if got := CommitURL(repository, "SHA"); got != want {
			t.Errorf("%s: %q, want %q", repository, got, want)
		}
	}
}
