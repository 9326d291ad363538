// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// phrases are what the API says in English, and the same in a language: messages of
// a status have no keys. In the file phrases-TAG.json, {} in English is anything, and
// {1}, {2} in the other language are what stood there; {1|step} is the text of the key
// step.WHAT-STOOD-THERE.
type phrases struct {
	whole    map[string]string
	patterns []pattern // the longest first
}

type pattern struct {
	english *regexp.Regexp
	text    string
	length  int  // of the English
	several bool // it has parts between semicolons itself
}

func loadPhrases(tag string) phrases {
	p := phrases{whole: map[string]string{}}
	texts, err := readPhrases(tag)
	if err != nil {
		panic(fmt.Sprintf("phrases of %s: %v", tag, err)) // tests read it
	}
	for english, text := range texts {
		parts := strings.Split(english, "{}")
		if len(parts) == 1 {
			p.whole[english] = text
			continue
		}
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		p.patterns = append(p.patterns, pattern{regexp.MustCompile(`^` + strings.Join(parts, `(.+?)`) + `$`), text, len(english), strings.Contains(english, partsEnd)})
	}
	slices.SortFunc(p.patterns, func(a, b pattern) int {
		if a.length != b.length {
			return b.length - a.length
		}
		return strings.Compare(a.english.String(), b.english.String())
	})
	return p
}

// readPhrases is the file of a language; none if it has no file.
func readPhrases(tag string) (map[string]string, error) {
	data, err := catalogs.ReadFile("catalogs/phrases-" + tag + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var texts map[string]string
	return texts, json.Unmarshal(data, &texts)
}

// partsEnd is what parts of a message are separated by.
const partsEnd = "; "

// Say is what the API says in English, in this language, as far as that is known:
// the whole of it, or those parts between semicolons that are.
func (l *Lang) Say(english string) string {
	if text, ok := l.phrase(english); ok {
		return text
	}
	parts := strings.Split(english, partsEnd)
	if len(parts) == 1 {
		return english
	}
	known := false
	for i, part := range parts {
		if text, ok := l.phrase(part); ok {
			parts[i], known = text, true
		}
	}
	if !known {
		return english
	}
	return strings.Join(parts, l.Or("parts.end", partsEnd))
}

func (l *Lang) phrase(english string) (string, bool) {
	if text, ok := l.phrases.whole[english]; ok {
		return text, true
	}
	several := strings.Contains(english, partsEnd)
	for _, p := range l.phrases.patterns {
		if several && !p.several {
			continue // a parameter would take the other parts
		}
		found := p.english.FindStringSubmatch(english)
		if found == nil {
			continue
		}
		return placeholders.ReplaceAllStringFunc(p.text, func(name string) string {
			n := int(name[1] - '0')
			if n < 1 || n >= len(found) {
				return name
			}
			if _, keys, ok := strings.Cut(strings.Trim(name, "{}"), "|"); ok {
				return l.Or(keys+"."+found[n], found[n])
			}
			return l.Say(found[n])
		}), true
	}
	return "", false
}

var placeholders = regexp.MustCompile(`\{[1-9](\|[a-z]+)?\}`)
