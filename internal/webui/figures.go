// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"math"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/measure"
)

// figures of an application, as the API tells them.
type figures struct {
	Updates []updateFigure
	Backups []backupFigure
	Disk    *diskFigure
}

type updateFigure struct {
	Request    string
	Phase      v1alpha1.Phase
	FinishedAt time.Time
	Seconds    float64
	// Downtime is nil where nothing was measured.
	Downtime *downtimeFigure
}

type diskFigure struct {
	Host        string
	Free, Total int64
	PerDay      float64
	FullAt      *time.Time
	History     []struct {
		Time time.Time
		Free int64
	}
	NextUpdate int64
	Needs      []v1alpha1.DiskNeed
}

// downtimeFigure is what was measured from outside.
type downtimeFigure struct {
	Seconds        float64
	Probes, Failed int64
}

type backupFigure struct {
	Name  string
	Time  time.Time
	Bytes int64
}

type figuresPage struct {
	Namespace, App string
	Charts         []chart
}

func (p *figuresPage) Title(c *call) string { return c.T("figures.title") + " · " + p.App }

func (p *figuresPage) Crumbs(c *call) []crumb { return c.ofApp(p.Namespace, p.App) }

// ofApp leads back to an application.
func (c *call) ofApp(namespace, name string) []crumb {
	return []crumb{{Text: c.T("nav.overview"), URL: Prefix}, {Text: name, URL: appURL(namespace, name)}}
}

// figures is GET …/applications/NAME/figures.
func (s *Server) figures(c *call) error {
	ns, name := c.r.PathValue("namespace"), c.r.PathValue("name")
	var f figures
	if err := c.Get(inNamespace(ns, "applications", name, "statistics"), &f); err != nil {
		return err
	}
	page := &figuresPage{Namespace: ns, App: name, Charts: []chart{c.durationChart(&f, ns), c.downtimeChart(&f, ns), c.backupChart(&f), c.diskChart(&f)}}
	// What is not drawn has only a sentence, which stands below the others.
	slices.SortStableFunc(page.Charts, func(a, b chart) int {
		if a.Drawn() == b.Drawn() {
			return 0
		}
		if a.Drawn() {
			return -1
		}
		return 1
	})
	return c.render("figures", page)
}

func (c *call) durationChart(f *figures, namespace string) chart {
	ch := chart{ID: "durations", Title: c.T("chart.durations"), Heads: [2]string{c.T("chart.update"), c.T("chart.duration")}}
	if len(f.Updates) == 0 {
		ch.Summary = c.T("chart.durations.none")
		return ch
	}
	text := func(seconds float64) string {
		return durationText(c.Lang, time.Duration(seconds*float64(time.Second)))
	}
	var values []float64
	most, sum, bad := 0.0, 0.0, 0
	for _, u := range f.Updates {
		values = append(values, u.Seconds)
		most, sum = max(most, u.Seconds), sum+u.Seconds
		if u.Phase != v1alpha1.PhaseSucceeded {
			bad++
		}
		ch.Rows = append(ch.Rows, chartRow{At: u.FinishedAt, Text: text(u.Seconds) + c.T("list.pause") + phaseText(c.Lang, u.Phase), URL: updateURL(namespace, u.Request), Name: u.Request})
	}
	ch.Summary = c.T("chart.durations.summary", "count", len(values), "average", text(sum/float64(len(values))), "longest", text(most), "failed", bad)
	top := timeScale(most)
	ch.Grid = grid(top, func(seconds float64) string { return markText(c.Lang, seconds) })
	ch.Bars = bars(values, top, func(i int) string { return tone(f.Updates[i].Phase) },
		func(i int) string { return f.Updates[i].Request + c.T("parts.name") + ch.Rows[i].Text })
	return ch
}

// downtimeChart has a bar for each update that was measured. The others are in the
// table: that nothing was measured does not mean that there was no downtime.
func (c *call) downtimeChart(f *figures, namespace string) chart {
	ch := chart{ID: "downtimes", Title: c.T("chart.downtimes"), Heads: [2]string{c.T("chart.update"), c.T("chart.downtime")}}
	text := func(seconds float64) string { return shortText(c.Lang, seconds) }
	var values []float64
	most, down, known := 0.0, 0, 0
	for _, u := range f.Updates {
		value, words := -1.0, c.T("chart.downtimes.unknown")
		if d := u.Downtime; d != nil {
			known++
			value = d.Seconds
			most = max(most, value)
			words = c.T("chart.downtimes.row", "time", text(value), "failed", d.Failed, "probes", d.Probes)
			if d.Failed == 0 {
				value, words = 0, c.T("chart.downtimes.none", "probes", d.Probes)
			} else {
				down++
			}
		}
		values = append(values, value)
		ch.Rows = append(ch.Rows, chartRow{At: u.FinishedAt, Text: words, URL: updateURL(namespace, u.Request), Name: u.Request})
	}
	if known == 0 {
		ch.Summary = c.T("chart.downtimes.unmeasured")
		return ch
	}
	ch.Summary = c.T("chart.downtimes.summary", "count", known, "all", len(values), "down", down)
	if down > 0 {
		ch.Summary += c.Lang.Gap() + c.T("chart.downtimes.longest", "time", text(most))
	}
	top := downtimeScale(most)
	ch.Grid = grid(top, func(seconds float64) string {
		if seconds == 0 {
			return "0"
		}
		return text(seconds)
	})
	ch.Bars = bars(values, top, func(i int) string {
		if values[i] > 0 {
			return "bad"
		}
		return "good"
	}, func(i int) string { return f.Updates[i].Request + c.T("parts.name") + ch.Rows[i].Text })
	return ch
}

