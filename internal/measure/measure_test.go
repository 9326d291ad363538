// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1200: "1.2 KiB", 6711000: "6.4 MiB", 23567878553: "21.9 GiB", 22 << 30: "22.0 GiB",
		252 << 30: "252 GiB", 1<<30 - 1: "1.0 GiB", 100 << 40: "100 TiB", 1 << 60: "1024 PiB", -(3 << 20): "-3.0 MiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 300 * time.Millisecond: "300 ms", time.Second: "1 s", 2500 * time.Millisecond: "2.5 s", 59970 * time.Millisecond: "1 min",
		time.Minute: "1 min", 90 * time.Second: "1 min 30 s", 2 * time.Hour: "2 h", 2*time.Hour + 5*time.Minute: "2 h 5 min", 720 * time.Hour: "720 h",
		time.Hour + time.Second: "1 h 1 s",
	} {
		if got := Time(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
