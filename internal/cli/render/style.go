// SPDX-License-Identifier: Apache-2.0

// Package render turns the state of Fairlead's objects into text for people. It
// is pure: the same objects, time and style give the same text.
package render

import (
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

// Style says what the place is like where the text will be shown.
type Style struct {
	// Colour allows ANSI colours.
	Colour bool
	// Width in cells of a line of the live view; 0 means 80.
	Width int
	// Height in lines that the live view may have; 0 means 24.
	Height int
	// Location that times are shown in; nil means UTC.
	Location *time.Location
}

const (
	defaultWidth  = 80
	defaultHeight = 24
	shortSHA      = 7

	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s Style) paint(colour, text string) string {
	if !s.Colour || text == "" || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s Style) clock(t time.Time) string {
	if s.Location != nil {
		t = t.In(s.Location)
	} else {
		t = t.UTC()
	}
	return t.Format("15:04:05")
}

// Commit shortens a SHA for people; names of branches and tags stay.
func Commit(commit string) string {
	if len(commit) < 40 || strings.Trim(commit, "0123456789abcdef") != "" {
		return clean(commit)
	}
	return commit[:shortSHA]
}

// clean is Clean, for the many uses inside.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	return strings.ReplaceAll(updatelog.Clean(s, false), "\t", " ")
}

// cleanLines is clean for text that may have several lines.
func cleanLines(s string) []string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(s)) {
		lines = append(lines, strings.TrimRight(strings.ReplaceAll(updatelog.Clean(strings.TrimRight(line, "\r\n"), false), "\t", "    "), " "))
	}
	return lines
}

// clip shortens plain text to width cells.
func clip(text string, width int) string {
	if width <= 0 {
		return ""
	}
	return runewidth.Truncate(text, width, "…")
}

// pad fills plain text up to width cells.
func pad(text string, width int) string { return runewidth.FillRight(text, width) }

func width(text string) int { return runewidth.StringWidth(text) }

// Duration rounds to what people want to read: 350ms, 12s, 3m05s, 2h01m.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		d = d.Round(time.Second)
		return twoParts(int(d/time.Minute), "m", int(d%time.Minute/time.Second), "s")
	default:
		d = d.Round(time.Minute)
		return twoParts(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "m")
	}
}

func twoParts(a int, unitA string, b int, unitB string) string {
	return itoa(a) + unitA + pad2(b) + unitB
}

func pad2(n int) string {
	if n < 10 {
		return "0" + itoa(n)
	}
	return itoa(n)
}

// between is the time from start to end, or to now while there is no end. Times in
// the API have whole seconds, so what lies within one is "<1s".
func between(start, end *metav1.Time, now time.Time) string {
	if start == nil || start.IsZero() {
		return ""
	}
	stop := now
	if end != nil && !end.IsZero() {
		stop = end.Time
	}
	d := stop.Sub(start.Time).Truncate(time.Second)
	if d < time.Second {
		return "<1s"
	}
	return Duration(d)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return itoa(n) + " " + many
}

// Clean makes foreign text safe for a terminal and puts it on one line.
func Clean(s string) string { return clean(s) }
