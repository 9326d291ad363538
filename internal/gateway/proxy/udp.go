// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// Bounds of UDP. What is beyond them is dropped, as UDP allows.
const (
	maxSessions = 16384   // of one listener
	maxPending  = 64      // datagrams of a session that has no target yet,
	maxKept     = 1 << 16 // and their bytes
	maxDatagram = 1 << 16 // bytes
	udpBuffer   = 1 << 20 // of the sockets, where the kernel gives it

	// answerGrace is how long a target that drains may still answer when the client's session
	// has gone on to another one.
	answerGrace = time.Second
)

var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// UDP serves one socket. The datagrams of one client go to one target, until none
// has come or gone for some time.
type UDP struct {
	server *Server
	conn   *net.UDPConn
	sites  Sites

	mu       sync.Mutex
	sessions map[sessionKey]*session
	ended    sync.WaitGroup
}

type sessionKey struct {
	client netip.AddrPort
	local  netip.Addr
}

// session is a client with its target.
type session struct {
	udp    *UDP
	key    sessionKey
	reply  []byte // the control message that sends from the address that the client knows
	pool   *pool.Pool
	idle   time.Duration
	active atomic.Int64 // unix nanoseconds of the last datagram
	cancel context.CancelFunc

	mu      sync.Mutex
	up      *net.UDPConn // nil until there is a target
	pending [][]byte
	kept    int       // bytes in pending, of which the pool knows
	over    bool      // nothing more is sent to the target
	until   time.Time // when the last answers must have come, if it is over
}

// NewUDP makes a server of a socket.
func (s *Server) NewUDP(conn *net.UDPConn, sites Sites) *UDP {
	_ = conn.SetReadBuffer(udpBuffer)
	return &UDP{server: s, conn: conn, sites: sites, sessions: map[sessionKey]*session{}}
}

// Serve serves until the socket is closed, and ends all sessions then.
func (u *UDP) Serve() {
	if err := askDestination(u.conn); err != nil {
		u.server.log.Error(err, "UDP answers may come from another address of this host", "socket", u.conn.LocalAddr())
	}
	buf := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buf)
	oob := make([]byte, 128)
	for {
		n, oobn, _, from, err := u.conn.ReadMsgUDPAddrPort(buf[:], oob)
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			continue // of a datagram that could not be delivered
		}
		u.receive(from, oob[:oobn], buf[:n])
	}
	u.mu.Lock()
	for _, s := range u.sessions {
		s.cancel()
	}
	u.mu.Unlock()
	u.ended.Wait()
}

// receive takes one datagram of a client.
func (u *UDP) receive(from netip.AddrPort, oob, data []byte) {
	local := destination(oob)
	if !local.IsValid() {
		if a, err := netip.ParseAddrPort(u.conn.LocalAddr().String()); err == nil {
			local = a.Addr()
		}
	}
	key := sessionKey{from, local.Unmap()}
	for range 2 {
		u.mu.Lock()
		s := u.sessions[key]
		if s == nil {
			s = u.begin(key, oob)
		}
		u.mu.Unlock()
		if s == nil || s.send(data) {
			return
		}
		u.forget(s) // another one takes its place
	}
}

// forget makes room for another session of the same client.
func (u *UDP) forget(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sessions[s.key] == s {
		delete(u.sessions, s.key)
	}
}

