// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// recorder keeps the beginning of a body, so that it can be sent again. What reads for an attempt
// that is over may still wait for more of it: what that gets is not lost for the next one.
type recorder struct {
	reading sync.Mutex // held by who reads src
	src     io.Reader

	stopped atomic.Bool // nobody will send it again
	mu      sync.Mutex
	kept    []byte
	read    int // of src
}

var errNotKept = errors.New("the beginning of the body is not kept")

// body reads it from the beginning.
func (r *recorder) body() (io.ReadCloser, error) {
	if !r.whole() {
		return nil, errNotKept
	}
	return io.NopCloser(&replay{of: r}), nil // the server closes it
}

// whole says that all that was read is kept.
func (r *recorder) whole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read == len(r.kept)
}

// stop says that it is not sent again.
func (r *recorder) stop() { r.stopped.Store(true) }

// replay is one reader.
type replay struct {
	of *recorder
	at int
}

// Read reads what is kept, and then what comes.
func (p *replay) Read(b []byte) (int, error) {
	if n := p.again(b); n > 0 {
		return n, nil
	}
	r := p.of
	r.reading.Lock()
	defer r.reading.Unlock()
	if n := p.again(b); n > 0 {
		return n, nil // another reader waited for it
	}
	if p.at != r.read { // which nobody changes now
		return 0, errNotKept
	}
	n, err := r.src.Read(b)
	p.at += n
	r.mu.Lock()
	defer r.mu.Unlock()
	if whole := r.read == len(r.kept); whole && !r.stopped.Load() && r.read+n <= bufferSize {
		r.kept = append(r.kept, b[:n]...)
	} else if n > 0 {
		r.kept = nil
	}
	r.read += n
	return n, err
}

func (p *replay) again(b []byte) int {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if p.at >= len(p.of.kept) {
		return 0
	}
	n := copy(b, p.of.kept[p.at:])
	p.at += n
	return n
}
