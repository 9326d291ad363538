// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"maps"
	"regexp"
	"slices"
	"testing"
)

var parameter = regexp.MustCompile(`\{[a-z]+\}`)

// Every catalog has the keys, the parameters and the plural forms of the first.
func TestCatalogsAgree(t *testing.T) {
	first := Languages()[0]
	for _, other := range Languages()[1:] {
		for key := range maps.Keys(other.texts) {
			if !first.Has(key) {
				t.Errorf("%s has %q, which %s has not", other.Tag, key, first.Tag)
			}
		}
		for key, want := range first.texts {
			got, ok := other.texts[key]
			if !ok {
				t.Errorf("%s lacks %q", other.Tag, key)
				continue
			}
			if _, plural := want["other"]; plural != (got["other"] != "") {
				t.Errorf("%s: only one of the languages has plural forms of %q", other.Tag, key)
			}
			wantParams, gotParams := parameters(want), parameters(got)
			if !slices.Equal(wantParams, gotParams) {
				t.Errorf("%s: %q has the parameters %v, not %v", other.Tag, key, gotParams, wantParams)
			}
		}
	}
	for _, l := range Languages() {
		for key, forms := range l.texts {
			for form, s := range forms {
				if s == "" || form != "" && form != "one" && form != "other" {
					t.Errorf("%s: %q has an empty text or an unknown form %q", l.Tag, key, form)
				}
			}
			if _, one := forms["one"]; one && l.Tag == "zh-Hans" {
				t.Errorf("%s: %q has a singular, which the language has not", l.Tag, key)
			}
			if _, counted := forms["other"]; counted && l.Tag == "en" && forms["one"] == "" {
				t.Errorf("%s: %q has no singular", l.Tag, key)
			}
		}
	}
}

func parameters(t text) []string {
	set := map[string]bool{}
	for _, s := range t {
		for _, p := range parameter.FindAllString(s, -1) {
			set[p] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func TestT(t *testing.T) {
	en, zh := Languages()[0], Languages()[1]
	for _, test := range []struct{ got, want string }{
		{en.T("overview.count", "count", 1), "1 application"},
		{en.T("overview.count", "count", 0), "0 applications"},
		{en.T("overview.count", "count", int32(2)), "2 applications"},
		{zh.T("overview.count", "count", 1), "1 个应用"},
		{en.T("signin.with", "name", "{count}"), "Sign in with {count}"},
		{zh.T("update.title", "name", "shop", "commit", zh.T("update.newest")), "shop：更新到最新提交"},
		{zh.T("update.title", "name", "shop", "commit", "v2"), "shop：更新到 v2"},
		{zh.T("backups.count", "count", 5, "size", "26 MiB"), "5 个备份，26\u00a0MiB"},
		{en.T("backups.count", "count", 2, "size", "0 B"), "2 backups, 0\u00a0B"},
		{en.Gap() + zh.Gap(), " "},
		{zh.Length("1.25s"), "1.25 秒"},
		{zh.Length("3ms"), "3 毫秒"},
		{en.Length("3ms"), "3 ms"},
		{zh.Length("1 min 30 s"), "1 分 30 秒"},
		{zh.Length("300 ms"), "300 毫秒"},
		{zh.Length("soon"), "soon"},
		{en.T("no.such.key"), "no.such.key"},
		{en.Or("no.such.key", "x"), "x"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct{ chosen, accept, want string }{
		{"", "", "en"},
		{"", "zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"},
		{"", "de-DE,de;q=0.9", "en"},
		{"", "en-GB,zh;q=0.5", "en"},
		{"", "zh-SG", "zh-Hans"},
		{"en", "zh-CN", "en"},
		{"zh-Hans", "en", "zh-Hans"},
		{"xx", "zh", "zh-Hans"},
		{"", "\x00;;q=z", "en"},
	} {
		if got := Choose(test.chosen, test.accept); got.Tag != test.want {
			t.Errorf("chosen %q, Accept-Language %q: %s, want %s", test.chosen, test.accept, got.Tag, test.want)
		}
	}
}
