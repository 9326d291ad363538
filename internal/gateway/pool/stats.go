// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// Stats counts what goes through a pool.
type Stats struct {
	requests, errors, retried, heldTotal, holdRefused, open atomic.Int64
	latency                                                 Histogram
}

// Request counts a request, a connection or a session.
func (s *Stats) Request() { s.requests.Add(1) }

// Error counts one that the gateway had to fail.
func (s *Stats) Error() { s.errors.Add(1) }

// Retried counts a request that was sent again.
func (s *Stats) Retried() { s.retried.Add(1) }

// Connected and Disconnected count clients.
func (s *Stats) Connected() { s.open.Add(1) }

// Disconnected is the end of Connected.
func (s *Stats) Disconnected() { s.open.Add(-1) }

// Took counts how long a request took.
func (s *Stats) Took(d time.Duration) { s.latency.Add(d) }

// Latency is the distribution of how long requests took.
func (s *Stats) Latency() *Histogram { return &s.latency }

func (s *Stats) status() gatewayapi.ServiceStatus {
	count := s.latency.Count()
	return gatewayapi.ServiceStatus{
		Requests: s.requests.Load(), Errors: s.errors.Load(), Retried: s.retried.Load(),
		HeldTotal: s.heldTotal.Load(), HoldRefused: s.holdRefused.Load(), OpenConnections: s.open.Load(),
		Latency: gatewayapi.Latency{
			Count: count, SumSeconds: s.latency.Sum().Seconds(),
			P50Seconds: s.latency.Quantile(0.5).Seconds(), P99Seconds: s.latency.Quantile(0.99).Seconds(),
		},
	}
}

// Four buckets to each power of two of microseconds, up to a day.
const (
	octaves     = 37
	subBuckets  = 4
	subBits     = 2
	bucketCount = octaves * subBuckets
)

// Histogram counts durations so that each is known within 25 %.
type Histogram struct {
	sum     atomic.Int64 // nanoseconds
	buckets [bucketCount]atomic.Int64
}

// Add counts d.
func (h *Histogram) Add(d time.Duration) {
	h.sum.Add(int64(d))
	h.buckets[bucket(d)].Add(1)
}

// bucket is the number of the bucket of d: the position of the first bit that
// is set, and the two bits behind it.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < subBuckets {
		return int(us)
	}
	octave := bits.Len64(us) - 1
	return min((octave-subBits+1)*subBuckets+int(us>>(octave-subBits))&(subBuckets-1), bucketCount-1)
}

// bound is what is less than the durations of the next bucket.
func bound(i int) time.Duration {
	i++
	if i < subBuckets {
		return time.Duration(i) * time.Microsecond
	}
	octave := i/subBuckets + subBits - 1
	return time.Duration(uint64(subBuckets+i%subBuckets)<<(octave-subBits)) * time.Microsecond
}

// Count is how many were counted.
func (h *Histogram) Count() (n int64) {
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

// Sum is all of them together.
func (h *Histogram) Sum() time.Duration { return time.Duration(h.sum.Load()) }

// Quantile is an upper bound of what the fraction q took at most.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := int64(q * float64(h.Count()))
	if want == 0 {
		want = 1
	}
	var n int64
	for i := range h.buckets {
		if n += h.buckets[i].Load(); n >= want {
			return bound(i)
		}
	}
	return 0
}

// Cumulative gives how many took less than each power of two of microseconds from 2^from to 2^to.
func (h *Histogram) Cumulative(from, to int) map[float64]uint64 {
	all := map[float64]uint64{}
	var n int64
	next := 0
	for octave := from; octave <= to; octave++ {
		limit := time.Duration(1<<octave) * time.Microsecond
		for next < bucketCount && bound(next) <= limit {
			n += h.buckets[next].Load()
			next++
		}
		all[limit.Seconds()] = uint64(n)
	}
	return all
}
