// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestWindows(t *testing.T) {
	const berlin = "Europe/Berlin"
	days := func(d ...v1alpha1.Weekday) []v1alpha1.Weekday { return d }
	night := v1alpha1.UpdateWindow{Start: "22:00", End: "04:00", TimeZone: berlin}
	friday := v1alpha1.UpdateWindow{Days: days("Fri"), Start: "22:00", End: "04:00", TimeZone: berlin}
	lunch := v1alpha1.UpdateWindow{Start: "12:00", End: "13:00"}
	gap := v1alpha1.UpdateWindow{Start: "02:15", End: "02:45", TimeZone: berlin}
	across := v1alpha1.UpdateWindow{Start: "02:30", End: "05:00", TimeZone: berlin}
	tests := []struct {
		name    string
		windows []v1alpha1.UpdateWindow
		now     string
		next    string // "" for open now
	}{
		{"no windows", nil, "2026-03-02T12:00:00Z", ""},
		{"UTC is the default", []v1alpha1.UpdateWindow{lunch}, "2026-03-02T12:00:00Z", ""},
		{"the last second of it", []v1alpha1.UpdateWindow{lunch}, "2026-03-02T12:59:59Z", ""},
		{"its end is not part of it", []v1alpha1.UpdateWindow{lunch}, "2026-03-02T13:00:00Z", "2026-03-03T12:00:00Z"},
		{"a second too early", []v1alpha1.UpdateWindow{lunch}, "2026-03-02T11:59:59Z", "2026-03-02T12:00:00Z"},
		{"a time zone", []v1alpha1.UpdateWindow{night}, "2026-03-02T20:59:00Z", "2026-03-02T21:00:00Z"},
		{"and in summer", []v1alpha1.UpdateWindow{night}, "2026-07-02T20:30:00Z", ""},
		{"before midnight", []v1alpha1.UpdateWindow{night}, "2026-03-02T22:30:00Z", ""},
		{"after midnight", []v1alpha1.UpdateWindow{night}, "2026-03-03T02:59:00Z", ""},
		{"over", []v1alpha1.UpdateWindow{night}, "2026-03-03T03:00:00Z", "2026-03-03T21:00:00Z"},
		{"the day on which it opens counts", []v1alpha1.UpdateWindow{friday}, "2026-03-07T02:00:00+01:00", ""}, // a Saturday
		{"not the day on which it ends", []v1alpha1.UpdateWindow{friday}, "2026-03-06T02:00:00+01:00", "2026-03-06T21:00:00Z"},
		{"a week later", []v1alpha1.UpdateWindow{friday}, "2026-03-07T04:00:00+01:00", "2026-03-13T21:00:00Z"},
		{"the day is that of the time zone", []v1alpha1.UpdateWindow{{Days: days("Mon"), Start: "00:00", End: "02:00", TimeZone: "Pacific/Auckland"}},
			"2026-03-01T11:30:00Z", ""}, // Monday there, Sunday in UTC
		{"the first of several", []v1alpha1.UpdateWindow{friday, lunch}, "2026-03-06T20:00:00Z", "2026-03-06T21:00:00Z"},
		{"any of several", []v1alpha1.UpdateWindow{friday, lunch}, "2026-03-06T12:00:00Z", ""},
		{"all but a minute of the day", []v1alpha1.UpdateWindow{{Start: "00:01", End: "00:00"}}, "2026-03-06T00:00:30Z", "2026-03-06T00:01:00Z"},
		// In Berlin the clock is put forward from 2 to 3 on the 29th of March.
		{"an hour that is left out", []v1alpha1.UpdateWindow{gap}, "2026-03-29T00:50:00Z", "2026-03-30T00:15:00Z"},
		{"its start is left out", []v1alpha1.UpdateWindow{across}, "2026-03-29T00:50:00Z", "2026-03-29T01:00:00Z"},
		{"the day after", []v1alpha1.UpdateWindow{across}, "2026-03-29T03:00:00Z", "2026-03-30T00:30:00Z"},
		// And back from 3 to 2 on the 25th of October.
		{"an hour that comes twice, once", []v1alpha1.UpdateWindow{gap}, "2026-10-25T00:20:00Z", ""},
		{"in between", []v1alpha1.UpdateWindow{gap}, "2026-10-25T00:50:00Z", "2026-10-25T01:15:00Z"},
		{"and twice", []v1alpha1.UpdateWindow{gap}, "2026-10-25T01:20:00Z", ""},
		{"it opens the first time", []v1alpha1.UpdateWindow{gap}, "2026-10-24T22:00:00Z", "2026-10-25T00:15:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			open, next, _, err := openWindow(tt.windows, moment(t, tt.now))
			if err != nil {
				t.Fatal(err)
			}
			if open != (tt.next == "") {
				t.Fatalf("open: %v, next %s", open, next)
			}
			if !open && !next.Equal(moment(t, tt.next)) {
				t.Errorf("opens at %s, want %s", next.UTC().Format(time.RFC3339), tt.next)
			}
		})
	}
}

// When a window is said to open next, it does, and not before.
func TestNextOpeningIsTheFirst(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		w, err := readWindow(v1alpha1.UpdateWindow{Days: []v1alpha1.Weekday{"Sun", "Wed"}, Start: "02:10", End: "01:50", TimeZone: zone})
		if err != nil {
			t.Fatal(err)
		}
		for now := moment(t, "2026-03-01T00:00:00Z"); now.Year() == 2026; now = now.Add(7*time.Hour + 13*time.Minute) {
			if w.contains(now) {
				continue
			}
			next, ok := w.opens(now)
			if !ok || !next.After(now) || !w.contains(next) {
				t.Fatalf("%s: at %s it opens at %s", zone, now, next)
			}
			for at := next.Add(-time.Minute); at.After(now) && at.After(next.Add(-5*time.Hour)); at = at.Add(-time.Minute) {
				if w.contains(at) {
					t.Fatalf("%s: at %s it opens at %s, but is open at %s", zone, now, next, at)
				}
			}
		}
	}
}

func TestBadWindows(t *testing.T) {
	for _, tt := range []struct {
		window v1alpha1.UpdateWindow
		want   string
	}{
		{v1alpha1.UpdateWindow{Start: "22:00", End: "04:00", TimeZone: "Europe/Bärlin"}, "no time zone"},
		{v1alpha1.UpdateWindow{Start: "22:00", End: "04:00", TimeZone: "Local"}, "no time zone"},
		{v1alpha1.UpdateWindow{Start: "25:00", End: "04:00"}, "no time of the day"},
		{v1alpha1.UpdateWindow{Start: "04:00", End: "04:00"}, "has no end"},
	} {
		_, _, _, err := openWindow([]v1alpha1.UpdateWindow{tt.window}, moment(t, "2026-03-01T00:00:00Z"))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.window, err, tt.want)
		}
	}
}
