// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/http1"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// maxAttempts is how often a request is sent at most.
const maxAttempts = 3

// clientCheck is how often a client is looked at that waits for an answer.
const clientCheck = time.Second

// upstreamWrite is how long a target may not take what is sent to it.
const upstreamWrite = 60 * time.Second

// maxAnswerHead bounds the head of an answer.
const maxAnswerHead = 1 << 20

// exchange is a request with its answer.
type exchange struct {
	req  http1.Request
	resp http1.Response
	// head is the request's head, and whole the same with as much of its body as
	// was there: both in the client's inbox.
	head, whole []byte
	// buffered says that the whole body is part of whole.
	buffered bool
	// answerHead is the length of the answer's head.
	answerHead int
	chunks     http1.ChunkScanner // of the request's body
	answer     http1.ChunkScanner
	started    time.Time
	out        []byte // what is sent instead of a head that cannot go on as it is

	avoid []*pool.Target // which have broken off

	body *bodyCopy // under way, of what was not buffered
}

var exchanges = sync.Pool{New: func() any { return &exchange{} }}

// errClient is that the client has gone, or does not go on.
var errClient = errors.New("the client has gone")

// errStopped is that the passing on of a body was stopped.
var errStopped = errors.New("the body was stopped")

// errUpstream is that the target broke off or answered what is none.
var errUpstream = errors.New("the target broke off")

var preface = []byte("PRI * HTTP/2.0\r\n\r\n")

// serveOne serves one request. It returns false when the connection is to be closed.
func (c *client) serveOne(first bool) bool {
	site := c.sites.Site(c.local)
	if site == nil {
		return false
	}
	head, err := c.readHead(site)
	if err != nil {
		return false
	}
	if first && bytes.Equal(head, preface) {
		c.serveHTTP2(site)
		return false
	}
	x := exchanges.Get().(*exchange)
	c.x = x
	defer func() {
		c.x = nil
		if !x.body.over() { // a fault of the gateway has ended the exchange: it is not for another one
			return
		}
		x.head, x.whole, x.body, x.avoid, x.buffered = nil, nil, nil, nil, false
		exchanges.Put(x)
	}()
	x.started = time.Now()
	x.head = head
	if err := x.req.Parse(head); err != nil {
		return c.refuse(err)
	}
	// The listener may have changed while the connection was idle.
	if site = c.sites.Site(c.local); site == nil {
		return false
	}
	b := site.route(&x.req)
	if b == nil {
		return c.refuse(&http1.Error{Status: 421})
	}
	if err := c.readBody(site); err != nil {
		return c.refuse(err)
	}
	c.count(b.pool)
	b.pool.Stats.Request()
	again := c.exchange(site, b)
	b.pool.Stats.Took(time.Since(x.started))
	return again
}

// readHead waits for the next request and reads its head.
func (c *client) readHead(site *Site) ([]byte, error) {
	scanned, empty := 0, 0
	waiting := len(c.in.bytes()) == 0
	if waiting {
		c.reads.ahead(time.Now(), site.idleTimeout)
		c.idle.Store(true)
		if c.server.closeIdle.Load() { // looked at after idle was set, as CloseIdle does it the other way round
			return nil, errClient
		}
		err := c.in.fill(site.maxHeader + 1)
		c.idle.Store(false)
		if err != nil {
			return nil, err
		}
	}
	for partial := false; ; {
		end, now, err := http1.HeadEnd(c.in.bytes(), scanned, site.maxHeader)
		switch scanned = now; {
		case err != nil:
			c.refuse(err)
			return nil, err
		case end == 2 && empty == 0:
			// One empty line is what some clients leave behind a body.
			c.in.next(2)
			scanned, empty = 0, 1
			if len(c.in.bytes()) > 0 {
				continue
			}
		case end > 0:
			return c.in.bytes()[:end], nil
		}
		if !partial {
			partial = true
			c.reads.exactly(time.Now().Add(site.headerTimeout))
		}
		if err := c.in.fill(site.maxHeader + 1); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.refuse(&http1.Error{Status: 408})
			}
			return nil, err
		}
	}
}