// begin begins a session, if there is a service and room. u is locked.
func (u *UDP) begin(key sessionKey, oob []byte) *session {
	site := u.sites.Site(key.local)
	if site == nil || site.otherwise == nil {
		return nil
	}
	b := site.otherwise
	if len(u.sessions) >= maxSessions {
		b.pool.Stats.Error()
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{udp: u, key: key, pool: b.pool, idle: site.udpIdle, cancel: cancel, reply: replyFrom(oob)}
	s.active.Store(time.Now().UnixNano())
	u.sessions[key] = s
	b.pool.Stats.Request()
	b.pool.Stats.Connected()
	u.ended.Go(func() {
		defer u.end(s)
		defer u.server.recovered(key.client, func() {})
		s.serve(ctx, b.port)
	})
	return s
}

func (u *UDP) end(s *session) {
	s.cancel()
	s.mu.Lock()
	s.over = true
	s.dropPending()
	if s.up != nil {
		s.up.Close()
	}
	s.mu.Unlock()
	u.forget(s)
	s.pool.Stats.Disconnected()
}

// send passes a datagram of the client on, or keeps it until there is a target. It returns
// false if the session is over and another one has to.
func (s *session) send(data []byte) bool {
	s.active.Store(time.Now().UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return false
	case s.up != nil:
		// A target that does not listen is known by what became of the datagram before.
		if _, err := s.up.Write(data); errors.Is(err, unix.ECONNREFUSED) {
			_, _ = s.up.Write(data)
		}
	case len(s.pending) < maxPending && s.kept+len(data) <= maxKept && s.pool.Keep(len(data)):
		s.pending = append(s.pending, append([]byte(nil), data...))
		s.kept += len(data)
	}
	return true
}

// moveOn ends the session, but for the answers that are on their way.
func (s *session) moveOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.until = true, time.Now().Add(answerGrace)
	if s.up == nil {
		s.cancel()
		return
	}
	_ = s.up.SetReadDeadline(s.until)
}

// awaitMore sets how long the next datagram of the target may take. It returns false if none
// is waited for any more.
func (s *session) awaitMore() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Unix(0, s.active.Load()).Add(s.idle)
	if s.over {
		at = s.until
	}
	return time.Now().Before(at), s.up.SetReadDeadline(at)
}

// dropPending gives back what is pending. s is locked.
func (s *session) dropPending() {
	s.pool.Drop(s.kept)
	s.pending, s.kept = nil, 0
}

// serve finds a target and passes its datagrams to the client.
func (s *session) serve(ctx context.Context, port int) {
	lease, err := s.pool.Use(ctx, s.key.client.Addr(), nil, s.moveOn)
	if err != nil {
		if ctx.Err() == nil {
			s.pool.Stats.Error()
		}
		return
	}
	defer lease.End()
	lease.Endless()
	addr := lease.Bind(ctx)
	if !addr.IsValid() {
		s.pool.Stats.Error()
		return
	}
	up, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(port))))
	if err != nil {
		s.pool.Stats.Error()
		return
	}
	s.mu.Lock()
	s.up = up
	for _, data := range s.pending {
		_, _ = up.Write(data)
	}
	s.dropPending()
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { up.Close() })
	defer stop()
	if err := s.receive(up); err != nil && ctx.Err() == nil {
		lease.Target().Broke(err)
		s.pool.Stats.Error()
	}
}

// receive passes datagrams to the client until nothing has come or gone for the idle time.
func (s *session) receive(up *net.UDPConn) error {
	raw, err := up.SyscallConn()
	if err != nil {
		return err
	}
	for {
		more, err := s.awaitMore()
		if err != nil || !more {
			return err
		}
		var readErr error
		err = raw.Read(func(fd uintptr) bool {
			// The memory is taken when there is something, not while the session waits.
			buf := datagrams.Get().(*[maxDatagram]byte)
			defer datagrams.Put(buf)
			n, err := unix.Read(int(fd), buf[:])
			if err == unix.EAGAIN || err == unix.EINTR {
				return false
			}
			if readErr = err; err == nil {
				s.active.Store(time.Now().UnixNano())
				_, _, _ = s.udp.conn.WriteMsgUDPAddrPort(buf[:n], s.reply, s.key.client)
			}
			return true
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // something may have been sent meanwhile
		case err != nil:
			return err
		case readErr != nil:
			return os.NewSyscallError("read", readErr)
		}
	}
}

// askDestination asks the kernel to tell to which of this host's addresses each datagram came.
func askDestination(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var four, six error
	err = raw.Control(func(fd uintptr) {
		six = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		four = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	})
	if err == nil && four != nil && six != nil {
		err = errors.Join(four, six)
	}
	return err
}

// destination is the address in the control message that askDestination asked for.
func destination(oob []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			return netip.AddrFrom16([16]byte(m.Data[:16])).Unmap()
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12:
			return netip.AddrFrom4([4]byte(m.Data[8:12]))
		}
	}
	return netip.Addr{}
}

// replyFrom is the control message that sends from the address to which a datagram
// came. The interface is left to routing.
func replyFrom(oob []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 20:
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])})
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12:
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[8:12])})
		}
	}
	return nil
}
