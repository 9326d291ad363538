// SPDX-License-Identifier: Apache-2.0

package redact

import "bytes"

// MaxLine is the length in bytes at which a line without an end is cut.
const MaxLine = 64 << 10

// Lines makes lines of what is written to it in chunks. Emit gets each without
// its end, and masks it: a line may have to be made plain before. What is cut of
// an endless line is masked already. It is not safe for concurrent use.
type Lines struct {
	Emit func(line string)
	// Redact knows what must not be cut in two; may be nil.
	Redact *Redactor

	buf []byte
}

// Write never fails.
func (l *Lines) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 {
		chunk := data
		if room := MaxLine - len(l.buf); room > 0 && len(chunk) > room {
			chunk = chunk[:room]
		}
		data = data[len(chunk):]
		l.buf = append(l.buf, chunk...)
		for {
			i := bytes.IndexByte(l.buf, '\n')
			if i < 0 {
				break
			}
			l.Emit(string(l.buf[:i]))
			l.buf = l.buf[i+1:]
		}
		if len(l.buf) >= MaxLine {
			l.cut()
		}
	}
	return n, nil
}

// cut emits the beginning of an endless line. What could be the beginning of a
// secret stays in the buffer until the rest of it is there.
func (l *Lines) cut() {
	text := l.Redact.Text(string(l.buf))
	keep := min(max(0, l.Redact.Longest()-1), len(text))
	if head := text[:len(text)-keep]; head != "" {
		l.Emit(head)
	}
	l.buf = []byte(text[len(text)-keep:])
}

// Flush emits a line that has no end.
func (l *Lines) Flush() {
	if len(l.buf) > 0 {
		l.Emit(string(l.buf))
		l.buf = nil
	}
}