func (c *call) backupChart(f *figures) chart {
	ch := chart{ID: "sizes", Title: c.T("chart.backups"), Heads: [2]string{c.T("chart.backup"), c.T("chart.size")}}
	if len(f.Backups) == 0 {
		ch.Summary = c.T("chart.backups.none")
		return ch
	}
	text := measure.Bytes[float64]
	var values []float64
	most, sum := 0.0, 0.0
	for _, b := range f.Backups {
		v := float64(b.Bytes)
		values, most, sum = append(values, v), max(most, v), sum+v
		ch.Rows = append(ch.Rows, chartRow{At: b.Time, Text: text(v)})
	}
	ch.Summary = c.T("chart.backups.summary", "count", len(values), "newest", text(values[len(values)-1]), "sum", text(sum))
	top := binaryScale(most)
	ch.Grid = grid(top, roundText)
	ch.Bars = bars(values, top, func(int) string { return "plain" }, func(i int) string { return f.Backups[i].Name + c.T("parts.name") + ch.Rows[i].Text })
	return ch
}

func (c *call) diskChart(f *figures) chart {
	d := f.Disk
	text := measure.Bytes[float64]
	if d == nil {
		return chart{ID: "disk", Title: c.T("chart.disk.title"), Summary: c.T("chart.disk.none")}
	}
	ch := chart{ID: "disk", Title: c.T("chart.disk", "host", d.Host), Heads: [2]string{c.T("chart.time"), c.T("chart.free")}}
	ch.Summary = c.T("chart.disk.summary", "free", text(float64(d.Free)), "total", text(float64(d.Total)))
	now := c.s.opts.Now()
	if d.NextUpdate > 0 {
		ch.Summary += c.Lang.Gap() + c.T("chart.disk.next", "size", text(float64(d.NextUpdate)), "left", text(float64(max(0, d.Free-d.NextUpdate))))
	}
	for _, need := range d.Needs {
		if need.Bytes == nil {
			ch.Summary += c.Lang.Gap() + c.T("chart.disk.unknown", "what", c.T("need."+string(need.For)))
		}
	}
	if d.NextUpdate > d.Free {
		ch.Summary += c.Lang.Gap() + c.T("chart.disk.short")
	}
	var past []point
	for _, h := range d.History {
		past = append(past, point{h.Time, float64(h.Free)})
		ch.Rows = append(ch.Rows, chartRow{At: h.Time, Text: text(float64(h.Free))})
	}
	past = append(past, point{now, float64(d.Free)})
	ch.Rows = append(ch.Rows, chartRow{At: now, Text: text(float64(d.Free))})
	from, to := past[0].at, now
	switch {
	case d.FullAt != nil:
		ch.Summary += c.Lang.Gap() + c.T("chart.disk.full", "date", d.FullAt.Format("2006-01-02"), "rate", text(d.PerDay))
		to = now.Add(min(d.FullAt.Sub(now), 2*max(now.Sub(from), 24*time.Hour)))
	case d.NextUpdate > 0:
		to = now.Add(max(now.Sub(from)/5, time.Hour))
	}
	switch {
	case d.FullAt != nil:
	case len(past) > 4:
		ch.Summary += c.Lang.Gap() + c.T("chart.disk.steady")
	default:
		ch.Summary += c.Lang.Gap() + c.T("chart.disk.soon")
	}
	// As high as the disk is large: a round number above it is room that is not there.
	top := math.Max(1, float64(d.Total))
	ch.Grid = grid(top, roundText)
	ch.Line = line(past, from, to, top)
	if d.FullAt != nil {
		left := float64(d.Free) - d.PerDay*to.Sub(now).Hours()/24
		ch.Ahead = line([]point{{now, float64(d.Free)}, {to, max(0, left)}}, from, to, top)
	} else if d.NextUpdate > 0 {
		ch.Ahead = line([]point{{now, float64(d.Free)}, {to, float64(max(0, d.Free-d.NextUpdate))}}, from, to, top)
	}
	return ch
}
