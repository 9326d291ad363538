// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

const (
	// logTailBytes bounds what LogTail keeps of a container's output.
	logTailBytes = 128 << 10
	// logLineRunes bounds one line of it.
	logLineRunes = 2000
)

// LogTail returns the last lines of the container's output, both streams,
// oldest first: at most lines of them and 128 KiB in all, each cut at 2000
// characters. They are valid UTF-8 without control characters or terminal
// colours, fit for a status field. They may hold whatever the application
// prints.
func (c *Client) LogTail(ctx context.Context, id string, lines int) ([]string, error) {
	if lines <= 0 {
		return nil, nil
	}
	ct, err := c.InspectContainer(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := c.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines)})
	if err != nil {
		return nil, fmt.Errorf("read the log of container %s: %w", ct.Name, err)
	}
	tail := &tailWriter{limit: logTailBytes}
	if ct.Tty {
		_, err = io.Copy(tail, r)
	} else {
		_, err = stdcopy.StdCopy(tail, tail, r)
	}
	closeErr := r.Close()
	if err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("read the log of container %s: %w", ct.Name, err)
	}
	return cleanLines(tail.String(), lines), nil
}

// tailWriter keeps the last bytes.
type tailWriter struct {
	buf   []byte
	limit int
	cut   bool
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	// Cutting at twice the limit keeps the copying linear.
	if len(w.buf) > 2*w.limit {
		w.buf = append(w.buf[:0], w.buf[len(w.buf)-w.limit:]...)
		w.cut = true
	}
	return len(p), nil
}

// String returns the last bytes, from the beginning of a line if some before
// them are lost.
func (w *tailWriter) String() string {
	s := string(w.buf)
	if len(s) > w.limit {
		s = s[len(s)-w.limit:]
	} else if !w.cut {
		return s
	}
	if _, rest, ok := strings.Cut(s, "\n"); ok && rest != "" {
		return rest
	}
	return s
}

var terminalSequence = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])`)

// cleanLines makes lines of printable text, at most limit, the last ones.
func cleanLines(s string, limit int) []string {
	s = terminalSequence.ReplaceAllString(strings.ToValidUTF8(s, "\uFFFD"), "")
	raw := strings.Split(strings.TrimRight(s, "\r\n"), "\n")
	if len(raw) > limit {
		raw = raw[len(raw)-limit:]
	}
	out := make([]string, 0, len(raw))
	for _, line := range raw {
		line = strings.TrimRight(line, "\r")
		// A progress bar rewrites its line: what counts is its last state.
		if i := strings.LastIndexByte(line, '\r'); i >= 0 {
			line = line[i+1:]
		}
		line = strings.Map(func(r rune) rune {
			if r != '\t' && unicode.IsControl(r) {
				return -1
			}
			return r
		}, line)
		if runes := []rune(line); len(runes) > logLineRunes {
			line = string(runes[:logLineRunes]) + "…"
		}
		out = append(out, line)
	}
	if len(out) == 1 && out[0] == "" {
		return nil
	}
	return out
}
