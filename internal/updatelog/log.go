// SPDX-License-Identifier: Apache-2.0

// Package updatelog is the human log of one update: a text file in
// <deployment directory>/.update/logs that people read while an update runs and
// after it.
//
// A line is
//
//	2006-01-02T15:04:05.000Z  [Step] message
//
// with the time in UTC. The file only ever grows; a daemon that was restarted in
// mid-update goes on in the same file. The last line of a log that is complete is
//
//	2006-01-02T15:04:05.000Z  [End] log complete
//
// Nothing that a build or a container prints can look like a line of its own or
// drive a terminal: output is split into lines, and control characters other
// than colours are removed.
package updatelog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

const (
	// TimeLayout is the layout of the time at the start of a line; always UTC.
	TimeLayout = "2006-01-02T15:04:05.000Z"

	// MaxLine is the length in bytes at which a line of output is cut.
	MaxLine = 4096

	// MaxOutput is the size in bytes of the file from which output given to a
	// Writer is left out, so that a build gone wild cannot fill the disk. What is
	// logged with Printf and Summary is always written.
	MaxOutput = 64 << 20

	subdirectory = ".update/logs"
	filePrefix   = "update_"
	fileSuffix   = ".log"
	idLayout     = "20060102_150405"

	endStep    = "End"
	endMessage = "log complete"
	// markerLength is more than the length of a marker line.
	markerLength = 128
)

// Dir is the directory of the logs of the application in deployment.
func Dir(deployment string) string {
	return filepath.Join(deployment, filepath.FromSlash(subdirectory))
}

// Path is the log file of the run with the given ID (YYYYMMDD_HHMMSS in UTC) of the
// application in deployment.
func Path(deployment, id string) string {
	return filepath.Join(Dir(deployment), filePrefix+id+fileSuffix)
}

// IsName reports whether base is the file name of an update's log.
func IsName(base string) bool {
	id, found := strings.CutPrefix(base, filePrefix)
	if !found {
		return false
	}
	id, found = strings.CutSuffix(id, fileSuffix)
	if !found {
		return false
	}
	_, err := time.Parse(idLayout, id)
	return err == nil
}

// Log writes one log file. It is safe for concurrent use. A Log never makes the
// work that it reports on fail: the first error (a full disk, say) is kept and
// returned by Close.
type Log struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	f       *os.File
	size    int64
	torn    bool // the file does not end with a newline
	dirty   bool // written to since it was last made durable
	limited bool // the note about MaxOutput was written
	err     error
	copy    io.Writer // nil: none
}

// Option changes how a Log is written.
type Option func(*Log)

// WithClock takes the time of lines from now instead of time.Now.
func WithClock(now func() time.Time) Option { return func(l *Log) { l.now = now } }

// WithCopy writes every line to w as well, as to the terminal of somebody who
// watches. Errors of w are not told.
func WithCopy(w io.Writer) Option { return func(l *Log) { l.copy = w } }

// Open opens the log at path for appending and makes it (mode 0600), its directory
// and the one above that (mode 0700) if they do not exist. The deployment directory
// itself is not made: the error is fs.ErrNotExist without it. A line that an earlier
// daemon left half written is ended, and the log goes on after it. A path that is a
// symbolic link or no regular file is refused.
func Open(path string, opts ...Option) (*Log, error) {
	dir := filepath.Dir(path)
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the directory of the update's log: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the update's log: %w", err)
	}
	l := &Log{path: path, now: time.Now, f: f}
	for _, o := range opts {
		o(l)
	}
	if err := l.inspect(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the update's log %s: %w", path, err), f.Close())
	}
	if l.size == 0 {
		// The name of a new file survives a power cut only with its directory.
		if err := atomicfile.SyncDir(dir); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return l, nil
}

// Lost is a Log that writes nothing and whose Close returns err: for work that
// must go on although its log cannot be opened.
func Lost(path string, err error) *Log { return &Log{path: path, now: time.Now, err: err} }

func (l *Log) inspect() error {
	info, err := l.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	l.size = info.Size()
	l.dirty = l.size > 0 // nobody knows what an earlier daemon left
	if l.size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := l.f.ReadAt(last, l.size-1); err != nil {
		return err
	}
	l.torn = last[0] != '\n'
	return nil
}

