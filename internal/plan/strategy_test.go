// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func TestStrategy(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		set             v1alpha1.RolloutStrategy
		need, available int64
		want            v1alpha1.RolloutStrategy
		why             string
	}{
		{v1alpha1.StrategyAuto, 100 * mib, 1000 * mib, v1alpha1.StrategyTogether, "has the memory"},
		{"", 900 * mib, 1000 * mib, v1alpha1.StrategyOneByOne, "use 900 MiB, and the host has only 1000 MiB left"},
		{v1alpha1.StrategyTogether, 900 * mib, 100 * mib, v1alpha1.StrategyTogether, "set by"},
		{v1alpha1.StrategyOneByOne, 1, 1000 * mib, v1alpha1.StrategyOneByOne, "set by"},
		{"", 900 * mib, 0, v1alpha1.StrategyTogether, ""},
	} {
		got, why := Strategy(tt.set, tt.need, tt.available)
		if got != tt.want || !strings.Contains(why, tt.why) {
			t.Errorf("Strategy(%q, %d, %d) = %s, %q", tt.set, tt.need, tt.available, got, why)
		}
	}
}
