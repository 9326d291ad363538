// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/http1"
)

// bodyCopy passes the rest of a request's body on while the answer may already
// come.
type bodyCopy struct {
	done chan struct{}
	stop atomic.Bool
	// What follows is for whoever has seen done.
	err     error
	refused bool   // the body is malformed
	rest    []byte // what was read behind the body
}

// startBody starts to pass on what is not part of x.whole. The exchange is not to end before the body's done,
// as what passes it on reads of the exchange.
func (c *client) startBody(site *Site) {
	x := c.x
	body := &bodyCopy{done: make(chan struct{})}
	x.body = body
	c.up.Transfer()
	go func(up *net.TCPConn) {
		defer close(body.done)
		defer c.server.recovered(c.remote, func() { body.err = errStopped; up.Close() })
		if x.req.Framing == http1.ByLength {
			body.err = c.sendLength(site, body, up, x.req.Length-int64(len(x.whole)-len(x.head)))
		} else {
			body.err = c.sendChunks(site, body, &x.chunks, up)
		}
		if body.err != nil && !errors.Is(body.err, errUpstream) {
			// The target must not take a part for the whole, nor wait for the rest. It gets the end now; what it
			// says to it is of no use.
			up.Close()
		}
	}(c.up.TCPConn)
}

// sendLength passes on a body of known length, within the kernel.
func (c *client) sendLength(site *Site, body *bodyCopy, up *net.TCPConn, n int64) error {
	for slice := newSlicer(n); slice.left > 0; {
		c.reads.ahead(time.Now(), site.bodyTimeout)
		c.upWrites.ahead(time.Now(), upstreamWrite)
		if body.stop.Load() { // after the deadline was set, which is not to undo stopBody's
			return errStopped
		}
		moved, err := slice.move(up, c.conn)
		switch {
		case body.stop.Load():
			return errStopped
		case err == nil && moved > 0:
		case err == nil:
			return errClient
		case moved > 0 && errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(c.upWrites.at):
		case time.Now().After(c.reads.at) || gone(c.in.raw):
			return errClient
		default:
			return errUpstream
		}
	}
	return nil
}

// sendChunks passes on a chunked body, as far as it is well-formed.
func (c *client) sendChunks(site *Site, body *bodyCopy, s *http1.ChunkScanner, up *net.TCPConn) error {
	buf := getBuffer()
	defer putBuffer(buf)
	for !s.Done() {
		if left := s.Data(); left > bufferSize {
			if err := c.sendLength(site, body, up, left); err != nil {
				return err
			}
			s.Skip(left)
			continue
		}
		c.reads.ahead(time.Now(), site.bodyTimeout)
		if body.stop.Load() {
			return errStopped
		}
		n, err := c.conn.Read(buf[:])
		if body.stop.Load() {
			return errStopped
		}
		if err != nil {
			return errClient
		}
		part, err := s.Scan(buf[:n])
		if err != nil {
			body.refused = true
			return err
		}
		c.upWrites.ahead(time.Now(), upstreamWrite)
		if _, err := up.Write(buf[:part]); err != nil {
			return errUpstream
		}
		body.rest = append([]byte(nil), buf[part:n]...)
	}
	return nil
}

// stopBody ends the passing on of the body and returns what became of it.
func (c *client) stopBody() error {
	body := c.x.body
	body.stop.Store(true)
	_ = c.conn.SetReadDeadline(past)
	c.up.TCPConn.Close()
	<-body.done
	c.reads.exactly(time.Time{})
	return body.err
}

// over says that nothing of the body is under way; there may be none.
func (b *bodyCopy) over() bool {
	if b == nil {
		return true
	}
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// finished waits until the body has been passed on, for some time.
func (b *bodyCopy) finished(patience time.Duration) bool {
	if b.over() {
		return true
	}
	if patience == 0 {
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-b.done:
		return true
	case <-timer.C:
		return false
	}
}

func (b *bodyCopy) wait() { <-b.done }

// put makes data what is unread.
func (b *inbox) put(data []byte) {
	if len(data) == 0 {
		return
	}
	b.take()
	b.w = copy(b.buf, data)
}

// Bounds of a slice, which must pass within the time that a body may stand still.
const (
	firstSlice = 64 << 10
	leastSlice = 32 << 10
	mostSlice  = 1 << 20
)

// slicer moves many bytes from one connection to another in slices: large ones
// while they pass quickly, small ones for a slow side, which has the same time for each.
type slicer struct {
	left, size int64
}

func newSlicer(n int64) *slicer { return &slicer{left: n, size: firstSlice} }

// move moves up to one slice. It is the kernel that copies.
func (s *slicer) move(dst, src *net.TCPConn) (int64, error) {
	begun := time.Now()
	n, err := dst.ReadFrom(&io.LimitedReader{R: src, N: min(s.left, s.size)})
	s.left -= n
	switch took := time.Since(begun); {
	case took < 100*time.Millisecond:
		s.size = min(2*s.size, mostSlice)
	case took > time.Second:
		s.size = max(s.size/2, leastSlice)
	}
	return n, err
}
