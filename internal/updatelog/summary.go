// SPDX-License-Identifier: Apache-2.0

package updatelog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

const summaryStep = "Summary"

// Summary is the block at the end of a log. Fields that are empty are left out.
type Summary struct {
	// Result in words, such as "Succeeded" or "RolledBack".
	Result string
	// Message says in a sentence how the request ended.
	Message string
	// Version that runs now: commit and release.
	Version string
	// Backup is the path of the backup that was made.
	Backup string
	// Downtime in words, as it was seen from outside.
	Downtime string
	// Duration from the first step to the end; always written.
	Duration time.Duration
}

// Summary ends the log: it writes the summary and the marker that tells readers
// that nothing more will come, and makes the file durable. If the last line is
// the marker already (the daemon was restarted just after it), nothing is
// written. Lines that are written after a Summary need another one.
func (l *Log) Summary(s Summary) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		l.keep(fmt.Errorf("write to the update's log: %w", os.ErrClosed))
		return l.err
	}
	info, err := l.f.Stat()
	if err != nil {
		l.keep(err)
		return l.err
	}
	done, err := complete(l.f, info.Size())
	if err != nil {
		l.keep(err)
		return l.err
	}
	if done {
		return l.err
	}
	var lines []string
	for _, field := range [][2]string{
		{"Result", s.Result}, {"Message", s.Message}, {"New version", s.Version}, {"Backup", s.Backup}, {"Downtime", s.Downtime},
		{"Log file", l.path}, {"Duration", s.Duration.Round(100 * time.Millisecond).String()},
	} {
		if field[1] != "" {
			lines = append(lines, fmt.Sprintf("%-12s %s", field[0]+":", Clean(field[1], true)))
		}
	}
	written, err := l.summaryLines(info.Size())
	if err != nil {
		l.keep(err)
		return l.err
	}
	if len(written) <= len(lines) && slices.Equal(written, lines[:len(written)]) {
		lines = lines[len(written):]
	}
	l.write(summaryStep, lines)
	l.sync()
	// The marker comes last and alone, so that it never stands in a file whose
	// other lines were lost.
	l.write(endStep, []string{endMessage})
	l.sync()
	return l.err
}

// maxSummary is more than the length of a summary in bytes.
const maxSummary = 64 << 10

// summaryLines are the messages of a summary at the end of a file of that size,
// as a daemon leaves them that was killed before it wrote the marker.
func (l *Log) summaryLines(size int64) ([]string, error) {
	tail := make([]byte, min(size, maxSummary))
	if _, err := l.f.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var messages []string
	whole := strings.Split(string(tail), "\n")
	for _, text := range slices.Backward(whole[:len(whole)-1]) { // the last one has no end
		line := ParseLine(text)
		if !line.IsSummary() {
			break
		}
		messages = append(messages, line.Message)
	}
	slices.Reverse(messages)
	return messages, nil
}
