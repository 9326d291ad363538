// SPDX-License-Identifier: Apache-2.0

package http1

// Bounds of what may be around the data of a chunked body.
const (
	maxChunkLine = 256       // the size with its extensions
	maxTrailer   = 16 << 10  // all trailer lines
	maxChunk     = 1<<59 - 1 // the size of one chunk
)

// The errors of ChunkScanner.
var (
	errChunkSize = bad("the size of a chunk is not a number")
	errChunkEnd  = bad("a chunk does not end where its size says")
	errChunkLine = bad("the line of a chunk is not one")
	errTrailer   = bad("a trailer frames or routes the message")
)

type chunkState uint8

const (
	chunkSize    chunkState = iota // in the digits of the size
	chunkExt                       // in the extensions
	chunkLF                        // after the CR of the size
	chunkData                      // in the data
	chunkDataCR                    // before the CR behind the data
	chunkDataLF                    // before the LF behind the data
	trailerStart                   // at the start of a trailer line
	trailerLine                    // in a trailer line
	trailerLF                      // before the LF of the last line
	chunkDone
)

// ChunkScanner follows a chunked body and finds its end. The zero value stands
// at the start of one.
type ChunkScanner struct {
	state   chunkState
	digits  int
	line    int   // length of the current line of a size, or of all trailers
	left    int64 // of the data of the current chunk
	trailer []byte
}

// Reset puts s at the start of another body.
func (s *ChunkScanner) Reset() { *s = ChunkScanner{trailer: s.trailer[:0]} }

// Done says that the body has ended.
func (s *ChunkScanner) Done() bool { return s.state == chunkDone }

// Data is how many bytes of the current chunk's data are still to come: they can
// be passed on without being scanned, if Skip is told.
func (s *ChunkScanner) Data() int64 {
	if s.state != chunkData {
		return 0
	}
	return s.left
}

// Skip says that n bytes of data, at most Data, have been passed on.
func (s *ChunkScanner) Skip(n int64) {
	s.left -= n
	if s.left == 0 {
		s.state = chunkDataCR
	}
}

// Scan looks at the next bytes of a body and returns how many of them are part of
// it: all, unless the body ends in them. An error is an *Error.
func (s *ChunkScanner) Scan(data []byte) (int, error) {
	for i := 0; i < len(data); {
		b := data[i]
		switch s.state {
		case chunkData:
			n := min(s.left, int64(len(data)-i))
			i += int(n)
			s.Skip(n)
			continue
		case chunkDone:
			return i, nil
		case chunkSize:
			if digit := unhex(b); digit >= 0 {
				s.left = s.left<<4 | int64(digit)
				if s.digits++; s.digits > 16 || s.left > maxChunk {
					return i, errChunkSize
				}
				break
			}
			if s.digits == 0 {
				return i, errChunkSize
			}
			switch b {
			case '\r':
				s.state = chunkLF
			case ';', ' ', '\t':
				s.state = chunkExt
			default:
				return i, errChunkSize
			}
		case chunkExt:
			if b == '\r' {
				s.state = chunkLF
			} else if isForbidden[b] || b >= 0x80 {
				return i, errChunkLine
			}
		case chunkLF:
			if b != '\n' {
				return i, errChunkLine
			}
			s.state, s.line = chunkData, 0
			if s.left == 0 {
				s.state = trailerStart
			}
			s.digits = 0
			i++
			continue
		case chunkDataCR:
			if b != '\r' {
				return i, errChunkEnd
			}
			s.state = chunkDataLF
		case chunkDataLF:
			if b != '\n' {
				return i, errChunkEnd
			}
			s.state = chunkSize
			i++
			continue
		case trailerStart:
			if b == '\r' {
				s.state = trailerLF
				break
			}
			s.state = trailerLine
			s.trailer = append(s.trailer[:0], b)
		case trailerLine:
			s.trailer = append(s.trailer, b)
			if b == '\n' {
				if err := checkTrailer(s.trailer); err != nil {
					return i, err
				}
				s.state = trailerStart
			}
		case trailerLF:
			if b != '\n' {
				return i, errChunkLine
			}
			s.state = chunkDone
			return i + 1, nil
		}
		i++
		s.line++
		if s.line > maxTrailer || s.state < chunkData && s.line > maxChunkLine {
			return i, errChunkLine
		}
	}
	return len(data), nil
}

// checkTrailer checks one line: what decides where a message goes, or where it
// ends, must not come after it.
func checkTrailer(line []byte) error {
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return errBareLF
	}
	f, err := parseField(line)
	if err != nil {
		return err
	}
	if f.Known != Other {
		return errTrailer
	}
	return nil
}

func unhex(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
