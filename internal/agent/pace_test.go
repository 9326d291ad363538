// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"slices"
	"sync"
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
		var mu sync.Mutex
		var set []int
		percent := 50
		seen := func() []int {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(set)
		}
		p := &paced{StepRunner: sleeper{d: time.Second}, collect: func(n int) int {
			mu.Lock()
			defer mu.Unlock()
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
		synctest.Wait()
		if got := seen(); !slices.Equal(got, []int{busyPercent}) {
			t.Errorf("while steps follow each other: %v", got)
		}
		<-time.After(linger + time.Second)
		synctest.Wait()
		if got := seen(); !slices.Equal(got, []int{busyPercent, 50}) {
			t.Errorf("afterwards: %v", got)
		}
		step()
		synctest.Wait()
		if got := seen(); !slices.Equal(got, []int{busyPercent, 50, busyPercent}) {
			t.Errorf("in the next update: %v", got)
		}
	})
}
