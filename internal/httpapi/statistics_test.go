// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Nothing was seen is no figure where nobody looked for a while.
func TestDowntimeOf(t *testing.T) {
	none, gap := &v1alpha1.DowntimeStatus{LongestGap: "0s", Probes: 9}, &v1alpha1.DowntimeStatus{LongestGap: "2s", Probes: 9, Failed: 3}
	port, all := v1alpha1.UnmeasuredPorts{Service: "dns", Ports: "53/udp", Reason: "r"}, v1alpha1.UnmeasuredPorts{Reason: "r"}
	for name, tt := range map[string]struct {
		seen       *v1alpha1.DowntimeStatus
		unmeasured []v1alpha1.UnmeasuredPorts
		want       float64 // less than 0: nothing is known
	}{
		"nothing probed":            {nil, nil, -1},
		"no gap":                    {none, nil, 0},
		"no gap, but for one port":  {none, []v1alpha1.UnmeasuredPorts{port}, 0},
		"no gap, but not looked":    {none, []v1alpha1.UnmeasuredPorts{port, all}, -1},
		"a gap":                     {gap, nil, 2},
		"a gap, though not looked":  {gap, []v1alpha1.UnmeasuredPorts{all}, 2},
		"written by somebody else?": {&v1alpha1.DowntimeStatus{LongestGap: "long"}, nil, -1},
	} {
		got := downtimeOf(v1alpha1.UpdateRequestStatus{Downtime: tt.seen, Unmeasured: tt.unmeasured})
		if (got == nil) != (tt.want < 0) || got != nil && got.Seconds != tt.want {
			t.Errorf("%s: %+v, want %v s", name, got, tt.want)
		}
	}
}

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
