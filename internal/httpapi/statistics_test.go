// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"testing"
	"time"
)

func TestForecast(t *testing.T) {
	now := time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)
	const gib = 1 << 30
	// Ten days in which it lost a GiB a day; 20 are left.
	d := diskFigures{Free: 20 * gib}
	for day := 10; day > 0; day-- {
		d.History = append(d.History, diskFigure{now.AddDate(0, 0, -day), int64(20+day) * gib})
	}
	d.forecast(now)
	if d.PerDay != gib || d.FullAt == nil || !d.FullAt.Equal(now.AddDate(0, 0, 20)) {
		t.Errorf("%v a day, full at %v", d.PerDay, d.FullAt)
	}
	for what, d := range map[string]diskFigures{
		"it gets emptier":     {Free: 30 * gib, History: []diskFigure{{now.AddDate(0, 0, -3), 20 * gib}}},
		"too short":           {Free: 10 * gib, History: []diskFigure{{now.Add(-time.Hour), 20 * gib}}},
		"no history":          {Free: 10 * gib},
		"in more than a year": {Free: 1000 * gib, History: []diskFigure{{now.AddDate(0, 0, -3), 1001 * gib}}},
	} {
		d.forecast(now)
		if d.FullAt != nil {
			t.Errorf("%s: full at %v", what, d.FullAt)
		}
	}
}
