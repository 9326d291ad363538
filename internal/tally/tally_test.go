// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // it is told from timers too
		var told []string
		y := New(func(what, more int) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%d+%d", what, more))
		})
		want := func(lines ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, lines) {
				t.Errorf("told %q, want %q", told, lines)
			}
			told = nil
		}
		add := func(client string, from, to int) {
			for i := from; i <= to; i++ {
				y.Add(client, i)
			}
		}
		add("a", 1, 10)
		want("1+0", "2+0", "3+0", "4+0", "5+0", "6+0", "7+0", "8+0", "9+0", "10+0")
		add("a", 11, 500)
		want()
		y.Add("b", 1) // is not made to wait by another
		want("1+0")
		time.Sleep(window) //nolint:forbidigo // the time of the test's bubble
		want("500+489")
		add("a", 501, 502)
		want()             // it goes on: no new burst
		time.Sleep(window) //nolint:forbidigo // the time of the test's bubble
		want("502+1")
		time.Sleep(window + time.Second) //nolint:forbidigo // a window without any, of the test's bubble
		y.Add("a", 503)
		want("503+0")
		add("a", 504, 515)
		told = nil
		y.Close()
		want("515+2")
		y.Add("a", 516)
		want("516+0")
	})
}

func TestTallyOfManyClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		y := New(func(int, int) { told++ })
		for i := range 100 * clients {
			y.Add(fmt.Sprint(i), i)
		}
		if most := clients + Burst; told > most {
			t.Errorf("%d lines, at most %d are due", told, most)
		}
		if len(y.open) > clients+1 {
			t.Errorf("%d clients are remembered", len(y.open))
		}
		y.Close()
	})
}
