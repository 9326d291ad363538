// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"testing"
	"time"
)

// Garbage is collected at the start and when little was computed since the last look, pages are given back each time.
func TestTrimmer(t *testing.T) {
	now := time.Unix(1000, 0)
	var computed time.Duration
	collected, released := 0, 0
	fault := errors.New("no such file")
	trimmer := newTrimmer()
	trimmer.collect = func() { collected++ }
	trimmer.pages = func() error { released++; return fault }
	trimmer.computed = func() time.Duration { return computed }
	trimmer.now = func() time.Time { return now }
	for i, step := range []struct {
		after, uses time.Duration
		last        bool
		collects    bool
	}{
		{0, 300 * time.Millisecond, false, true}, // the start
		{30 * time.Second, 20 * time.Second, false, false},
		{30 * time.Second, 1500 * time.Millisecond, false, false},
		{30 * time.Second, 1499 * time.Millisecond, false, true},
		{30 * time.Second, 0, false, true},
		{time.Second, time.Second, true, true},
	} {
		now, computed = now.Add(step.after), computed+step.uses
		collected = 0
		if err := trimmer.trim(step.last); !errors.Is(err, fault) {
			t.Errorf("%d: %v, want the error of the pages", i, err)
		}
		if (collected == 1) != step.collects {
			t.Errorf("%d: collected %d times", i, collected)
		}
		if released != i+1 {
			t.Errorf("%d: pages were given back %d times", i, released)
		}
	}
}

func TestProcessorTime(t *testing.T) {
	if got := processorTime(); got <= 0 {
		t.Errorf("a process that runs has used %v of the processor", got)
	}
}
