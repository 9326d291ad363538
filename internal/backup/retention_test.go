// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"slices"
	"testing"
	"time"
)

func TestExpired(t *testing.T) {
	now := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	// a is a day old, b two days and so on
	var all []Manifest
	for i, id := range []string{"a", "b", "c", "d", "e"} {
		all = append(all, Manifest{ID: id, CreatedAt: now.Add(-time.Duration(i+1) * day)})
	}
	shuffled := []Manifest{all[3], all[0], all[4], all[2], all[1]}
	for _, c := range []struct {
		name  string
		in    []Manifest
		count int
		age   time.Duration
		keep  map[string]bool
		want  []string
	}{
		{name: "no limits", in: shuffled},
		{name: "by count", in: shuffled, count: 3, want: []string{"e", "d"}},
		{name: "by age", in: shuffled, age: 3 * day, want: []string{"e", "d"}},
		{name: "either is enough", in: shuffled, count: 4, age: 2*day + time.Hour, want: []string{"e", "d", "c"}},
		{name: "the newest stays", in: shuffled, count: 1, age: time.Hour, want: []string{"e", "d", "c", "b"}},
		{name: "needed ones stay and count", in: shuffled, count: 2, keep: map[string]bool{"e": true, "b": true}, want: []string{"d", "c"}},
		{name: "none", count: 1, age: day},
	} {
		if got := Expired(c.in, now, c.count, c.age, c.keep); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
