// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/http1"
)

// bodyGrace is how long the rest of a request's body may take to be passed on when the answer
// has begun: a target that has read everything answers a little before that is known here.
const bodyGrace = 10 * time.Millisecond

// passAnswer passes the final answer on, whose head has been parsed and is at the
// start of the target's inbox.
func (c *client) passAnswer(site *Site, b *backend) bool {
	x := c.x
	r := &x.resp
	switched := r.Status == http.StatusSwitchingProtocols || string(x.req.Method) == http.MethodConnect && r.Status < 300
	keep := x.req.KeepAlive && !c.server.closing.Load()
	if x.body != nil && !x.body.finished(bodyGrace) {
		keep = false // nobody will take the rest
	}
	headLen := x.answerHead
	// An end that only the closing of the connection tells is told by chunks instead.
	rechunk := r.Framing == http1.UntilClose && x.req.Minor == 1
	if r.Framing == http1.UntilClose && !rechunk {
		keep = false
	}

	// The head, and what came with it of the body.
	whole, scanErr := c.answerPart(headLen)
	if goesOn := r.Framing == http1.UntilClose || r.Framing == http1.Chunked && !x.answer.Done(); goesOn && r.Events() {
		c.up.Endless()
	}
	c.writes.ahead(time.Now(), site.bodyTimeout)
	data := c.upIn.bytes()[:headLen+whole]
	if !r.Plain || r.Minor == 0 || x.req.Minor == 0 || !keep || rechunk || switched {
		x.out = c.answerLines(x.out[:0])
		x.out = c.appendEnd(x.out, keep, rechunk, switched)
		if rechunk {
			x.out = appendChunk(x.out, data[headLen:])
		} else {
			x.out = append(x.out, data[headLen:]...)
		}
		data = x.out
	}
	if err := c.in.write(data); err != nil {
		return c.brokeOff(b, errClient)
	}
	c.upIn.next(headLen + whole)
	if switched {
		c.switchProtocols()
		return false
	}
	if scanErr != nil {
		return c.brokeOff(b, scanErr)
	}
	if err := c.passBody(site, int64(whole), rechunk); err != nil {
		return c.brokeOff(b, err)
	}
	return c.finish(keep)
}

// finish ends the exchange after the whole answer.
func (c *client) finish(keep bool) bool {
	x := c.x
	if body := x.body; body != nil {
		if !body.finished(0) {
			c.dropUpstream() // which ends the writing; the reading is ended by closing
			c.linger()
			c.conn.Close()
			body.wait()
			return false
		}
		c.in.release()
		c.in.put(body.rest)
		if body.err != nil {
			c.dropUpstream()
			return false
		}
	} else {
		c.in.next(len(x.whole))
	}
	// Bytes that nobody asked for, behind an answer, might be taken for the next one.
	if len(c.upIn.bytes()) > 0 || !x.resp.KeepAlive || x.req.Minor == 0 || !c.up.Finish() {
		c.dropUpstream()
	}
	if !keep {
		c.linger()
	}
	return keep
}

// brokeOff ends everything when an answer cannot be passed on to its end: the
// client sees that by the connection ending too early.
func (c *client) brokeOff(b *backend, err error) bool {
	x := c.x
	if !errors.Is(err, errClient) {
		c.up.Target().Broke(err)
		c.fail(b, err)
	}
	c.dropUpstream()
	_ = c.conn.SetLinger(0)
	c.conn.Close()
	if x.body != nil {
		x.body.wait()
	}
	return false
}

// answerPart is how much of the body is in the inbox behind the head.
func (c *client) answerPart(headLen int) (int, error) {
	x := c.x
	there := len(c.upIn.bytes()) - headLen
	switch x.resp.Framing {
	case http1.ByLength:
		return int(min(x.resp.Length, int64(there))), nil
	case http1.Chunked:
		x.answer.Reset()
		return x.answer.Scan(c.upIn.bytes()[headLen:])
	case http1.UntilClose:
		return there, nil
	}
	return 0, nil
}

