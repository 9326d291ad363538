// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/webui/i18n"
)

// A chart is drawn by the template "chart": an image with a sentence that says
// what it shows, and the same figures as a table.
type chart struct {
	// ID is unique on the page; Title and Summary are what it is called and says.
	ID, Title, Summary string
	// Heads of the table's columns.
	Heads [2]string
	Bars  []chartBar
	// Line and Ahead are the points of what was and of what is foreseen.
	Line, Ahead string
	Grid        []chartGrid
	Rows        []chartRow
}

// Drawn reports whether there is anything to draw.
func (ch chart) Drawn() bool { return len(ch.Bars) > 0 || ch.Line != "" }

// Width and Height of the drawing, in its own units.
func (chart) Width() int { return chartWidth }

// Left is where the lines of the scale begin.
func (chart) Left() int { return chartLeft }

// Words is where the words before them end.
func (chart) Words() int { return chartLeft - 8 }

// Height of the drawing.
func (chart) Height() int { return chartHeight }

const (
	chartWidth, chartHeight = 640, 180
	// chartLeft is the room for the words of the scale, chartTop that above.
	chartLeft, chartTop, chartBottom = 104, 14, 14
)

type chartBar struct {
	X, Y, W, H float64
	Tone, Text string
}

type chartGrid struct {
	Y    float64
	Text string
}

type chartRow struct {
	At   time.Time
	Text string
	Tone string
	URL  string
	Name string
}

// scale is a round number that is not less than most.
func scale(most float64) float64 {
	if most <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, step := range []float64{1, 2, 5, 10} {
		if unit*step >= most {
			return unit * step
		}
	}
	return most
}

// downtimeScale is a length of time in seconds that is not less than most, and of which
// half is not told in the same words.
func downtimeScale(most float64) float64 { return scale(max(most, 0.01)) }

// timeScale is a length of time in seconds that is not less than most, and of which
// half is told in one word.
func timeScale(most float64) float64 {
	for _, seconds := range []float64{2, 4, 10, 20, 40, 60, 2 * 60, 4 * 60, 10 * 60, 20 * 60, 60 * 60, 2 * 60 * 60, 4 * 60 * 60, 10 * 60 * 60} {
		if seconds >= most {
			return seconds
		}
	}
	return scale(most/3600) * 3600
}

// markText is a length of time in seconds beside a line of a chart.
func markText(lang *i18n.Lang, seconds float64) string {
	switch minutes := int(seconds) / 60; {
	case seconds <= 0:
		return "0"
	case minutes > 0 && minutes < 60 && int(seconds)%60 == 0:
		return lang.T("duration.wholeminutes", "m", minutes)
	}
	return durationText(lang, time.Duration(seconds*float64(time.Second)))
}

// binaryScale is a round number of bytes.
func binaryScale(most float64) float64 {
	if most <= 1 {
		return 1
	}
	unit := math.Pow(1024, math.Floor(math.Log(most)/math.Log(1024)))
	return scale(most/unit) * unit
}

func level(share float64) float64 {
	return chartTop + (chartHeight-chartTop-chartBottom)*(1-share)
}

// grid draws three lines of a scale.
func grid(most float64, text func(float64) string) []chartGrid {
	var out []chartGrid
	for _, share := range []float64{0, 0.5, 1} {
		out = append(out, chartGrid{Y: level(share), Text: text(most * share)})
	}
	return out
}

// bars draws values beside each other, oldest first. A negative value leaves a gap.
func bars(values []float64, most float64, tone func(i int) string, text func(i int) string) []chartBar {
	var out []chartBar
	room := float64(chartWidth-chartLeft) / float64(max(len(values), 12))
	for i, v := range values {
		if v < 0 {
			continue // it is not known
		}
		h := math.Max(2, (chartHeight-chartTop-chartBottom)*v/most)
		out = append(out, chartBar{
			X: chartLeft + float64(i)*room + room*0.15, Y: chartHeight - chartBottom - h, W: room * 0.7, H: h, Tone: tone(i), Text: text(i),
		})
	}
	return out
}

// point of a line.
type point struct {
	at    time.Time
	value float64
}

// line draws points between two times.
func line(points []point, from, to time.Time, most float64) string {
	var b strings.Builder
	for _, p := range points {
		x := chartLeft + (chartWidth-chartLeft)*p.at.Sub(from).Seconds()/math.Max(1, to.Sub(from).Seconds())
		fmt.Fprintf(&b, "%.1f,%.1f ", x, level(math.Min(1, p.value/most)))
	}
	return strings.TrimSpace(b.String())
}
