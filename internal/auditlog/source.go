// SPDX-License-Identifier: Apache-2.0

package auditlog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// chunk is how much of a file is read at once, from its end on.
const chunk = 64 << 10

// source gives the lines of a log, newest first.
type source struct {
	files []string // still to be read
	parse func(line []byte) (Entry, bool)
	file  *backwards
	next  *Entry
}

func newSource(path string, parse func([]byte) (Entry, bool)) *source {
	s := &source{parse: parse}
	if path == "" {
		return s
	}
	// Rotated files have the time in their names: NAME-TIME.EXT.
	ext := filepath.Ext(path)
	rotated, err := filepath.Glob(strings.TrimSuffix(path, ext) + "-[0-9]*" + ext)
	if err != nil {
		rotated = nil // the pattern is ours
	}
	slices.Sort(rotated)
	slices.Reverse(rotated)
	s.files = append([]string{path}, rotated...)
	return s
}

// peek returns the next entry without taking it; nil after the last one.
func (s *source) peek() (*Entry, error) {
	for s.next == nil {
		if s.file == nil {
			if len(s.files) == 0 {
				return nil, nil
			}
			f, err := openBackwards(s.files[0])
			s.files = s.files[1:]
			if errors.Is(err, fs.ErrNotExist) {
				continue // nothing was written yet, or it was rotated away
			}
			if err != nil {
				return nil, err
			}
			s.file = f
		}
		line, err := s.file.line()
		if errors.Is(err, io.EOF) {
			s.close()
			continue
		}
		if err != nil {
			return nil, err
		}
		if e, ok := s.parse(line); ok { // a line that was cut off is none
			s.next = &e
		}
	}
	return s.next, nil
}

func (s *source) take() *Entry {
	e := s.next
	s.next = nil
	return e
}

func (s *source) close() {
	if s.file != nil {
		_ = s.file.f.Close() // opened for reading only
		s.file = nil
	}
}

// backwards reads the lines of a file from its end.
type backwards struct {
	f      *os.File
	offset int64 // of what is in rest
	rest   []byte
}

func openBackwards(path string) (*backwards, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &backwards{f: f, offset: size}, nil
}

// line returns the line before the last one, without its end; io.EOF before the
// first one.
func (b *backwards) line() ([]byte, error) {
	for {
		if i := bytes.LastIndexByte(b.rest, '\n'); i >= 0 {
			line := b.rest[i+1:]
			b.rest = b.rest[:i]
			if len(line) > 0 {
				return line, nil
			}
			continue
		}
		if b.offset == 0 {
			if len(b.rest) == 0 {
				return nil, io.EOF
			}
			line := b.rest
			b.rest = nil
			return line, nil
		}
		n := min(b.offset, chunk)
		more := make([]byte, n, n+int64(len(b.rest)))
		if _, err := b.f.ReadAt(more, b.offset-n); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		b.offset -= n
		b.rest = append(more, b.rest...)
	}
}
