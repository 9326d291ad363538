// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// phrases are what the API says in English, and the same in a language: messages of
// a status have no keys. In the file phrases-TAG.json, {} in English is anything, {#} a
// number, and {1}, {2} in the other language are what stood there; {1|step} is the text of the key
// step.WHAT-STOOD-THERE, and {1|said} is what another program said, of any length,
// which stays as it is. {1|any} is of any length too, and in this language as far as it is
// known.
type phrases struct {
	whole    map[string]string
	patterns []pattern // the longest first
}

type pattern struct {
	english func() *regexp.Regexp // made when it is first needed: most never are
	fixed   []string              // what stands between the parameters, to tell most texts fast
	text    string
	written string // the English as it is in the file
	several bool   // it has parts between semicolons itself
}

// mayBe reports whether a text has all that stands between the parameters.
func (p *pattern) mayBe(text string) bool {
	first, last := p.fixed[0], p.fixed[len(p.fixed)-1]
	if !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	for _, part := range p.fixed {
		_, rest, ok := strings.Cut(text, part)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

// Part of a message in a language.
type Part struct {
	Text string
	// Said by another program, or by this one in words that are not known in the
	// language: it is in English.
	Said bool
}

func loadPhrases(tag string) phrases {
	p := phrases{whole: map[string]string{}}
	texts, err := readPhrases(tag)
	if err != nil {
		panic(fmt.Sprintf("phrases of %s: %v", tag, err)) // tests read it
	}
	for english, text := range texts {
		parts, params := gaps.Split(english, -1), gaps.FindAllString(english, -1)
		if len(params) == 0 {
			p.whole[english] = text
			continue
		}
		long := longIn(text)
		var expression strings.Builder
		for i, part := range parts {
			expression.WriteString(regexp.QuoteMeta(part))
			switch {
			case i == len(params):
			case params[i] == "{#}":
				expression.WriteString(`([0-9]+)`)
			case long[i+1]:
				expression.WriteString(`((?s:.+?))`)
			default:
				expression.WriteString(`(.+?)`)
			}
		}
		p.patterns = append(p.patterns, pattern{sync.OnceValue(func() *regexp.Regexp {
			return regexp.MustCompile(`^` + expression.String() + `$`)
		}), parts, text, english,
			len(long) > 0 || strings.Contains(english, partsEnd)})
	}
	slices.SortFunc(p.patterns, func(a, b pattern) int {
		return cmp.Or(len(b.written)-len(a.written), strings.Compare(a.written, b.written))
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

// longIn are the parameters of a text that may be of any length.
func longIn(text string) map[int]bool {
	found := map[int]bool{}
	for _, name := range placeholders.FindAllString(text, -1) {
		if strings.HasSuffix(name, "|said}") || strings.HasSuffix(name, "|any}") {
			found[int(name[1]-'0')] = true
		}
	}
	return found
}

// Say is what the API says in English, in this language, as far as that is known:
// the whole of it, or those parts between semicolons that are.
func (l *Lang) Say(english string) string {
	var b strings.Builder
	for _, part := range l.Parts(english) {
		b.WriteString(part.Text)
	}
	return b.String()
}

// Parts is Say with what was said by others told from what is in this language.
func (l *Lang) Parts(english string) []Part {
	if said, ok := l.known(english); ok {
		return merged(said)
	}
	parts := strings.Split(english, partsEnd)
	known := false
	var out []Part
	for i := 0; i < len(parts); {
		if i > 0 {
			out = append(out, Part{Text: l.Or("parts.end", partsEnd)})
		}
		said, n := l.longest(parts[i:])
		known = known || said != nil
		if said == nil {
			said = []Part{{parts[i], l.foreign(parts[i])}}
		}
		out = append(out, said...)
		i += n
	}
	if !known {
		return []Part{{english, l.foreign(english)}}
	}
	return merged(out)
}

// maxParts bounds what is tried for a text of many parts, such as the output of a
// program.
const maxParts = 12

// longest is the phrase of as many of the first parts as there is one for, and how
// many they are; no phrase, and one, if there is none.
func (l *Lang) longest(parts []string) ([]Part, int) {
	for n := min(len(parts), maxParts); n > 0; n-- {
		if said, ok := l.known(strings.Join(parts[:n], partsEnd)); ok {
			return said, n
		}
	}
	return nil, 1
}

// known is a phrase, which may be about something that is named before it.
func (l *Lang) known(english string) ([]Part, bool) {
	if said, ok := l.phrase(english); ok {
		return said, true
	}
	name, text, ok := strings.Cut(english, nameEnd)
	if !ok || name == "" || strings.ContainsAny(name, " \n") {
		return nil, false
	}
	said, ok := l.known(text)
	return append([]Part{{Text: name + l.Or("parts.name", nameEnd)}}, said...), ok
}

// nameEnd is what a name before a message is separated from it by.
const nameEnd = ": "

// foreign reports whether a text that is not known is a sentence in English on a page
// that is not, and not a name or a list of names.
func (l *Lang) foreign(text string) bool {
	return l.Tag != Languages()[0].Tag && sentence.MatchString(text) && strings.Contains(strings.ReplaceAll(text, itemEnd, ""), " ")
}

// sentence is what has three words or more.
var sentence = regexp.MustCompile(`[A-Za-z]\S*\s+\S*[A-Za-z]\S*\s+\S*[A-Za-z]`)

// merged joins neighbours of the same kind.
func merged(parts []Part) []Part {
	var out []Part
	for _, p := range parts {
		if n := len(out); n > 0 && out[n-1].Said == p.Said {
			out[n-1].Text += p.Text
		} else if p.Text != "" {
			out = append(out, p)
		}
	}
	return out
}

func (l *Lang) phrase(english string) ([]Part, bool) {
	if text, ok := l.phrases.whole[english]; ok {
		return []Part{{Text: text}}, true
	}
	if said, ok := l.pattern(english); ok {
		return said, true
	}
	return l.list(english)
}

// pattern is a phrase with parameters.
func (l *Lang) pattern(english string) ([]Part, bool) {
	several := strings.Contains(english, partsEnd)
	for i := range l.phrases.patterns {
		p := &l.phrases.patterns[i]
		if several && !p.several || !p.mayBe(english) {
			continue // or else a parameter would take the other parts
		}
		if found := p.english().FindStringSubmatch(english); found != nil {
			return l.expand(p.text, found), true
		}
	}
	return nil, false
}

// list is a list of phrases, and of names among them.
func (l *Lang) list(english string) ([]Part, bool) {
	items := strings.Split(english, itemEnd)
	if len(items) == 1 || len(items) > maxItems {
		return nil, false
	}
	var out []Part
	known := false
	for i, item := range items {
		if i > 0 {
			out = append(out, Part{Text: l.Or("list.comma", itemEnd)})
		}
		said, ok := []Part{{Text: l.phrases.whole[item]}}, l.phrases.whole[item] != ""
		if !ok {
			said, ok = l.pattern(item)
		}
		known = known || ok
		if !ok && strings.Contains(item, " ") {
			return nil, false
		}
		if !ok {
			said = []Part{{Text: l.quoted(item)}}
		}
		out = append(out, said...)
	}
	return out, known
}

// maxItems bounds what is tried for a text with many commas.
const maxItems = 20

// itemEnd is what items of a list are separated by.
const itemEnd = ", "

// expand puts what was found into the parameters of a text.
func (l *Lang) expand(text string, found []string) []Part {
	var out []Part
	for {
		at := placeholders.FindStringIndex(text)
		if at == nil {
			return closed(append(out, Part{Text: text}))
		}
		name := text[at[0]:at[1]]
		out = append(out, Part{Text: text[:at[0]]})
		text = text[at[1]:]
		n := int(name[1] - '0')
		if n >= len(found) {
			out = append(out, Part{Text: name})
			continue
		}
		_, how, _ := strings.Cut(strings.Trim(name, "{}"), "|")
		switch how {
		case "", "any":
			if amount.MatchString(found[n]) {
				out = append(out, Part{Text: l.amount(found[n])})
				break
			}
			if length, ok := l.length(found[n]); ok {
				out = append(out, Part{Text: length})
				break
			}
			out = append(out, l.parameter(strings.TrimRight(found[n], "\n"))...)
		case "said":
			out = append(out, Part{strings.TrimRight(found[n], "\n"), true})
		default:
			out = append(out, Part{Text: l.Or(how+"."+found[n], found[n])})
		}
	}
}

// parameter is what stood in a message: a message itself, or names.
func (l *Lang) parameter(text string) []Part {
	if said, ok := l.known(text); ok {
		return merged(said)
	}
	if names, ok := l.names(text); ok {
		return []Part{{Text: names}}
	}
	return l.Parts(text)
}

// gaps are the parameters of the English, placeholders those of the other language.
var gaps = regexp.MustCompile(`\{#?\}`)

var placeholders = regexp.MustCompile(`\{[1-9](\|[a-z.]+)?\}`)
