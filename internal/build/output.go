// SPDX-License-Identifier: Apache-2.0

package build

import (
	"io"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

// tailLines is how many of the last lines an Error keeps.
const tailLines = 20

// output writes whole, plain, redacted lines to a log. A log that cannot be
// written to does not stop a build.
type output struct {
	mu     sync.Mutex
	w      io.Writer
	redact *redact.Redactor
}

func newOutput(w io.Writer, r *redact.Redactor) *output {
	if w == nil {
		w = io.Discard
	}
	return &output{w: w, redact: r}
}

// line writes one line and returns it as written, without its end.
func (o *output) line(prefix, text string) string {
	text = o.redact.Text(plain(text))
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.WriteString(o.w, prefix+text+"\n")
	return text
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
	p.lines.Emit = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, prefix+line+"\n")
	}
	return p
}

type prefixWriter struct{ lines redact.Lines }

func (p *prefixWriter) Write(data []byte) (int, error) {
	return p.lines.Write(data)
}
