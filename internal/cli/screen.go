// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/cli/render"
)

// view shows the progress of a request.
type view interface {
	request(*v1alpha1.UpdateRequest)
	log(line string)
	lost(err error) // nil: the connection is back
	tick()
	close()
}

// plainView writes a line for everything that happens.
type plainView struct {
	out    io.Writer
	style  render.Style
	now    func() time.Time
	before *v1alpha1.UpdateRequest
	isLost bool
}

func (v *plainView) request(ur *v1alpha1.UpdateRequest) {
	for _, line := range v.style.Changes(v.before, ur, v.now()) {
		fmt.Fprintln(v.out, line)
	}
	v.before = ur
}

func (v *plainView) log(line string) {
	if text := v.style.PlainLog(line, v.now()); text != "" {
		fmt.Fprintln(v.out, text)
	}
}

func (v *plainView) lost(err error) {
	switch {
	case err != nil && !v.isLost:
		fmt.Fprintln(v.out, v.style.Plain(v.now(), "Connection", "lost, trying again: "+shortNetError(err).Error()))
	case err == nil && v.isLost:
		fmt.Fprintln(v.out, v.style.Plain(v.now(), "Connection", "is back"))
	}
	v.isLost = err != nil
}

func (*plainView) tick()  {}
func (*plainView) close() {}

const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"

	keptLogLines = 16
)

// liveView redraws a block of lines on a terminal.
type liveView struct {
	out   io.Writer
	style func() render.Style // asked at every frame, as terminals change their size
	state render.Live
	now   func() time.Time
	drawn []string
}

func (v *liveView) request(ur *v1alpha1.UpdateRequest) {
	v.state.Request = ur
	v.draw()
}

// log keeps the line for the next frame: builds can print faster than anybody
// reads.
func (v *liveView) log(line string) {
	v.state.Log = append(v.state.Log, line)
	if n := len(v.state.Log); n > keptLogLines {
		v.state.Log = slices.Clone(v.state.Log[n-keptLogLines:])
	}
}

func (v *liveView) lost(err error) {
	v.state.Lost = ""
	if err != nil {
		v.state.Lost = shortNetError(err).Error()
	}
	v.draw()
}

func (v *liveView) tick() {
	v.state.Frame++
	v.draw()
}

// close leaves the last frame on the screen, without the log, and gives the cursor
// back.
func (v *liveView) close() {
	v.state.Log = nil
	v.draw()
	fmt.Fprint(v.out, showCursor)
}

func (v *liveView) draw() {
	if v.state.Request == nil {
		return
	}
	v.state.Now = v.now()
	style := v.style()
	if style.Height > 1 {
		style.Height-- // the cursor stands on the line below
	}
	lines := style.Live(v.state)
	if slices.Equal(lines, v.drawn) {
		return
	}
	var b strings.Builder
	b.WriteString(hideCursor)
	if len(v.drawn) > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", len(v.drawn))
	}
	b.WriteByte('\r')
	for _, line := range lines {
		b.WriteString(line + clearLine + "\n")
	}
	b.WriteString(clearBelow)
	v.drawn = lines
	fmt.Fprint(v.out, b.String())
}
