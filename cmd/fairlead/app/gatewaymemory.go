// SPDX-License-Identifier: Apache-2.0

package app

import (
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/filepages"
)

// quietShare is the part of one processor that a gateway uses at most while it counts as quiet.
const quietShare = 0.05

// trimmer gives memory back that a gateway does not need: that of its start, and of traffic that is over. The
// collector would leave the latter for as long as little happens, and while much happens it is not to be
// hurried.
type trimmer struct {
	collect  func()               // collects garbage and gives its memory to the kernel
	pages    func() error         // gives pages of files back
	computed func() time.Duration // processor time of this process
	now      func() time.Time

	at   time.Time // of the last trim
	then time.Duration
}

func newTrimmer() *trimmer {
	return &trimmer{collect: debug.FreeOSMemory, pages: filepages.Release, computed: processorTime, now: time.Now}
}

// trim is called when everything is served, and then now and again, until the last time.
func (t *trimmer) trim(last bool) error {
	now, computed := t.now(), t.computed()
	if last || t.at.IsZero() || (computed-t.then).Seconds() < quietShare*now.Sub(t.at).Seconds() {
		t.collect()
	}
	t.at, t.then = now, computed
	// All but a few pages of this program are of no use to a gateway.
	return t.pages()
}

// processorTime is what this process has used, of all processors; 0 if the kernel does not say.
func processorTime() time.Duration {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
