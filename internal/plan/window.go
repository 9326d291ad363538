// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// weekdays in the order of time.Weekday.
var weekdays = [...]v1alpha1.Weekday{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// window is an UpdateWindow that was read. It is open while a clock on the wall
// of its time zone shows a time from start to end, end not included. So an hour
// that a clock passes twice counts twice, and one that it leaves out never
// comes: a window that lies in it whole is not open on that day.
type window struct {
	days       []v1alpha1.Weekday
	start, end int // minutes of the day
	zone       *time.Location
}

func readWindow(w v1alpha1.UpdateWindow) (window, error) {
	out := window{days: w.Days, zone: time.UTC}
	for _, m := range []struct {
		text string
		into *int
	}{{w.Start, &out.start}, {w.End, &out.end}} {
		t, err := time.Parse("15:04", m.text)
		if err != nil {
			return out, fmt.Errorf("%q is no time of the day such as 22:00", m.text)
		}
		*m.into = t.Hour()*60 + t.Minute()
	}
	if out.start == out.end {
		return out, fmt.Errorf("the window from %s to %s has no end", w.Start, w.End)
	}
	if w.TimeZone != "" {
		zone, err := time.LoadLocation(w.TimeZone)
		if err != nil || w.TimeZone == "Local" {
			return out, fmt.Errorf("there is no time zone %q; give a name such as Europe/Berlin", w.TimeZone)
		}
		out.zone = zone
	}
	return out, nil
}

// opensOn reports whether the window opens on that day of the week.
func (w window) opensOn(day time.Weekday) bool {
	return len(w.days) == 0 || slices.Contains(w.days, weekdays[day])
}

// contains reports whether the window is open at t.
func (w window) contains(t time.Time) bool {
	t = t.In(w.zone)
	minute := t.Hour()*60 + t.Minute()
	if w.start < w.end {
		return w.opensOn(t.Weekday()) && w.start <= minute && minute < w.end
	}
	// It crosses midnight: what is before the end was opened the day before.
	return minute >= w.start && w.opensOn(t.Weekday()) ||
		minute < w.end && w.opensOn((t.Weekday()+6)%7)
}

// opens returns when the window, which is closed at now, opens next. The second
// result is false if it does not within two weeks, which cannot be but for
// a window that always falls into an hour that is left out.
func (w window) opens(now time.Time) (time.Time, bool) {
	local := now.In(w.zone)
	for day := range 15 {
		// Noon is on every day, whatever is done with the clock at night.
		if !w.opensOn(time.Date(local.Year(), local.Month(), local.Day()+day, 12, 0, 0, 0, w.zone).Weekday()) {
			continue
		}
		start := time.Date(local.Year(), local.Month(), local.Day()+day, w.start/60, w.start%60, 0, 0, w.zone)
		for _, t := range w.around(start) {
			if t.After(now) && w.contains(t) {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// around returns the minutes at which a window that starts at about start may
// really open: that time itself, and if the clock is put forward or back
// nearby, each minute in question.
func (w window) around(start time.Time) []time.Time {
	const near = 3 * time.Hour
	_, before := start.Add(-near).Zone()
	_, after := start.Add(near).Zone()
	if before == after {
		return []time.Time{start}
	}
	var all []time.Time
	for t := start.Add(-near); !t.After(start.Add(near)); t = t.Add(time.Minute) {
		all = append(all, t)
	}
	return all
}

// openWindow reports whether updates may be started at now, and if not, when
// they may next. Without windows, they always may.
func openWindow(windows []v1alpha1.UpdateWindow, now time.Time) (open bool, next time.Time, zone *time.Location, err error) {
	if len(windows) == 0 {
		return true, time.Time{}, nil, nil
	}
	for _, spec := range windows {
		w, err := readWindow(spec)
		if err != nil {
			return false, time.Time{}, nil, err
		}
		if w.contains(now) {
			return true, time.Time{}, nil, nil
		}
		if t, ok := w.opens(now); ok && (next.IsZero() || t.Before(next)) {
			next, zone = t, w.zone
		}
	}
	return false, next, zone, nil
}
