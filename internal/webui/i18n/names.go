// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"regexp"
	"strings"
)

// name is one name in a message: one word, or what stands in quotes.
const name = `(?:"[^"\\]+"|[^\s",;]+)`

// nameList is a name in quotes, or several names, and how many more there are.
var nameList = regexp.MustCompile(`^(?:"[^"\\]+"|(` + name + `(?:, ` + name + `)*)(?:, and| and) (?:([0-9]+) more|(` + name + `))|` + name + `(?:, ` + name + `)+)$`)

// names is names in a message with the marks of the language, and its word before the
// last one; false in English, and for what is no list of names.
func (l *Lang) names(text string) (string, bool) {
	found := nameList.FindStringSubmatch(text)
	if l.Tag == Languages()[0].Tag || found == nil {
		return "", false
	}
	switch list, more, last := found[1], found[2], found[3]; {
	case more != "":
		return l.T("list.more", "names", l.joined(list), "count", more), true
	case last != "":
		return l.joined(list) + l.T("list.and") + l.quoted(last), true
	}
	return l.joined(text), true
}

// joined is names with what stands between them in the language.
func (l *Lang) joined(list string) string {
	items := strings.Split(list, itemEnd)
	for i := range items {
		items[i] = l.quoted(items[i])
	}
	return strings.Join(items, l.T("list.comma"))
}

// quoted is a name with the quotes of the language, if it has any.
func (l *Lang) quoted(item string) string {
	if inner, ok := strings.CutPrefix(item, `"`); ok {
		return l.T("parts.quote", "name", strings.TrimSuffix(inner, `"`))
	}
	return item
}
