// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// Server serves the connections of all listeners.
type Server struct {
	log   logr.Logger
	http2 *http2Server

	closing   atomic.Bool // connections end after the request they are at
	closeIdle atomic.Bool // and those that are at none end now
	mu        sync.Mutex
	clients   map[*client]struct{}
	ended     *sync.Cond // a client went away; with mu

	silence silence
}

// silence is how long one side of a tunnel may be silent after the other has said that it sends no more.
type silence struct {
	// A client whose target has ended has nothing to wait for, but may still have something to send.
	ofClient time.Duration
	// A target may work for long on what a client has sent in whole.
	ofTarget time.Duration
}

// NewServer is a server that logs what is worth it.
func NewServer(log logr.Logger) *Server {
	s := &Server{log: log, clients: map[*client]struct{}{}, silence: silence{ofClient: 5 * time.Minute, ofTarget: time.Hour}}
	s.ended = sync.NewCond(&s.mu)
	s.http2 = newHTTP2Server(s)
	return s
}

// client is one connection of a client.
type client struct {
	server *Server
	conn   *net.TCPConn
	in     inbox
	sites  Sites
	local  netip.Addr
	remote netip.AddrPort // as the PROXY protocol says it, if it does
	peer   netip.Addr     // who is connected
	dst    netip.AddrPort

	reads, writes deadline
	idle          atomic.Bool // waits for a request

	counted *pool.Pool // where the connection is counted as open

	// The one connection to a target that belongs to this one.
	up                *pool.Conn
	upIn              inbox
	upReads, upWrites deadline

	x *exchange // of the request under way
}

// Serve serves one connection until it ends.
func (s *Server) Serve(conn *net.TCPConn, sites Sites) {
	remote, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	local, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	c := &client{
		server: s, conn: conn, sites: sites, local: local.Addr().Unmap(), remote: remote, peer: remote.Addr(),
		dst: netip.AddrPortFrom(local.Addr().Unmap(), local.Port()),
	}
	c.reads.set, c.writes.set = conn.SetReadDeadline, conn.SetWriteDeadline
	s.mu.Lock()
	s.clients[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		c.dropUpstream()
		c.in.release()
		c.count(nil)
		conn.Close()
		s.mu.Lock()
		delete(s.clients, c)
		s.ended.Broadcast()
		s.mu.Unlock()
	}()
	defer s.recovered(remote, func() {})
	if c.in.init(conn) != nil {
		return
	}
	c.serve()
}

// recovered is deferred by every goroutine that serves a connection: a fault of the gateway ends this one
// connection, by then, and not all others.
func (s *Server) recovered(client netip.AddrPort, then func()) {
	if v := recover(); v != nil {
		s.log.Error(fmt.Errorf("panic: %v", v), "a connection ended by a fault of the gateway", "client", client.String(), "stack", string(debug.Stack()))
		then()
	}
}

func (c *client) serve() {
	site := c.sites.Site(c.local)
	if site == nil {
		_ = c.conn.SetLinger(0) // a reset, as from a port that nobody listens on
		return
	}
	if site.proxyIn && c.readProxyHeader(site) != nil {
		return
	}
	yes, auto := site.http()
	if auto && yes {
		yes = c.detect(site)
	}
	if !yes {
		c.serveTCP(site)
		return
	}
	for first, again := true, true; again; first = false {
		again = c.serveOne(first)
	}
}

// count counts the connection as one of a service.
func (c *client) count(p *pool.Pool) {
	if c.counted == p {
		return
	}
	if c.counted != nil {
		c.counted.Stats.Disconnected()
	}
	if c.counted = p; p != nil {
		p.Stats.Connected()
	}
}

func (c *client) dropUpstream() {
	if c.up != nil {
		c.up.Close()
		c.upIn.release()
		c.up = nil
	}
}

// adopt makes a connection to a target the client's one.
func (c *client) adopt(up *pool.Conn) error {
	c.dropUpstream()
	c.up = up
	c.upReads = deadline{set: up.SetReadDeadline}
	c.upWrites = deadline{set: up.SetWriteDeadline}
	return c.upIn.init(up.TCPConn)
}

// whileConnected calls f with a context that ends when the client closes its
// connection, as far as that can be seen without taking what it sends. A client that has only said
// that it sends no more still waits, unless it has sent nothing, or endIsLeaving says that such
// clients do not.
func (c *client) whileConnected(endIsLeaving bool, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.reads.exactly(time.Time{})
	waiting := len(c.in.bytes()) > 0
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_ = waitReadable(c.in.raw, func(said next) bool {
			if said == end && !endIsLeaving && waiting {
				return false // until it breaks off
			}
			if said != something {
				cancel()
			}
			return true
		})
	}()
	err := f(ctx)
	c.reads.exactly(past)
	<-watched
	c.reads.exactly(time.Time{})
	return err
}

// past is a deadline that has passed, which ends whatever waits.
var past = time.Unix(1, 0)

// Last makes the next answer on each connection its last one.
func (s *Server) Last() { s.closing.Store(true) }

// CloseIdle ends the connections that wait for a request: nobody would serve it.
func (s *Server) CloseIdle() {
	s.Last()
	s.closeIdle.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		if c.idle.Load() {
			_ = c.conn.SetReadDeadline(past)
		}
	}
}

// Drain lets connections go on and closes each after the request that it is at,
// or the next one, telling the client so. It returns when all have ended or ctx has.
func (s *Server) Drain(ctx context.Context) error {
	s.Last()
	s.http2.shutdown(ctx)
	stop := context.AfterFunc(ctx, s.ended.Broadcast)
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.clients) > 0 && ctx.Err() == nil {
		s.ended.Wait()
	}
	if len(s.clients) > 0 {
		return ctx.Err()
	}
	return nil
}

// Close cuts off all connections and returns when their goroutines have ended.
func (s *Server) Close() {
	s.Last()
	s.http2.close()
	s.mu.Lock()
	for c := range s.clients {
		c.conn.Close()
	}
	for len(s.clients) > 0 {
		s.ended.Wait()
	}
	s.mu.Unlock()
}
