// SPDX-License-Identifier: Apache-2.0

package plural

import "testing"

func TestOf(t *testing.T) {
	for n, want := range map[int64]string{0: "0 commits", 1: "1 commit", 2: "2 commits", 1 << 40: "1099511627776 commits"} {
		if got := Of(n, "commit"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
