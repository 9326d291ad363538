// SPDX-License-Identifier: Apache-2.0

package updatelog

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Writer returns a writer for the output of a tool: every line of it becomes a
// line of step, after prefix and a colon unless prefix is empty. A line that is
// written over with carriage returns (a progress bar) is logged once, as it was
// last. Lines are cut at MaxLine; blank ones are left out. The writer is safe for
// concurrent use and its Write never fails; Close writes an unfinished line and
// leaves the Log open.
func (l *Log) Writer(step, prefix string) io.WriteCloser {
	if prefix != "" {
		prefix = Clean(prefix, false) + ": "
	}
	return &lineWriter{log: l, step: stepWord(step), prefix: prefix}
}

type lineWriter struct {
	log    *Log
	step   string
	prefix string

	mu       sync.Mutex
	line     []byte
	cut      int  // bytes of the line that were left out
	returned bool // the next byte overwrites the line
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for rest := p; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\r\n")
		if i < 0 {
			w.add(rest)
			break
		}
		w.add(rest[:i])
		if rest[i] == '\n' {
			lines = w.end(lines)
		} else {
			w.returned = true
		}
		rest = rest[i+1:]
	}
	w.log.output(w.step, lines)
	return len(p), nil
}

func (w *lineWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log.output(w.step, w.end(nil))
	return nil
}

func (w *lineWriter) add(p []byte) {
	if len(p) == 0 {
		return
	}
	if w.returned {
		w.line, w.cut, w.returned = w.line[:0], 0, false
	}
	n := min(len(p), MaxLine-len(w.line))
	w.line = append(w.line, p[:n]...)
	w.cut += len(p) - n
}

func (w *lineWriter) end(lines []string) []string {
	text := strings.TrimRight(Clean(string(w.line), true), " \t")
	if w.cut > 0 {
		text += fmt.Sprintf(" … (%d more bytes)", w.cut)
	}
	w.line, w.cut, w.returned = w.line[:0], 0, false
	if text == "" {
		return lines
	}
	return append(lines, w.prefix+text)
}
