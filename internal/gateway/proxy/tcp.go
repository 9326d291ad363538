// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// serveTCP passes bytes in both directions.
func (c *client) serveTCP(site *Site) {
	b := site.otherwise
	if b == nil {
		return // only requests with a known Host go anywhere
	}
	c.count(b.pool)
	b.pool.Stats.Request()
	for c.up == nil || !c.up.Begin() { // it may drain between the two
		err := c.whileConnected(false, func(ctx context.Context) error {
			if err := b.pool.Wait(ctx, c.in.w); err != nil {
				return err
			}
			up, err := b.pool.Dial(ctx, b.port, c.remote.Addr(), c.in.w, nil)
			if err != nil {
				return err
			}
			return c.adopt(up)
		})
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				c.fail(b, err)
			}
			return
		}
	}
	c.up.Bytes()
	if err := c.writeProxyHeader(site, c.up); err != nil {
		c.fail(b, err)
		return
	}
	c.tunnel()
}

// tunnel passes bytes in both directions, with what is in the inboxes first,
// until both have ended. The end of one is passed on and does not end the other, but bounds how long
// that may be silent: nobody else would end it where one side has gone without a word.
func (c *client) tunnel() {
	c.reads.exactly(time.Time{})
	c.writes.exactly(time.Time{})
	c.upReads.exactly(time.Time{})
	c.upWrites.exactly(time.Time{})
	up := c.up
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer c.server.recovered(c.remote, func() { up.TCPConn.Close(); c.conn.Close() })
		if oneWay(up.TCPConn, c.conn, &c.in, c.server.silence.ofClient) != nil {
			up.TCPConn.Close() // whoever else uses it ends too
			return
		}
		_ = up.SetReadDeadline(time.Now().Add(c.server.silence.ofTarget))
	}()
	if oneWay(c.conn, up.TCPConn, &c.upIn, c.server.silence.ofTarget) != nil {
		c.conn.Close()
	} else {
		_ = c.conn.SetReadDeadline(time.Now().Add(c.server.silence.ofClient))
	}
	<-done
}

// oneWay passes what is in the inbox and then everything that comes, and the end. The silence is how long src
// may send nothing once there is a deadline for it.
func oneWay(dst, src *net.TCPConn, in *inbox, silence time.Duration) error {
	if first := in.bytes(); len(first) > 0 {
		if _, err := dst.Write(first); err != nil {
			return err
		}
	}
	in.release()
	for {
		n, err := io.Copy(dst, src)
		switch {
		case err == nil:
			return dst.CloseWrite()
		case n == 0 || !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		_ = src.SetReadDeadline(time.Now().Add(silence))
	}
}

// readProxyHeader takes the client's address from the header that a trusted proxy sends.
func (c *client) readProxyHeader(site *Site) error {
	if !site.trusts(c.peer) {
		return fmt.Errorf("a PROXY header from %s, which is no trusted proxy", c.peer)
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(site.headerTimeout))
	defer func() { _ = c.conn.SetReadDeadline(time.Time{}) }()
	r := bufio.NewReaderSize(c.conn, 4096)
	header, err := proxyproto.Read(r)
	if err != nil {
		c.server.log.V(1).Info("bad PROXY header", "client", c.peer, "error", err)
		return err
	}
	if src, ok := header.SourceAddr.(*net.TCPAddr); ok && header.Command.IsProxy() {
		c.remote = src.AddrPort()
		if dst, ok := header.DestinationAddr.(*net.TCPAddr); ok {
			c.dst = dst.AddrPort()
		}
	}
	// What was read behind the header is the beginning of what the client said.
	if rest, _ := r.Peek(r.Buffered()); len(rest) > 0 {
		c.in.take()
		c.in.w = copy(c.in.buf, rest)
	}
	return nil
}

// writeProxyHeader tells a target who the client is, if it is to be told.
func (c *client) writeProxyHeader(site *Site, up *pool.Conn) error {
	if site.proxyOut == "" {
		return nil
	}
	version := byte(1)
	if site.proxyOut == "v2" {
		version = 2
	}
	header := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(c.remote), net.TCPAddrFromAddrPort(c.dst))
	_, err := header.WriteTo(up.TCPConn)
	return err
}
