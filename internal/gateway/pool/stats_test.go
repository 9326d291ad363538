// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramIsRightWithinAQuarter(t *testing.T) {
	var h Histogram
	random := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	var sum time.Duration
	for range 10_000 {
		d := time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
		all = append(all, d)
		sum += d
		h.Add(d)
	}
	slices.Sort(all)
	if h.Count() != int64(len(all)) || h.Sum() != sum {
		t.Errorf("%d, %s", h.Count(), h.Sum())
	}
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
		exact, got := all[int(q*float64(len(all)))-1], h.Quantile(q)
		if got < exact || got > exact+exact/4+2*time.Microsecond {
			t.Errorf("quantile %v is %s, said to be %s", q, exact, got)
		}
	}
	for le, n := range h.Cumulative(7, 26) {
		limit := time.Duration(le * float64(time.Second))
		var want uint64
		for _, d := range all {
			if d < limit {
				want++
			}
		}
		if n != want {
			t.Errorf("%d took less than %s, said to be %d", want, limit, n)
		}
	}
}

func TestHistogramTakesWhatever(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{-time.Second, 0, time.Nanosecond, time.Microsecond, 1000 * time.Hour} {
		h.Add(d)
	}
	if h.Count() != 5 {
		t.Errorf("counted %d", h.Count())
	}
}

func TestBucketsFollowEachOther(t *testing.T) {
	for i := range bucketCount - 1 {
		if end := bound(i); bucket(end) != i+1 || bucket(end-time.Nanosecond) != i {
			t.Fatalf("%s is in bucket %d, just less in %d, want %d and %d", end, bucket(end), bucket(end-time.Nanosecond), i+1, i)
		}
	}
}
