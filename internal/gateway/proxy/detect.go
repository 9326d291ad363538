// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/gateway/http1"
)

// greetingWait is how long a client may say nothing until its target is
// connected to, which may be one that greets first.
const greetingWait = 5 * time.Millisecond

// maxRequestLine is how long a line may be that is taken for one of HTTP.
const maxRequestLine = 16 << 10

// detect finds out whether the connection is HTTP. If it is not, a target may be
// connected already, and what the client said is in its inbox.
func (c *client) detect(site *Site) (isHTTP bool) {
	var err error
	if len(c.in.bytes()) == 0 { // there may be something behind a PROXY header
		c.reads.exactly(time.Now().Add(greetingWait))
		err = c.in.fill(bufferSize)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		switch c.waitForEither(site) {
		case clientFirst:
		case serverFirst:
			return false
		case neither:
			_ = c.conn.Close()
			return true
		}
	} else if err != nil {
		return true // the loop of HTTP meets the same error
	}
	// Whoever began to write a request has as long for its first line as for its head.
	c.reads.exactly(time.Now().Add(site.headerTimeout))
	for {
		switch classify(c.in.bytes()) {
		case kindHTTP:
			return true
		case kindTCP:
			c.reads.exactly(time.Time{})
			return false
		}
		if err := c.in.fill(maxRequestLine + 1); err != nil {
			// A client that ends here said all that it will say. One that stops within a line must not
			// come past the gateway by waiting.
			c.reads.exactly(time.Time{})
			if errors.Is(err, io.EOF) {
				return false
			}
			c.refuse(&http1.Error{Status: 408})
			_ = c.conn.Close()
			return true
		}
	}
}

type first int

const (
	clientFirst first = iota
	serverFirst
	neither
	drained // the target is no more to be used
	over    // the target has ended
)

// waitForEither connects to a target and waits for the first byte of either side. A target that ends, ends the client
// too; but where HTTP is spoken the client is waited for, for as long as connections may be idle: its request goes to
// whoever is there then.
func (c *client) waitForEither(site *Site) first {
	b := site.otherwise
	var until time.Time
	if b == nil || b.http.Load() {
		until = time.Now().Add(site.idleTimeout)
	}
	if b == nil { // only requests with a known Host go anywhere
		return c.waitForRequest(until)
	}
	for {
		err := c.whileConnected(false, func(ctx context.Context) error {
			up, err := b.pool.Dial(ctx, b.port, c.remote.Addr(), 0, nil)
			if err != nil {
				return err
			}
			return c.adopt(up)
		})
		switch {
		case errors.Is(err, context.Canceled):
			return neither
		case err != nil:
			// Requests of HTTP get an answer that says it, others a closed connection.
			if !c.in.silent() && !gone(c.in.raw) {
				return c.waitForClient()
			}
			if !until.IsZero() {
				return c.waitForRequest(until)
			}
			c.fail(b, err)
			return neither
		}
		switch who := c.firstOf(until); {
		case who == over && !until.IsZero():
			c.dropUpstream()
			return c.waitForRequest(until)
		case who == over:
			return neither
		case who != drained:
			return who
		}
	}
}

// firstOf waits for the first byte of the client or of its target, until a time if that is not zero.
func (c *client) firstOf(until time.Time) first {
	c.reads.exactly(until)
	target := make(chan first)
	go func() {
		who := drained // the gateway has closed the connection, which was not in use yet
		err := waitReadable(c.upIn.raw, func(said next) bool {
			if who = over; said == something {
				who = serverFirst
			}
			return true
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = c.conn.SetReadDeadline(past)
		}
		target <- who
	}()
	err := c.in.fill(bufferSize)
	_ = c.up.SetReadDeadline(past)
	who := <-target
	_ = c.up.SetReadDeadline(time.Time{})
	c.reads.exactly(time.Time{})
	switch {
	case err == nil:
		return clientFirst
	case !errors.Is(err, os.ErrDeadlineExceeded), who == drained && !until.IsZero() && !time.Now().Before(until):
		return neither
	}
	return who
}

// waitForRequest waits for the client alone, until a time.
func (c *client) waitForRequest(until time.Time) first {
	c.reads.exactly(until)
	return c.waitForClient()
}

func (c *client) waitForClient() first {
	if c.in.fill(bufferSize) != nil {
		return neither
	}
	return clientFirst
}

// next is what is to be read next.
type next int

const (
	something next = iota
	end            // the other side sends no more
	broken         // the connection is broken
)

// waitReadable waits until there is something to be read, which stays where it
// is, and until enough says that it need not wait for more than that.
func waitReadable(raw syscall.RawConn, enough func(next) bool) error {
	return raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return false
		case err != nil:
			return enough(broken)
		case n == 0:
			// What breaks behind the end does not show in what is read.
			poll := []unix.PollFd{{Fd: int32(fd)}}
			if _, err := unix.Poll(poll, 0); err == nil && poll[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
				return enough(broken)
			}
			return enough(end)
		}
		return enough(something)
	})
}

type kind int

const (
	kindUnknown kind = iota
	kindHTTP
	kindTCP
)

// classify looks at the first bytes of a client. A request line is one by its
// end, since other protocols have commands like GET too. What only looks like a
// request to some server is taken for one, to be refused: passed on as bytes it might be
// served with forwarding headers that nobody has looked at. So whatever a method may consist of
// counts, and whatever some server takes for a space.
//
// Nothing else is waited for: a first byte that begins no method, and one behind it that ends none,
// show a protocol whose messages may have no lines at all.
func classify(data []byte) kind {
	for len(data) > 0 && blank(data[0]) {
		data = data[1:]
	}
	line, whole := data, false
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		line, whole = data[:i], true
	}
	method := 0
	for method < len(line) && httpguts.IsTokenRune(rune(line[method])) {
		method++
	}
	if method < len(line) && (method == 0 || !blank(line[method])) || counted(line, method) {
		return kindTCP
	}
	if whole {
		if bytes.Contains(bytes.ToUpper(line), []byte("HTTP/")) {
			return kindHTTP
		}
		return kindTCP
	}
	if len(line) > maxRequestLine {
		return kindHTTP // to be told that it is too long
	}
	return kindUnknown
}

// blank says whether some server takes b for a space between the words of a line.
func blank(b byte) bool {
	return b == ' ' || '\t' <= b && b <= '\r' || 0x1c <= b && b <= 0x1f || b == 0x85 || b == 0xa0
}

// counted says whether a line begins like a message of syslog with its length in front (RFC 6587), which
// need not end with a line: digits, a space, and what begins no target of a request.
func counted(line []byte, word int) bool {
	return word+1 < len(line) && line[word] == ' ' && line[word+1] == '<' &&
		!slices.ContainsFunc(line[:word], func(b byte) bool { return b < '0' || b > '9' })
}

// fail counts and logs that a connection comes to nothing.
func (c *client) fail(b *backend, err error) {
	b.pool.Stats.Error()
	c.server.log.V(1).Info("connection failed", "service", b.pool.Name, "client", c.remote, "error", err)
}
