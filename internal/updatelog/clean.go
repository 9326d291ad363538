// SPDX-License-Identifier: Apache-2.0

package updatelog

import (
	"strings"
	"unicode/utf8"
)

const (
	escape     = 0x1b
	colourEnd  = 'm'
	resetSGR   = "\x1b[0m"
	stringEnds = "PX^_]" // DCS, SOS, PM, APC, OSC: escape sequences that carry a string
)

// Clean makes one line of foreign text safe to print: control characters, escape
// sequences and characters that change the direction of text are removed, bytes
// that are no UTF-8 are replaced. Tabs stay. With colours, sequences that set
// colours stay too and are ended at the end of the line. Ends of lines are
// control characters like any other.
func Clean(s string, colours bool) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	coloured := false
	for i := 0; i < len(s); {
		if s[i] == escape {
			n, isColour := sequence(s[i:])
			if isColour && colours {
				b.WriteString(s[i : i+n])
				coloured = true
			}
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if !dropped(r) {
			b.WriteRune(r)
		}
	}
	out := b.String()
	if coloured && !strings.HasSuffix(out, resetSGR) && !strings.HasSuffix(out, "\x1b[m") {
		out += resetSGR
	}
	return out
}

func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 0x20 && c != '\t') || c >= 0x7f {
			return false
		}
	}
	return true
}

func dropped(r rune) bool {
	switch {
	case r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x2028, r == 0x2029:
		return true
	}
	return false
}

// sequence returns the length of the escape sequence that s begins with, and
// whether it only sets colours. A sequence that has no end swallows the rest.
func sequence(s string) (length int, isColour bool) {
	if len(s) < 2 {
		return len(s), false
	}
	switch c := s[1]; {
	case c == '[':
		numeric := true
		for i := 2; i < len(s); i++ {
			switch c := s[i]; {
			case c >= 0x40 && c <= 0x7e:
				return i + 1, c == colourEnd && numeric
			case c < 0x20 || c > 0x3f:
				return i, false // broken: the rest is text
			case (c < '0' || c > '9') && c != ';' && c != ':':
				numeric = false
			}
		}
		return len(s), false
	case strings.IndexByte(stringEnds, c) >= 0:
		for i := 2; i < len(s); i++ {
			if s[i] == '\a' {
				return i + 1, false
			}
			if s[i] == escape && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2, false
			}
		}
		return len(s), false
	case c >= 0x20 && c <= 0x2f:
		for i := 2; i < len(s); i++ {
			if s[i] < 0x20 || s[i] > 0x2f {
				return i + 1, false
			}
		}
		return len(s), false
	case c < 0x20 || c >= 0x7f:
		return 1, false
	}
	return 2, false
}
