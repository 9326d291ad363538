// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
)

// variables finds out which variables a text uses that are not set. It
// follows Compose's rules: a default that is not used is not looked into.
type variables struct {
	lookup template.Mapping
	// missing is called for ${NAME:?message} and ${NAME?message}.
	missing func(name, message string)
	// unset is called for $NAME and ${NAME}, which become empty.
	unset func(name string)
}

func (v variables) scan(text string) {
	if !strings.Contains(text, "$") {
		return
	}
	// Invalid templates are the loader's to report, so the error is not of interest.
	_, _ = template.SubstituteWithOptions(text, v.lookup, template.WithoutLogging,
		template.WithReplacementFunction(func(match string, _ template.Mapping, _ *template.Config) (string, error) {
			v.variable(match)
			return "", nil
		}))
}

// variable looks at one match of the variable pattern. A match of the braced
// form may reach beyond its own closing brace.
func (v variables) variable(match string) {
	if strings.HasPrefix(match, "$$") {
		v.scan(match[2:])
		return
	}
	body, rest := match[1:], ""
	if strings.HasPrefix(body, "{") {
		end := closingBrace(body)
		if end < 0 {
			return
		}
		body, rest = body[1:end], body[end+1:]
	}
	v.scan(rest)

	n := strings.IndexFunc(body, func(r rune) bool { return !isNameRune(r) })
	if n < 0 {
		n = len(body)
	}
	name, operation := body[:n], body[n:]
	if name == "" {
		return
	}
	value, set := v.lookup(name)
	notEmpty := set
	if strings.HasPrefix(operation, ":") {
		operation = operation[1:]
		notEmpty = value != ""
	}
	switch {
	case operation == "":
		if !set {
			v.unset(name)
		}
	case operation[0] == '?':
		if !notEmpty {
			message, _ := template.SubstituteWithOptions(operation[1:], v.lookup, template.WithoutLogging)
			v.missing(name, message)
		}
	case operation[0] == '-':
		if !notEmpty {
			v.scan(operation[1:])
		}
	case operation[0] == '+':
		if notEmpty {
			v.scan(operation[1:])
		}
	}
}

func isNameRune(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// closingBrace returns the index of the brace that closes the one at index 0,
// or -1.
func closingBrace(s string) int {
	depth := 0
	for i, r := range s {
		switch r {
		case '{':
			depth++
		case '}':
			depth--
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}
