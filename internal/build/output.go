// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

const (
	// tailLines is how many of the last lines an Error keeps.
	tailLines = 20
	// maxLine is the length in bytes at which a line without an end is cut.
	maxLine = 64 << 10
)

// output writes whole, plain, redacted lines to a log. A log that cannot be
// written to does not stop a build.
type output struct {
	mu     sync.Mutex
	w      io.Writer
	redact *redactor
}

func newOutput(w io.Writer, r *redactor) *output {
	if w == nil {
		w = io.Discard
	}
	return &output{w: w, redact: r}
}

// line writes one line and returns it as written, without its end.
func (o *output) line(prefix, text string) string {
	text = o.redact.text(plain(text))
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.WriteString(o.w, prefix+text+"\n")
	return text
}

// assembler makes lines of chunks.
type assembler struct {
	buf    []byte
	redact *redactor
	emit   func(line string)
}

func (a *assembler) write(data []byte) {
	for len(data) > 0 {
		chunk := data
		if room := maxLine - len(a.buf); room > 0 && len(chunk) > room {
			chunk = chunk[:room]
		}
		data = data[len(chunk):]
		a.buf = append(a.buf, chunk...)
		for {
			i := bytes.IndexByte(a.buf, '\n')
			if i < 0 {
				break
			}
			a.emit(string(a.buf[:i]))
			a.buf = a.buf[i+1:]
		}
		if len(a.buf) >= maxLine {
			a.cut()
		}
	}
}

// cut emits the beginning of an endless line. What could be the beginning of a
// secret stays in the buffer until the rest of it is there.
func (a *assembler) cut() {
	text := a.redact.text(string(a.buf))
	keep := 0
	if a.redact != nil && a.redact.longest > 0 {
		keep = min(a.redact.longest-1, len(text))
	}
	if head := text[:len(text)-keep]; head != "" {
		a.emit(head)
	}
	a.buf = []byte(text[len(text)-keep:])
}

func (a *assembler) flush() {
	if len(a.buf) > 0 {
		a.emit(string(a.buf))
		a.buf = nil
	}
}

// tail keeps the last lines.
type tail struct{ lines []string }

func (t *tail) add(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > tailLines {
		t.lines = t.lines[len(t.lines)-tailLines:]
	}
}

// prefixed returns a writer that puts prefix before each line and writes whole
// lines to w under mu, so that several of them can share one log.
func prefixed(w io.Writer, mu *sync.Mutex, prefix string) *prefixWriter {
	p := &prefixWriter{}
	p.lines.emit = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, prefix+line+"\n")
	}
	return p
}

type prefixWriter struct{ lines assembler }

func (p *prefixWriter) Write(data []byte) (int, error) {
	p.lines.write(data)
	return len(data), nil
}