// appendEnd appends what is said of this connection, and the empty line.
func (c *client) appendEnd(out []byte, keep, rechunk, switched bool) []byte {
	if rechunk {
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case c.x.resp.Status == http.StatusSwitchingProtocols, c.x.resp.Status == http.StatusUpgradeRequired && keep:
		out = append(out, "Connection: Upgrade\r\n"...)
	case switched:
	case !keep:
		out = append(out, "Connection: close\r\n"...)
	case c.x.req.Minor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	return append(out, '\r', '\n')
}

// appendChunk appends data as a chunk; none if there is no data, which would be the end.
func appendChunk(out, data []byte) []byte {
	if len(data) == 0 {
		return out
	}
	out = strconv.AppendInt(out, int64(len(data)), 16)
	out = append(append(out, '\r', '\n'), data...)
	return append(out, '\r', '\n')
}

// passBody passes on the rest of the body, of which done bytes have been.
func (c *client) passBody(site *Site, done int64, rechunk bool) error {
	x := c.x
	switch x.resp.Framing {
	case http1.ByLength:
		if left := x.resp.Length - done; left > 0 {
			c.up.Transfer()
			return c.passBytes(site, left)
		}
	case http1.Chunked:
		for !x.answer.Done() {
			c.up.LongLived()
			if left := x.answer.Data(); left > bufferSize && len(c.upIn.bytes()) == 0 {
				if err := c.passBytes(site, left); err != nil {
					return err
				}
				x.answer.Skip(left)
				continue
			}
			if err := c.fillAnswer(bufferSize); err != nil {
				return ended(err)
			}
			n, err := x.answer.Scan(c.upIn.bytes())
			if err := c.passInbox(site, n); err != nil {
				return err
			}
			if err != nil {
				return err
			}
		}
	case http1.UntilClose:
		return c.passUntilClose(site, rechunk)
	}
	return nil
}

func (c *client) passInbox(site *Site, n int) error {
	c.writes.ahead(time.Now(), site.bodyTimeout)
	if err := c.in.write(c.upIn.bytes()[:n]); err != nil {
		return errClient
	}
	c.upIn.next(n)
	return nil
}

func (c *client) passUntilClose(site *Site, rechunk bool) error {
	c.up.LongLived()
	for {
		err := c.fillAnswer(bufferSize)
		over := errors.Is(err, io.EOF)
		if err != nil && !over {
			return err
		}
		out := c.upIn.bytes()
		if rechunk {
			c.x.out = appendChunk(c.x.out[:0], out)
			if over {
				c.x.out = append(c.x.out, "0\r\n\r\n"...)
			}
			out = c.x.out
		}
		c.writes.ahead(time.Now(), site.bodyTimeout)
		if err := c.in.write(out); err != nil {
			return errClient
		}
		c.upIn.next(len(c.upIn.bytes()))
		if over {
			return nil
		}
	}
}

// ended makes the end of a connection within an answer an error.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errUpstream
	}
	return err
}

// passBytes passes n bytes from the target to the client, within the kernel.
func (c *client) passBytes(site *Site, n int64) error {
	for slice := newSlicer(n); slice.left > 0; {
		// The one of the target is always over before that of the client, so that it is known which it was.
		c.upReads.ahead(time.Now(), min(clientCheck, site.bodyTimeout/2))
		c.writes.ahead(time.Now(), site.bodyTimeout)
		moved, err := slice.move(c.conn, c.up.TCPConn)
		switch {
		case err == nil && moved > 0:
		case err == nil:
			return errUpstream
		case c.writesPast():
			// What was on its way to the client within the kernel is lost: nothing must come behind that.
			return errClient
		case errors.Is(err, os.ErrDeadlineExceeded):
			if c.x.body.over() && gone(c.in.raw) {
				return errClient
			}
		case gone(c.in.raw):
			return errClient
		default:
			return err
		}
	}
	return nil
}

// writesPast says that the client did not read in time.
func (c *client) writesPast() bool { return time.Now().After(c.writes.at) }

// switchProtocols goes over to whatever the two have agreed on.
func (c *client) switchProtocols() {
	c.up.Endless()
	c.in.next(len(c.x.whole))
	c.tunnel()
}
