// SPDX-License-Identifier: Apache-2.0

// Package redact masks secret values in text that people get to see: logs,
// messages, errors.
package redact

import (
	"net/url"
	"slices"
	"strings"
)

const (
	// Mask stands in the place of a secret.
	Mask = "***"
	// minSecretLine is the length from which one line of a longer secret is
	// masked by itself; shorter ones, such as a lone brace, say nothing.
	minSecretLine = 4
)

// Redactor masks the values that it was made with. The nil Redactor masks
// nothing.
type Redactor struct {
	replacer *strings.Replacer
	longest  int
}

// New makes a Redactor that masks each value, and each line of a value of
// several lines. Empty values are left out.
func New(values ...string) *Redactor {
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
	r := &Redactor{}
	// A value that contains another one must be tried first.
	slices.SortFunc(old, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(old))
	for _, v := range old {
		pairs = append(pairs, v, Mask)
		r.longest = max(r.longest, len(v))
	}
	if len(pairs) > 0 {
		r.replacer = strings.NewReplacer(pairs...)
	}
	return r
}

// Text returns s with the values masked.
func (r *Redactor) Text(s string) string {
	if r == nil || r.replacer == nil {
		return s
	}
	return r.replacer.Replace(s)
}

// Longest is the length in bytes of the longest value: as much of the end of a
// text that is cut may be the beginning of one.
func (r *Redactor) Longest() int {
	if r == nil {
		return 0
	}
	return r.longest
}

// URLPassword returns the password or token in the user part of a URL, or "".
func URLPassword(raw string) string {
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
