// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bufferSize holds the head of nearly every message, with a small body behind it.
const bufferSize = 16 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func getBuffer() *[bufferSize]byte  { return buffers.Get().(*[bufferSize]byte) }
func putBuffer(b *[bufferSize]byte) { buffers.Put(b) }

// inbox is what was read from a connection and not been passed on yet. An empty
// one needs no memory, also while it waits for bytes.
type inbox struct {
	conn *net.TCPConn
	raw  syscall.RawConn

	pooled *[bufferSize]byte
	buf    []byte // pooled, or larger
	r, w   int    // buf[r:w] is unread

	n      int // of the read under way
	err    error
	onRead func(uintptr) bool

	out     []byte // what is left of the write under way
	onWrite func(uintptr) bool

	quiet  bool // what the last look of silent found
	onPeek func(uintptr)
}

func (b *inbox) init(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	*b = inbox{conn: c, raw: raw, pooled: b.pooled, buf: b.buf}
	b.onRead, b.onWrite, b.onPeek = b.tryRead, b.tryWrite, b.peek
	return nil
}

// write writes data to the connection.
func (b *inbox) write(data []byte) error {
	b.out, b.err = data, nil
	if err := b.raw.Write(b.onWrite); err != nil {
		return err
	}
	b.out = nil
	return b.err
}

// tryWrite writes what can be written at once.
func (b *inbox) tryWrite(fd uintptr) bool {
	for len(b.out) > 0 {
		n, errno := rawIO(unix.SYS_WRITE, fd, b.out)
		switch errno {
		case 0:
			b.out = b.out[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			b.err = os.NewSyscallError("write", errno)
			return true
		}
	}
	return true
}

// rawIO reads or writes on a socket that never blocks, without the scheduler being
// told: telling it costs as much as the parsing of a head, and twice as much again when it then gives the
// processor to somebody else for the microseconds of the call.
func rawIO(call, fd uintptr, data []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)))
	return int(n), errno
}

// bytes is what is unread.
func (b *inbox) bytes() []byte { return b.buf[b.r:b.w] }

// next takes n unread bytes out. If none is left, the memory is given back.
func (b *inbox) next(n int) {
	b.r += n
	if b.r == b.w {
		b.release()
	}
}

func (b *inbox) release() {
	if b.pooled != nil {
		putBuffer(b.pooled)
	}
	b.pooled, b.buf, b.r, b.w = nil, nil, 0, 0
}

func (b *inbox) take() {
	b.pooled = getBuffer()
	b.buf = b.pooled[:]
}

// room makes place behind the unread bytes, which may grow up to limit in all.
func (b *inbox) room(limit int) bool {
	switch {
	case b.buf == nil:
		b.take()
	case b.w < len(b.buf):
	case b.r > 0:
		copy(b.buf, b.buf[b.r:b.w])
		b.w -= b.r
		b.r = 0
	case len(b.buf) >= limit:
		return false
	default:
		larger := make([]byte, min(4*len(b.buf), max(limit, bufferSize)))
		copy(larger, b.buf[:b.w])
		putIfPooled(b)
		b.buf = larger
	}
	return true
}

func putIfPooled(b *inbox) {
	if b.pooled != nil {
		putBuffer(b.pooled)
		b.pooled = nil
	}
}

// fill reads once. Unread bytes stay where they are if there is room behind them.
func (b *inbox) fill(limit int) error {
	if b.buf != nil {
		if !b.room(limit) {
			return io.ErrShortBuffer
		}
		n, err := b.conn.Read(b.buf[b.w:])
		b.w += n
		return err
	}
	if err := b.raw.Read(b.onRead); err != nil {
		return err
	}
	if b.err != nil {
		return b.err
	}
	if b.n == 0 {
		return io.EOF
	}
	return nil
}

// tryRead reads if there is something, and holds no memory otherwise.
func (b *inbox) tryRead(fd uintptr) bool {
	b.take()
	for {
		n, err := rawIO(unix.SYS_READ, fd, b.buf)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			b.release()
			return false
		case 0:
			b.n, b.err, b.w = n, nil, n
			if n == 0 {
				b.release()
			}
		default:
			b.n, b.err = 0, os.NewSyscallError("read", err)
			b.release()
		}
		return true
	}
}

// gone says whether the other side has closed its connection, without taking what it sent.
func gone(raw syscall.RawConn) bool {
	over := false
	err := raw.Control(func(fd uintptr) { over = peekEOF(fd) })
	return err != nil || over
}

func peekEOF(fd uintptr) bool {
	var one [1]byte
	n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == nil && n == 0 || err != nil && err != unix.EAGAIN && err != unix.EINTR
}

// silent says whether the other side has neither closed its connection nor sent
// anything that was not read: what an idle connection to a server must be to be used again.
func (b *inbox) silent() bool {
	b.quiet = false
	return b.raw.Control(b.onPeek) == nil && b.quiet
}

// peek is silent's look at the socket, as rawIO without the scheduler.
func (b *inbox) peek(fd uintptr) {
	var one [1]byte
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&one)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	b.quiet = errno == unix.EAGAIN
}

// deadline keeps a deadline of a connection ahead of now, and sets it seldom,
// since setting it costs more than a request should.
type deadline struct {
	set func(time.Time) error
	at  time.Time
}

// ahead makes sure that the deadline is at least d and at most 1.25 d from now.
func (l *deadline) ahead(now time.Time, d time.Duration) {
	if left := l.at.Sub(now); left >= d && left <= d+d/4 {
		return
	}
	l.at = now.Add(d + d/4)
	_ = l.set(l.at)
}

// exactly sets the deadline.
func (l *deadline) exactly(at time.Time) {
	l.at = at
	_ = l.set(at)
}
