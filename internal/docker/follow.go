// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// logLineLimit is the length in bytes at which a line of a log is cut.
const logLineLimit = 16 << 10

// LogOptions say which lines of a container are wanted.
type LogOptions struct {
	// Tail is how many of the last lines; negative for all.
	Tail int
	// Since leaves out what is older; zero for nothing.
	Since time.Time
	// Follow waits for more, until the container ends.
	Follow bool
}

// LogLine is one line of a container's output.
type LogLine struct {
	Time time.Time
	// Stderr says which of the two streams; a terminal has but one.
	Stderr bool
	Text   string
}

// Logs sends the lines of a container to send, those that came at once together,
// until there are no more, send fails, or ctx ends. send must not keep what it gets.
func (c *Client) Logs(ctx context.Context, ct Container, o LogOptions, send func([]LogLine) error) error {
	opts := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: o.Follow}
	if o.Tail >= 0 {
		opts.Tail = strconv.Itoa(o.Tail)
	}
	if !o.Since.IsZero() {
		opts.Since = fmt.Sprintf("%d.%09d", o.Since.Unix(), o.Since.Nanosecond())
	}
	r, err := c.ContainerLogs(ctx, ct.ID, opts)
	if err != nil {
		return fmt.Errorf("read the log of container %s: %w", ct.Name, err)
	}
	out, errs := &lineWriter{send: send}, &lineWriter{send: send, stderr: true}
	if ct.Tty {
		_, err = io.Copy(out, r)
	} else {
		_, err = stdcopy.StdCopy(out, errs, r)
	}
	if err == nil {
		err = errors.Join(out.end(), errs.end())
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return errors.Join(err, r.Close())
}

// lineWriter makes lines of one stream.
type lineWriter struct {
	send    func([]LogLine) error
	stderr  bool
	partial []byte
	lines   []LogLine
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	w.lines = w.lines[:0]
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			w.add(p)
			break
		}
		w.add(p[:i])
		w.line()
		p = p[i+1:]
	}
	return n, w.flush()
}

// add appends to the line that is begun, as far as it may be long.
func (w *lineWriter) add(p []byte) {
	if room := logLineLimit + 64 - len(w.partial); room > 0 {
		w.partial = append(w.partial, p[:min(len(p), room)]...)
	}
}

func (w *lineWriter) line() {
	stamp, text, _ := bytes.Cut(w.partial, []byte{' '})
	l := LogLine{Stderr: w.stderr, Text: string(bytes.ToValidUTF8(bytes.TrimSuffix(text, []byte{'\r'}), []byte("\uFFFD")))}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil { // no time: all of it is text
		l.Text = string(bytes.ToValidUTF8(w.partial, []byte("\uFFFD")))
	}
	l.Time = at
	if len(l.Text) > logLineLimit {
		l.Text = string(bytes.ToValidUTF8([]byte(l.Text[:logLineLimit]), nil)) + "…"
	}
	w.lines, w.partial = append(w.lines, l), w.partial[:0]
}

func (w *lineWriter) flush() error {
	if len(w.lines) == 0 {
		return nil
	}
	return w.send(w.lines)
}

// end sends a line that has no end.
func (w *lineWriter) end() error {
	if len(w.partial) == 0 {
		return nil
	}
	w.lines = w.lines[:0]
	w.line()
	return w.flush()
}
