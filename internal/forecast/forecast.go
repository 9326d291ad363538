// SPDX-License-Identifier: Apache-2.0

// Package forecast says what the next update is expected to write to the disk, from
// what earlier ones wrote. It is pure: it knows objects alone.
package forecast

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// lookBack is how many earlier backups or releases count: the largest of them is
// expected again, as too little is worse than too much.
const lookBack = 3

// Backup is what the next backup is expected to take: as much as the largest of the
// last ones. Bytes is nil where there is none.
func Backup(backups []v1alpha1.Backup) v1alpha1.DiskNeed {
	whole := slices.DeleteFunc(slices.Clone(backups), func(b v1alpha1.Backup) bool { return b.Status.CompletedAt == nil })
	slices.SortFunc(whole, func(a, b v1alpha1.Backup) int { return b.Status.CompletedAt.Compare(a.Status.CompletedAt.Time) })
	var sizes []int64
	for _, b := range whole[:min(lookBack, len(whole))] {
		sizes = append(sizes, b.Status.Bytes)
	}
	return largest(v1alpha1.DiskForBackup, sizes, "backup", "no backup was made yet")
}

// Build is what building images is expected to take, as far as earlier releases
// tell.
func Build(releases []v1alpha1.Release) v1alpha1.DiskNeed {
	return images(releases, v1alpha1.DiskForBuild, "build", func(r v1alpha1.ReleaseSpec) int64 { return r.BuildBytes })
}

// Pull is what pulling images is expected to take, as far as earlier releases tell.
func Pull(releases []v1alpha1.Release) v1alpha1.DiskNeed {
	return images(releases, v1alpha1.DiskForPull, "pull", func(r v1alpha1.ReleaseSpec) int64 { return r.PullBytes })
}

func images(releases []v1alpha1.Release, purpose v1alpha1.DiskPurpose, word string, of func(v1alpha1.ReleaseSpec) int64) v1alpha1.DiskNeed {
	newest := slices.Clone(releases)
	slices.SortFunc(newest, func(a, b v1alpha1.Release) int { return cmp.Compare(b.Spec.Number, a.Spec.Number) })
	var sizes []int64
	for _, r := range newest {
		if n := of(r.Spec); n > 0 && len(sizes) < lookBack {
			sizes = append(sizes, n)
		}
	}
	return largest(purpose, sizes, word, "no "+word+" was measured yet")
}

func largest(purpose v1alpha1.DiskPurpose, sizes []int64, word, none string) v1alpha1.DiskNeed {
	need := v1alpha1.DiskNeed{For: purpose, Basis: none}
	switch n := len(sizes); {
	case n == 1:
		need.Bytes, need.Basis = &sizes[0], "as much as the last "+word
	case n > 1:
		most := slices.Max(sizes)
		need.Bytes, need.Basis = &most, fmt.Sprintf("as much as the largest of the last %d %ss", n, word)
	}
	return need
}

// Needed is the sum of what is known.
func Needed(needs []v1alpha1.DiskNeed) int64 {
	var sum int64
	for _, n := range needs {
		if n.Bytes != nil {
			sum += *n.Bytes
		}
	}
	return sum
}