// Path of the file.
func (l *Log) Path() string { return l.path }

// Printf writes a message of step. A message of several lines becomes several
// lines of the log.
func (l *Log) Printf(step, format string, args ...any) {
	var lines []string
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		lines = append(lines, Clean(strings.TrimRight(line, "\r\n"), true))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(stepWord(step), lines)
}

// Err is the first error that writing met.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Sync makes durable what was written so far, and returns the first error that
// was met. Without it, or a Summary, the last seconds may be lost by a power cut,
// though not by the end of this process.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.sync()
	}
	return l.err
}

// Close closes the log, and returns the first error that was met. A second Close
// does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return l.err
	}
	l.keep(l.f.Close())
	l.f = nil
	return l.err
}

// output writes lines of a Writer, within MaxOutput.
func (l *Log) output(step string, lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size < MaxOutput {
		l.write(step, lines)
		return
	}
	if !l.limited {
		l.limited = true
		l.write(step, []string{fmt.Sprintf("the log has reached %d MiB: further output is left out", MaxOutput>>20)})
	}
}

// write appends lines in one piece. The caller holds mu; lines are clean.
func (l *Log) write(step string, lines []string) {
	if len(lines) == 0 {
		return
	}
	var b bytes.Buffer
	stamp := l.now().UTC().Format(TimeLayout)
	for _, line := range lines {
		fmt.Fprintf(&b, "%s  [%s] %s\n", stamp, step, line)
	}
	l.append(b.Bytes())
	if l.copy != nil {
		_, _ = l.copy.Write(b.Bytes())
	}
}

func (l *Log) append(data []byte) {
	if l.f == nil {
		l.keep(fmt.Errorf("write to the update's log: %w", os.ErrClosed))
		return
	}
	if l.torn {
		data = append([]byte{'\n'}, data...)
	}
	n, err := l.f.Write(data)
	l.dirty = true
	l.size += int64(n)
	if n > 0 {
		l.torn = data[n-1] != '\n'
	}
	l.keep(err)
}

// sync makes durable what was written.
func (l *Log) sync() {
	if l.dirty {
		l.keep(l.f.Sync())
		l.dirty = false
	}
}

func (l *Log) keep(err error) {
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("the update's log is not whole: %w", err)
	}
}

// stepWord keeps step to one word that cannot be taken for the marker's.
func stepWord(step string) string {
	word := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, step)
	switch word {
	case "":
		return "Update"
	case endStep:
		return strings.ToLower(endStep)
	}
	return word
}

// Line is a parsed line of a log.
type Line struct {
	// Time of the line; zero if the text is no whole line of a log.
	Time time.Time
	// Step that wrote it.
	Step string
	// Message without its end of line.
	Message string
}

// ParseLine takes a line of a log apart. A text that is no such line comes back
// as Message alone.
func ParseLine(text string) Line {
	text = strings.TrimRight(text, "\r\n")
	stamp, rest, ok := strings.Cut(text, "  [")
	if !ok {
		return Line{Message: text}
	}
	at, err := time.Parse(TimeLayout, stamp)
	if err != nil {
		return Line{Message: text}
	}
	step, message, ok := strings.Cut(rest, "]")
	if !ok {
		return Line{Message: text}
	}
	return Line{Time: at, Step: step, Message: strings.TrimPrefix(message, " ")}
}

// IsEnd reports whether the line is the marker of a complete log.
func (l Line) IsEnd() bool {
	return !l.Time.IsZero() && l.Step == endStep && l.Message == endMessage
}

// IsSummary reports whether the line belongs to a Summary.
func (l Line) IsSummary() bool { return !l.Time.IsZero() && l.Step == summaryStep }

// complete reports whether the last line of the file of the given size is the
// marker.
func complete(f io.ReaderAt, size int64) (bool, error) {
	start := max(0, size-markerLength)
	tail := make([]byte, size-start)
	if _, err := f.ReadAt(tail, start); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	text, found := bytes.CutSuffix(tail, []byte{'\n'})
	if !found {
		return false, nil
	}
	return ParseLine(string(text[bytes.LastIndexByte(text, '\n')+1:])).IsEnd(), nil
}
