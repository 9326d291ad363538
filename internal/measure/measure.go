// SPDX-License-Identifier: Apache-2.0

// Package measure writes amounts and lengths of time as people do.
package measure

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes is a number of bytes in the largest unit of which there is one at least, such
// as "6.4 MiB": with one decimal below a hundred.
func Bytes[N ~int64 | ~float64](n N) string {
	v, i := float64(n), 0
	for ; math.Abs(v) >= 1023.95 && i < len(sizes)-1; i++ {
		v /= 1024
	}
	decimals := 0
	if i > 0 && math.Abs(v) < 99.95 {
		decimals = 1
	}
	return strconv.FormatFloat(v, 'f', decimals, 64) + " " + sizes[i]
}

var sizes = [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}

// Time is a length of time, such as "300 ms", "2.5 s", "1 min 30 s" and "2 h": to the
// second from a minute on.
func Time(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute-50*time.Millisecond:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	}
	d = d.Round(time.Second)
	var parts []string
	for _, part := range []struct {
		n    int
		unit string
	}{{int(d.Hours()), "h"}, {int(d.Minutes()) % 60, "min"}, {int(d.Seconds()) % 60, "s"}} {
		if part.n > 0 {
			parts = append(parts, strconv.Itoa(part.n)+" "+part.unit)
		}
	}
	return strings.Join(parts, " ")
}
