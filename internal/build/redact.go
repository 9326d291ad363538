// SPDX-License-Identifier: Apache-2.0

package build

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	mask = "***"
	// minSecretLine is the length from which one line of a longer secret is
	// masked by itself; shorter ones, such as a lone brace, say nothing.
	minSecretLine = 4
)

// redactor masks secret values in text.
type redactor struct {
	replacer *strings.Replacer
	longest  int
}

// newRedactor masks each value, and each line of a value of several lines.
func newRedactor(values ...string) *redactor {
	var old []string
	add := func(v string) {
		if v != "" && !slices.Contains(old, v) {
			old = append(old, v)
		}
	}
	for _, v := range values {
		v = strings.TrimSpace(v)
		add(v)
		if !strings.ContainsAny(v, "\r\n") {
			continue
		}
		for line := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == '\n' || r == '\r' }) {
			if line = strings.TrimSpace(line); len(line) >= minSecretLine {
				add(line)
			}
		}
	}
	r := &redactor{}
	// A value that contains another one must be tried first.
	slices.SortFunc(old, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(old))
	for _, v := range old {
		pairs = append(pairs, v, mask)
		r.longest = max(r.longest, len(v))
	}
	if len(pairs) > 0 {
		r.replacer = strings.NewReplacer(pairs...)
	}
	return r
}

func (r *redactor) text(s string) string {
	if r == nil || r.replacer == nil {
		return s
	}
	return r.replacer.Replace(s)
}

// urlPassword returns the password or token in a URL, or "".
func urlPassword(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return ""
	}
	if p, ok := u.User.Password(); ok {
		return p
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return u.User.Username() // a bare token
	}
	return ""
}

// ansi matches terminal control sequences.
var ansi = regexp.MustCompile(`\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])`)

// plain turns a line of a build's output into text: without control sequences,
// and of a line that was overwritten in place only what stood there last.
func plain(line string) string {
	line = strings.TrimRight(line, "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	if strings.IndexByte(line, 0x1b) >= 0 {
		line = ansi.ReplaceAllString(line, "")
	}
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "\uFFFD"))
}
