// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// recorder is the body of a request as it comes from the client, for one attempt after the other to send it. It keeps
// the beginning, so that it can be sent again. The reader of an attempt can be closed while it waits for the
// client, who may say nothing more: what comes then is the next one's.
type recorder struct {
	src io.Reader

	mu      sync.Mutex
	kept    []byte // what was read of src, without the first base bytes
	base    int
	stopped bool          // nobody will send it again
	reading bool          // src is being read
	err     error         // what reading ended with
	more    chan struct{} // closed when that has brought something
}

var errNotKept = errors.New("the beginning of the body is not kept")

// body reads it from the beginning.
func (r *recorder) body() (io.ReadCloser, error) {
	if !r.whole() {
		return nil, errNotKept
	}
	return &replay{of: r, closed: make(chan struct{})}, nil
}

// whole says that all that was read is kept.
func (r *recorder) whole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.base == 0
}

// stop says that it is not sent again.
func (r *recorder) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

// next gives p what is kept behind that which it has, or what tells that there may be something now.
func (r *recorder) next(p *replay, b []byte) (n int, more <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case p.over:
		return 0, nil, http.ErrBodyReadAfterClose
	case p.at < r.base:
		return 0, nil, errNotKept
	case p.at < r.base+len(r.kept):
		n = copy(b, r.kept[p.at-r.base:])
		p.at += n
		if r.stopped || r.base+len(r.kept) > bufferSize {
			left := copy(r.kept, r.kept[p.at-r.base:])
			r.kept, r.base = r.kept[:left], p.at
		}
		if r.stopped && len(r.kept) == 0 {
			r.kept = nil
		}
		return n, nil, nil
	case r.err != nil:
		return 0, nil, r.err
	case !r.reading:
		r.reading, r.more = true, make(chan struct{})
		go r.fill()
	}
	return 0, r.more, nil
}

// fill reads once. It ends at the latest when the server closes the body.
func (r *recorder) fill() {
	buf := getBuffer()
	defer putBuffer(buf)
	n, err := r.src.Read(buf[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept, r.err = append(r.kept, buf[:n]...), err
	r.reading = false
	close(r.more)
}

// replay is the reader of one attempt.
type replay struct {
	of     *recorder
	closed chan struct{}

	at   int  // guarded by of, as is over
	over bool // it is closed: it takes nothing that others need
}

// Read reads what is kept, and then what comes.
func (p *replay) Read(b []byte) (int, error) {
	for len(b) > 0 {
		n, more, err := p.of.next(p, b)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-more:
		case <-p.closed:
		}
	}
	return 0, nil
}

// Close ends a Read that waits.
func (p *replay) Close() error {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if !p.over {
		p.over = true
		close(p.closed)
	}
	return nil
}
