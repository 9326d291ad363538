// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/controllers"
	"github.com/fairlead-dev/fairlead/internal/steps"
)

type sleeper struct {
	controllers.StepRunner
	d time.Duration
}

func (s sleeper) Run(context.Context, steps.Work, steps.Recorder) error {
	<-time.After(s.d)
	return nil
}

func TestPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set []int
		percent := 50
		p := &paced{StepRunner: sleeper{d: time.Second}, collect: func(n int) int {
			before := percent
			set, percent = append(set, n), n
			return before
		}}
		step := func() {
			if err := p.Run(t.Context(), steps.Work{}, nil); err != nil {
				t.Error(err)
			}
		}
		go step()
		step()
		<-time.After(linger - time.Second)
		step() // follows soon
		if !slices.Equal(set, []int{busyPercent}) {
			t.Errorf("while steps follow each other: %v", set)
		}
		<-time.After(linger + time.Second)
		synctest.Wait()
		if !slices.Equal(set, []int{busyPercent, 50}) {
			t.Errorf("afterwards: %v", set)
		}
		step()
		if percent != busyPercent {
			t.Errorf("in the next update it is %d", percent)
		}
	})
}
