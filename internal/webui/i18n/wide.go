// SPDX-License-Identifier: Apache-2.0

package i18n

import (
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Gap is what stands between two sentences: nothing in a language whose full stop is as
// wide as a character.
func (l *Lang) Gap() string {
	if strings.HasSuffix(l.Or("parts.end", partsEnd), " ") {
		return " "
	}
	return ""
}

// wide reports whether a character is one of a writing that has no spaces in it, or one of
// its quotes.
func wide(r rune) bool {
	return unicode.Is(unicode.Han, r) || r == '“' || r == '”' || r >= 0x3000 && r <= 0x303f || r >= 0xff00 && r <= 0xffef
}

// unspaced is a text without the spaces between wide characters: a parameter stands
// between two for the sake of names in Latin letters, and may be a word of the language.
func unspaced(text string) string {
	var b strings.Builder
	last := ' '
	for i, r := range text {
		next, _ := utf8.DecodeRuneInString(text[i+utf8.RuneLen(r):])
		if r != ' ' || !wide(last) || !wide(next) {
			b.WriteRune(r)
		}
		last = r
	}
	return b.String()
}

// closed is parts without the spaces between wide characters where two of them meet.
func closed(parts []Part) []Part {
	for i := 1; i < len(parts); i++ {
		before, after := &parts[i-1].Text, &parts[i].Text
		left, _ := utf8.DecodeLastRuneInString(strings.TrimSuffix(*before, " "))
		right, _ := utf8.DecodeRuneInString(strings.TrimPrefix(*after, " "))
		if wide(left) && wide(right) {
			*before, *after = strings.TrimSuffix(*before, " "), strings.TrimPrefix(*after, " ")
		}
	}
	return parts
}

// unit is what stands before the unit of an amount.
var unit = regexp.MustCompile(`([0-9]) ([KMGTPE]?i?B\b)`)

// unbroken is a text whose lines do not end between a number and its unit.
func unbroken(text string) string {
	if !strings.Contains(text, "B") {
		return text
	}
	return unit.ReplaceAllString(text, "$1\u00a0$2")
}

// Length is a length of time as Go writes it in the words of the language, or else the
// text as it is.
func (l *Lang) Length(text string) string {
	if words, ok := l.length(text); ok {
		return words
	}
	return text
}

// length is a length of time as the program or Go writes it, such as "1 min 30 s" and
// 1m30s, in words; false for all else.
func (l *Lang) length(text string) (string, bool) {
	if !lengths.MatchString(text) {
		return "", false
	}
	d, err := time.ParseDuration(written.Replace(text))
	if err != nil || d <= 0 || d%time.Millisecond != 0 {
		return "", false
	}
	h, m, s, ms := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, int(d.Milliseconds())%1000
	switch {
	case h > 0 && s == 0 && ms == 0 && m > 0:
		return l.T("duration.hours", "h", h, "m", m), true
	case h > 0 && m == 0 && s == 0 && ms == 0:
		return l.T("duration.wholehours", "h", h), true
	case h == 0 && m > 0 && s == 0 && ms == 0:
		return l.T("duration.wholeminutes", "m", m), true
	case h == 0 && m > 0 && ms == 0:
		return l.T("duration.minutes", "m", m, "s", s), true
	case h == 0 && m == 0 && ms == 0:
		return l.T("duration.seconds", "s", s), true
	case d < time.Second:
		return l.T("duration.ms", "ms", ms), true
	case d < time.Minute:
		return l.T("duration.seconds", "s", strconv.FormatFloat(d.Seconds(), 'f', -1, 64)), true
	}
	return "", false
}

var (
	lengths = regexp.MustCompile(`^[0-9.]+( ?(h|min|m|s|ms) ?[0-9.]+)* ?(h|min|s|ms)$`)
	written = strings.NewReplacer(" ", "", "min", "m")
)

// amount is a number of bytes as the program or an engine writes it, such as 2.5 GiB
// and 2.5GiB.
var amount = regexp.MustCompile(`^([0-9.]+) ?([KMGTPE]?i?B)$`)

// amount is a number of bytes with a space before its unit.
func (l *Lang) amount(text string) string { return amount.ReplaceAllString(text, "$1 $2") }
