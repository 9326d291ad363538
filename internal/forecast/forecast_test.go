// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

func backup(day int, bytes int64) v1alpha1.Backup {
	b := v1alpha1.Backup{Status: v1alpha1.BackupStatus{Bytes: bytes}}
	if day > 0 {
		at := metav1.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
		b.Status.CompletedAt = &at
	}
	return b
}

func release(number, built, pulled int64) v1alpha1.Release {
	return v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Number: number, BuildBytes: built, PullBytes: pulled}}
}

func check(t *testing.T, got v1alpha1.DiskNeed, bytes int64, basis string) {
	t.Helper()
	known := got.Bytes != nil
	if known != (bytes > 0) || known && *got.Bytes != bytes || got.Basis != basis {
		t.Errorf("got %+v (%v), want %d, %q", got, got.Bytes, bytes, basis)
	}
}

func TestBackup(t *testing.T) {
	check(t, Backup(nil), 0, "no backup was made yet")
	check(t, Backup([]v1alpha1.Backup{backup(0, 99)}), 0, "no backup was made yet") // not whole
	check(t, Backup([]v1alpha1.Backup{backup(1, 10)}), 10, "as much as the last backup")
	// The largest of the last three; what was long ago does not count.
	check(t, Backup([]v1alpha1.Backup{backup(4, 20), backup(1, 1000), backup(3, 30), backup(2, 10)}), 30, "as much as the largest of the last 3 backups")
}

func TestImages(t *testing.T) {
	releases := []v1alpha1.Release{release(1, 500, 0), release(5, 0, 0), release(3, 10, 7), release(4, 20, 0), release(2, 30, 0)}
	check(t, Build(releases), 30, "as much as the largest of the last 3 builds")
	check(t, Pull(releases), 7, "as much as the last pull")
	check(t, Pull(releases[:2]), 0, "no pull was measured yet")
	if n := Needed([]v1alpha1.DiskNeed{Build(releases), Pull(releases), Backup(nil)}); n != 37 {
		t.Errorf("%d bytes are needed in all", n)
	}
}
