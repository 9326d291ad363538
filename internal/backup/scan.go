// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

const tarBlock = 512

// scanTar reads an archive to its end and counts its entries. An archive that
// was cut off is an error, also where the cut lies between two entries: tar.Reader
// alone takes that for the end.
func scanTar(r io.Reader) (entries int64, err error) {
	counted := &countingReader{r: r}
	tr := tar.NewReader(counted)
	var end int64
	for {
		_, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return entries, fmt.Errorf("after %d entries: %w", entries, err)
		}
		entries++
		if _, err := io.Copy(io.Discard, tr); err != nil {
			return entries, fmt.Errorf("in entry %d: %w", entries, err)
		}
		end = (counted.n + tarBlock - 1) / tarBlock * tarBlock
	}
	if counted.n < end+2*tarBlock {
		return entries, fmt.Errorf("after %d entries: the end of the archive is missing: %w", entries, io.ErrUnexpectedEOF)
	}
	if entries == 0 {
		return 0, errors.New("the archive is empty")
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return entries, err
	}
	return entries, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

const (
	dumpComplete = "-- PostgreSQL database cluster dump complete"
	dumpTail     = 1024
	connectLine  = `\connect `
	maxLine      = 4096
)

// dumpScanner looks at a dump of pg_dumpall as it passes: which databases it
// connects to, and whether it came to its end.
type dumpScanner struct {
	databases map[string]bool
	line      []byte // begin of the current line, as far as it matters
	tail      []byte
}

func newDumpScanner() *dumpScanner { return &dumpScanner{databases: map[string]bool{}} }

// Write never fails.
func (s *dumpScanner) Write(p []byte) (int, error) {
	s.tail = append(s.tail, p[max(0, len(p)-dumpTail):]...)
	s.tail = s.tail[max(0, len(s.tail)-dumpTail):]
	for rest := p; len(rest) > 0; {
		line, after, newline := bytes.Cut(rest, []byte{'\n'})
		if len(s.line) < maxLine && (len(s.line) > 0 || len(line) > 0) {
			s.line = append(s.line, line[:min(len(line), maxLine-len(s.line))]...)
		}
		if newline {
			s.endOfLine()
		}
		rest = after
	}
	return len(p), nil
}

func (s *dumpScanner) endOfLine() {
	if arg, ok := bytes.CutPrefix(s.line, []byte(connectLine)); ok {
		if name, ok := connectTarget(string(arg)); ok {
			s.databases[name] = true
		}
	}
	s.line = s.line[:0]
}

// check returns an error unless the dump is whole and holds the databases.
func (s *dumpScanner) check(databases []string) error {
	if !bytes.Contains(s.tail, []byte(dumpComplete)) {
		return errors.New("the dump is cut off: its last line is missing")
	}
	for _, db := range databases {
		if !s.databases[db] {
			return fmt.Errorf("the database %q is missing in the dump", db)
		}
	}
	if len(databases) == 0 {
		return errors.New("no databases are known to be in the dump")
	}
	return nil
}

// connectTarget reads the argument of psql's \connect as pg_dumpall writes it:
// NAME, or, for names with unusual characters,
// -reuse-previous=on "dbname='NAME'".
func connectTarget(arg string) (string, bool) {
	arg = strings.TrimSpace(arg)
	quoted, ok := strings.CutPrefix(arg, "-reuse-previous=on ")
	if !ok {
		return arg, arg != "" && !strings.ContainsAny(arg, " \t\"'")
	}
	if len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
		return "", false
	}
	value, ok := strings.CutPrefix(strings.ReplaceAll(quoted[1:len(quoted)-1], `""`, `"`), "dbname=")
	if !ok {
		return "", false
	}
	if len(value) < 2 || value[0] != '\'' || value[len(value)-1] != '\'' {
		return value, value != ""
	}
	var name strings.Builder
	escaped := false
	for _, c := range value[1 : len(value)-1] {
		if c == '\\' && !escaped {
			escaped = true
			continue
		}
		escaped = false
		name.WriteRune(c)
	}
	return name.String(), true
}
