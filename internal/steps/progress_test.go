// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
)

func TestBackupGauge(t *testing.T) {
	first := newBackupGauge(nil).at(backup.Progress{Artifact: "files", Index: 1, Total: 2, Written: 10})
	if first != (v1alpha1.StepProgress{Unit: v1alpha1.ProgressBytes, Done: 10, Message: "files, 1 of 2"}) {
		t.Errorf("without an earlier backup: %+v", first)
	}

	old, last := metav1.Unix(1, 0), metav1.Unix(2, 0)
	artifacts := func(files, data int64) []v1alpha1.BackupArtifact {
		return []v1alpha1.BackupArtifact{{Name: "files", Bytes: files}, {Name: "data", Bytes: data}}
	}
	g := newBackupGauge([]v1alpha1.Backup{
		{Status: v1alpha1.BackupStatus{CompletedAt: &last, Artifacts: artifacts(10, 100)}},
		{Status: v1alpha1.BackupStatus{CompletedAt: &old, Artifacts: artifacts(1, 1)}},
		{Status: v1alpha1.BackupStatus{Artifacts: artifacts(5000, 5000)}}, // not whole
	})
	for _, tt := range []struct {
		p           backup.Progress
		done, total int64
	}{
		{backup.Progress{Artifact: "files", Written: 4}, 4, 110},
		{backup.Progress{Artifact: "files", Written: 4, Done: true}, 4, 104}, // smaller than the last time
		{backup.Progress{Artifact: "data", Written: 90}, 94, 104},
		{backup.Progress{Artifact: "data", Written: 300}, 304, 304}, // larger: never more than all
		{backup.Progress{Artifact: "new", Written: 6}, 310, 310},
		{backup.Progress{Artifact: "new", Written: 0}, 304, 304}, // it is copied again
	} {
		got := g.at(tt.p)
		if got.Done != tt.done || got.Total != tt.total || !got.Estimated {
			t.Errorf("at %+v: %d of %d, want %d of %d", tt.p, got.Done, got.Total, tt.done, tt.total)
		}
	}
}

func TestImageGauge(t *testing.T) {
	var told []v1alpha1.StepProgress
	g := &imageGauge{images: map[string][2]int{}, tell: func(p v1alpha1.StepProgress, _ bool) { told = append(told, p) }}
	if g.busy() {
		t.Error("it is busy with nothing")
	}
	web, db := g.of("web"), g.of("db")
	web(2, 7)
	db(5, 5)
	web(7, 7)
	want := []v1alpha1.StepProgress{
		{Unit: v1alpha1.ProgressSteps, Done: 2, Total: 8, Message: "db 0 of 1, web 2 of 7"},
		{Unit: v1alpha1.ProgressSteps, Done: 7, Total: 12, Message: "web 2 of 7"},
		{Unit: v1alpha1.ProgressSteps, Done: 12, Total: 12},
	}
	if len(told) != len(want) {
		t.Fatalf("told %d times", len(told))
	}
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("%d: %+v, want %+v", i, told[i], want[i])
		}
	}
}
