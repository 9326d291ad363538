// SPDX-License-Identifier: Apache-2.0

//go:build crash

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// disturbed reports whether a step of the request waits to be tried again, or
// was.
func disturbed(ur *v1alpha1.UpdateRequest) bool {
	if meta.IsStatusConditionTrue(ur.Status.Conditions, v1alpha1.ConditionStalled) {
		return true
	}
	for _, s := range ur.Status.Steps {
		if s.Attempt > 1 {
			return true
		}
	}
	return false
}

// TestRefusedStatus has the API refuse to write the status of a request, many
// times over. No step may run without its intent being written, or twice
// because its result was not.
func TestRefusedStatus(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	for _, fault := range []string{"refuse:conflict:20", "refuse:error:6"} {
		t.Run(fault, func(t *testing.T) {
			d := l.daemon.For(t)
			l.arm(t, fault)
			u := l.begin(t, d, good)
			u.attempts = 1
			u.settled(t, d.WaitEnded(u.name))
			if _, err := os.Stat(l.fault); err == nil {
				t.Error("fewer writes than that were refused")
			}
		})
	}
}

// TestFullDisk gives the backups a disk of their own that is too small. The
// update ends before anything is touched.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	l := newLane(t)
	d := l.daemon
	dir := backup.Dir(l.repo.Dir)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Fatalf("mount a small disk over %s: %v", dir, err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Errorf("unmount %s: %v", dir, err)
			}
		}
	}
	defer unmount()
	// More than the disk holds, and it does not shrink.
	noise := make([]byte, 4<<20)
	state := uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	if err := os.WriteFile(filepath.Join(l.repo.Dir, "ledger", "noise"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	before := harness.Containers(t, l.repo.Project)
	u := l.begin(t, d, good)
	ur := d.WaitEnded(u.name)
	if ur.Status.Phase != v1alpha1.PhaseFailed || ur.Status.Failure == nil || ur.Status.Failure.Reason != v1alpha1.ReasonBackupFailed {
		t.Fatalf("it ended as %s (%+v), want Failed, BackupFailed:\n%s", ur.Status.Phase, ur.Status.Failure, d.Log(ur))
	}
	t.Log(ur.Status.Message)
	if after := harness.Containers(t, l.repo.Project); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("containers were touched: %v, before %v", after, before)
	}
	if commit, err := l.repo.Deployed(t.Context()); err != nil || commit != l.commit {
		t.Errorf("the working tree is at %s (%v), want %s", commit, err, l.commit)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the small disk holds %v (%v), want nothing half-made", entries, err)
	}
	unmount()
	// With room again, a person's retry goes through.
	next := l.begin(t, d, good)
	next.settled(t, d.WaitEnded(next.name))
}