// readBody reads a body that fits into the buffer behind its head, so that the
// request can be sent in one piece, and again if need be. Others are passed on
// while they come.
func (c *client) readBody(site *Site) error {
	x := c.x
	x.whole = x.head
	switch x.req.Framing {
	case http1.NoBody:
		x.buffered = true
	case http1.ByLength:
		want := len(x.head) + int(min(x.req.Length, int64(len(c.in.buf))))
		if there := len(c.in.bytes()); x.req.Expect && there < want || c.in.r+want > len(c.in.buf) {
			x.whole = c.in.bytes()[:min(want, there)]
			return nil
		}
		for len(c.in.bytes()) < want {
			c.reads.ahead(time.Now(), site.bodyTimeout)
			if err := c.in.fill(bufferSize); err != nil {
				return &http1.Error{Status: 408}
			}
		}
		x.whole, x.buffered = c.in.bytes()[:want], true
	case http1.Chunked:
		x.chunks.Reset()
		n, err := x.chunks.Scan(c.in.bytes()[len(x.head):])
		if err != nil {
			return err
		}
		x.whole, x.buffered = c.in.bytes()[:len(x.head)+n], x.chunks.Done()
	}
	return nil
}

// exchange sends the request and passes the answer on. It returns false when the
// connection is to be closed.
func (c *client) exchange(site *Site, b *backend) bool {
	x := c.x
	for attempt := 1; ; attempt++ {
		reused, err := c.connect(site, b)
		if err != nil {
			return c.failRequest(b, err)
		}
		err = c.send(site, b)
		if err == nil {
			err = c.awaitHead(site)
		}
		if err == nil {
			if !b.http.Load() { // which is not written at every request
				b.http.Store(true)
			}
			break
		}
		if x.body != nil {
			if why := c.stopBody(); why != nil && !errors.Is(why, errStopped) {
				err = why
			}
		}
		target := c.up.Target()
		c.dropUpstream()
		if errors.Is(err, errClient) {
			return false
		}
		// Nothing of an answer has been passed on. Only of idempotent requests is it known that sending
		// them twice does no harm.
		var malformed *http1.Error
		if errors.As(err, &malformed) || attempt == maxAttempts && !reused || !x.buffered || !x.req.Idempotent() {
			target.Broke(err)
			return c.failRequest(b, err)
		}
		b.pool.Stats.Retried()
		if reused { // the target closed an idle connection just then, which it may
			attempt--
			continue
		}
		target.Broke(err)
		x.avoid = append(x.avoid, target)
		// One that has just died needs to be seen to be dead. It is over too soon to look whether the
		// client is still there, who may have closed its side only.
		if err := pause(context.Background(), time.Duration(attempt)*10*time.Millisecond); err != nil {
			return c.failRequest(b, err)
		}
	}
	return c.passAnswer(site, b)
}

// pause waits, or returns why ctx ended before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// connect makes sure that there is a connection to a target, and begins its use.
func (c *client) connect(site *Site, b *backend) (reused bool, err error) {
	if up := c.up; up != nil {
		target := up.Target()
		// What a target says while nothing is asked is no answer: it would be taken for that to this request.
		if up.Port == b.port && b.pool.Has(target) && b.pool.Usable(target) && !b.pool.Crowded(target) && c.upIn.silent() && up.Begin() {
			return true, nil
		}
		c.dropUpstream()
	}
	if b.pool.Held() {
		err = c.whileConnected(true, func(ctx context.Context) error { return b.pool.Wait(ctx, len(c.in.buf)) })
		if errors.Is(err, context.Canceled) {
			return false, errClient
		} else if err != nil {
			return false, err
		}
	}
	for {
		up, err := b.pool.Dial(context.Background(), b.port, c.remote.Addr(), len(c.in.buf), c.x.avoid)
		if err != nil {
			return false, err
		}
		if err := c.adopt(up); err != nil {
			return false, err
		}
		if !up.Begin() {
			continue // it began to drain just now
		}
		return false, c.writeProxyHeader(site, up)
	}
}

