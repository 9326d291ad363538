// SPDX-License-Identifier: Apache-2.0

// Package i18n has the texts of the web UI in each of its languages. A catalog is
// a JSON file: a key leads to a text, or to an object of texts by plural category
// (one, other) of the parameter "count". Parameters are written {name}.
package i18n

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

//go:embed catalogs/*.json
var catalogs embed.FS

// Lang is one language of the UI.
type Lang struct {
	// Tag as in the attribute lang, such as "zh-Hans".
	Tag string
	// Name of the language in itself.
	Name string

	tag     language.Tag
	texts   map[string]text
	phrases phrases
}

type text map[string]string // by plural category; "" if it does not depend on a number

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	var plain string
	if json.Unmarshal(data, &plain) == nil {
		*t = text{"": plain}
		return nil
	}
	return json.Unmarshal(data, (*map[string]string)(t))
}

// Languages of the UI; the first one is the default. They are read when they are asked for first: most
// commands never do.
var Languages = sync.OnceValue(func() []*Lang {
	return []*Lang{load("en", "English"), load("zh-Hans", "简体中文")}
})

var matcher = sync.OnceValue(func() language.Matcher {
	var tags []language.Tag
	for _, l := range Languages() {
		tags = append(tags, l.tag)
	}
	return language.NewMatcher(tags)
})

func load(tag, name string) *Lang {
	data, err := catalogs.ReadFile("catalogs/" + tag + ".json")
	if err != nil {
		panic(err) // it is embedded
	}
	l := &Lang{Tag: tag, Name: name, tag: language.MustParse(tag), phrases: loadPhrases(tag)}
	if err := json.Unmarshal(data, &l.texts); err != nil {
		panic(fmt.Sprintf("catalog %s: %v", tag, err)) // tests read it
	}
	return l
}

// Choose returns the language that a person has chosen, or else the best one for
// their header Accept-Language.
func Choose(chosen, accept string) *Lang {
	for _, l := range Languages() {
		if l.Tag == chosen {
			return l
		}
	}
	tags, _, err := language.ParseAcceptLanguage(accept)
	if err != nil || len(tags) == 0 {
		return Languages()[0]
	}
	_, i, _ := matcher().Match(tags...)
	return Languages()[i]
}

// Has reports whether there is a text for key.
func (l *Lang) Has(key string) bool { return l.texts[key] != nil }

// T is the text for key with its parameters, given as name, value, name, value.
// A key that does not exist is returned as it is.
func (l *Lang) T(key string, params ...any) string {
	t := l.texts[key]
	if t == nil {
		return key
	}
	s, ok := t[""]
	if !ok {
		s = t[l.category(params)]
	}
	if len(params) == 0 || !strings.Contains(s, "{") {
		return s
	}
	pairs := make([]string, 0, len(params))
	for i := 0; i+1 < len(params); i += 2 {
		pairs = append(pairs, "{"+fmt.Sprint(params[i])+"}", fmt.Sprint(params[i+1]))
	}
	return unbroken(unspaced(strings.NewReplacer(pairs...).Replace(s)))
}

// Or is the text for key, or else if there is none.
func (l *Lang) Or(key, otherwise string, params ...any) string {
	if !l.Has(key) {
		return otherwise
	}
	return l.T(key, params...)
}

func (l *Lang) category(params []any) string {
	n := 0
	for i := 0; i+1 < len(params); i += 2 {
		if params[i] == "count" {
			_, _ = fmt.Sscan(fmt.Sprint(params[i+1]), &n)
		}
	}
	if plural.Cardinal.MatchPlural(l.tag, n, 0, 0, 0, 0) == plural.One {
		return "one"
	}
	return "other"
}
