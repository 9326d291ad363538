// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controllers_test

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

const onFullDisk = "/opt/shop/.update/releases/shop-2.yaml"

// meetsFullDisk is a step that cannot write a file.
func meetsFullDisk(context.Context, steps.Work, steps.Recorder) error {
	return fmt.Errorf("write the Compose model: %w", &fs.PathError{Op: "write", Path: onFullDisk, Err: syscall.ENOSPC})
}

// stalledByDisk waits until a request says that it waits for room, and where.
func (w *world) stalledByDisk(name string) {
	w.t.Helper()
	w.await(name, "stalled by the full disk", func(ur *v1alpha1.UpdateRequest) bool {
		c := conditionOf(ur, v1alpha1.ConditionStalled)
		return c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.ReasonNoSpace &&
			strings.Contains(c.Message, onFullDisk) && strings.Contains(c.Message, "make room, and it goes on by itself")
	})
}

// What runs and is verified is not undone because it cannot be recorded: the request
// says that the disk is full, and goes on by itself when there is room.
func TestFullDiskIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.steps.on("a", v1alpha1.StepVerify, meetsFullDisk)
	w.request("a")
	w.stalledByDisk("a")
	ur := w.awaitEnd("a", v1alpha1.PhaseSucceeded, v1alpha1.ReasonSucceeded)
	if c := conditionOf(ur, v1alpha1.ConditionStalled); c.Type != "" {
		t.Errorf("there is room again, and it still says %+v", c)
	}
	if n := w.steps.count("a", v1alpha1.StepVerify); n != 2 {
		t.Errorf("the step ran %d times, want twice", n)
	}
	if n := w.steps.count("a", v1alpha1.StepRollback); n != 0 {
		t.Errorf("the rollback ran %d times", n)
	}

	// A person need not wait: a request that is cancelled goes back.
	w.steps.on("b", v1alpha1.StepVerify, meetsFullDisk, meetsFullDisk, meetsFullDisk)
	w.request("b")
	w.stalledByDisk("b")
	w.patchRequest("b", `{"spec":{"cancel":true}}`)
	w.awaitEnd("b", v1alpha1.PhaseCancelled, v1alpha1.ReasonCancelled)
	if n := w.steps.count("b", v1alpha1.StepRollback); n != 1 {
		t.Errorf("the rollback ran %d times, want once", n)
	}
}