// send sends the head and what is there of the body, and starts to pass on the rest.
func (c *client) send(site *Site, b *backend) error {
	x := c.x
	c.upWrites.ahead(x.started, upstreamWrite)
	data := x.whole
	if !b.keep || !x.req.Plain {
		x.out = append(c.requestHead(x.out[:0], site, b), x.whole[len(x.head):]...)
		data = x.out
	}
	if err := c.upIn.write(data); err != nil {
		return err
	}
	if !x.buffered {
		c.startBody(site)
	}
	return nil
}

// awaitHead waits for the head of the final answer, and passes on those before it.
func (c *client) awaitHead(site *Site) error {
	x := c.x
	for {
		head, err := c.answerHead()
		if err != nil {
			return err
		}
		if err := x.resp.Parse(head, x.req.Method); err != nil {
			return err
		}
		if x.resp.Status == 101 && !x.req.Upgrade {
			return &http1.Error{Status: 502}
		}
		if !x.resp.Interim() {
			x.answerHead = len(head)
			return nil
		}
		if x.req.Minor == 1 {
			x.out = c.answerLines(x.out[:0])
			x.out = append(x.out, '\r', '\n')
			c.writes.ahead(time.Now(), site.bodyTimeout)
			if err := c.in.write(x.out); err != nil {
				return errClient
			}
		}
		c.upIn.next(len(head))
	}
}

// answerHead reads a head from the target. While it waits it looks whether the client does.
func (c *client) answerHead() ([]byte, error) {
	scanned := 0
	for {
		if data := c.upIn.bytes(); len(data) > 0 {
			end, now, err := http1.HeadEnd(data, scanned, maxAnswerHead)
			if err != nil {
				return nil, err
			}
			if end > 0 {
				return data[:end], nil
			}
			scanned = now
		}
		if err := c.fillAnswer(maxAnswerHead + 1); err != nil {
			return nil, err
		}
	}
}

// fillAnswer reads from the target once, however long that takes, as long as the client waits for it.
func (c *client) fillAnswer(limit int) error {
	for {
		c.upReads.ahead(time.Now(), clientCheck)
		err := c.upIn.fill(limit)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if c.x.body.over() && gone(c.in.raw) {
			return errClient
		}
	}
}

// failRequest tells the client that there is no answer.
func (c *client) failRequest(b *backend, err error) bool {
	if errors.Is(err, errClient) {
		return false
	}
	status := 502
	switch {
	case errors.Is(err, pool.ErrHoldFull), errors.Is(err, pool.ErrHoldTimeout), errors.Is(err, pool.ErrNoTarget), errors.Is(err, pool.ErrConnect):
		status = 503
	case errors.Is(err, os.ErrDeadlineExceeded):
		status = 504
	}
	var refused *http1.Error
	if errors.As(err, &refused) && c.x.body != nil && c.x.body.refused {
		return c.refuse(refused) // the request's own body was malformed
	}
	c.fail(b, err)
	return c.answerError(status, c.x.buffered)
}

// refuse answers a request that must not be passed on, and closes the connection.
func (c *client) refuse(err error) bool {
	var refused *http1.Error
	status := 400
	if errors.As(err, &refused) {
		status = refused.Status
	}
	c.server.log.V(1).Info("request refused", "client", c.remote, "status", status, "error", err)
	return c.answerError(status, false)
}

// linger lets a client read its answer that still sends: closing at once would reset the connection.
func (c *client) linger() {
	if c.conn.CloseWrite() != nil {
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, io.LimitReader(onlyReader{c.conn}, 1<<20))
}

// onlyReader hides what would make io.Copy do it another way.
type onlyReader struct{ net.Conn }
