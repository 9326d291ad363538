// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"slices"
	"strings"
	"time"
)

// Expired returns the IDs of the backups that may go, oldest first: those
// beyond the newest count, and those that are older than age. A limit of zero or
// less is no limit. The newest backup never goes, however old it is, and
// neither does one in keep: a release that can be rolled back to refers to it.
// Kept ones count among the newest.
func Expired(backups []Manifest, now time.Time, count int, age time.Duration, keep map[string]bool) []string {
	sorted := slices.Clone(backups)
	slices.SortFunc(sorted, newestFirst)
	var expired []string
	for i, m := range sorted {
		tooMany := count > 0 && i >= count
		tooOld := age > 0 && now.Sub(m.CreatedAt) > age
		if i > 0 && (tooMany || tooOld) && !keep[m.ID] {
			expired = append(expired, m.ID)
		}
	}
	slices.Reverse(expired)
	return expired
}

func newestFirst(a, b Manifest) int {
	if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
		return c
	}
	return strings.Compare(b.ID, a.ID)
}
