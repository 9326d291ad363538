// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
	"github.com/fairlead-dev/fairlead/internal/gateway/proxy"
)

// socketKey is what one socket is bound to. The zero address means every address.
type socketKey struct {
	udp  bool
	addr netip.Addr
	port int
}

func (k socketKey) String() string {
	network := "tcp"
	if k.udp {
		network = "udp"
	}
	if !k.addr.IsValid() {
		return fmt.Sprintf("%s port %d", network, k.port)
	}
	return network + " " + netip.AddrPortFrom(k.addr, uint16(k.port)).String()
}

func (k socketKey) address() string {
	if !k.addr.IsValid() {
		return fmt.Sprintf(":%d", k.port)
	}
	return netip.AddrPortFrom(k.addr, uint16(k.port)).String()
}

// socket is one socket and what is served on it.
type socket struct {
	key   socketKey
	table atomic.Pointer[[]place]
	tcp   *net.TCPListener
	udp   *net.UDPConn
	done  chan struct{} // closed when nothing is accepted any more
}

// place is what is served to the addresses of a prefix; the zero prefix is every address.
type place struct {
	prefix netip.Prefix
	site   *proxy.Site
}

// Site implements proxy.Sites.
func (s *socket) Site(local netip.Addr) *proxy.Site {
	table := s.table.Load()
	if table == nil {
		return nil
	}
	for i := range *table {
		if p := &(*table)[i]; !p.prefix.IsValid() || p.prefix.Contains(local) {
			return p.site
		}
	}
	return nil
}

// layout is the sockets that a state needs, with their tables, longest prefixes first.
func layout(state *gatewayapi.DesiredState, pools map[string]*pool.Pool) map[socketKey][]place {
	type group struct {
		prefix netip.Prefix
		port   int
		udp    bool
	}
	groups := map[group][]*gatewayapi.Listener{}
	every := map[socketKey]bool{}
	for i := range state.Listeners {
		l := &state.Listeners[i]
		prefix, _ := l.Prefix()
		for port := l.Port; port <= l.LastPort(); port++ {
			g := group{prefix, port, l.Protocol == gatewayapi.ProtocolUDP}
			groups[g] = append(groups[g], l)
			if !prefix.IsValid() || !prefix.IsSingleIP() {
				every[socketKey{udp: g.udp, port: port}] = true
			}
		}
	}
	sockets := map[socketKey][]place{}
	for g, listeners := range groups {
		key := socketKey{udp: g.udp, port: g.port}
		if !every[key] {
			key.addr = g.prefix.Addr()
		}
		sockets[key] = append(sockets[key], place{g.prefix, proxy.NewSite(listeners, g.port, pools)})
	}
	for _, places := range sockets {
		slices.SortFunc(places, func(a, b place) int { return cmp.Compare(b.prefix.Bits(), a.prefix.Bits()) })
	}
	return sockets
}

// key is the socket that a listener's port is on, in a layout.
func keyOf(sockets map[socketKey][]place, l *gatewayapi.Listener, port int) socketKey {
	key := socketKey{udp: l.Protocol == gatewayapi.ProtocolUDP, port: port}
	if _, ok := sockets[key]; !ok {
		prefix, _ := l.Prefix()
		key.addr = prefix.Addr()
	}
	return key
}

// open binds the socket, unless it was inherited, and serves it.
func (s *socket) open(server *proxy.Server) error {
	if s.tcp == nil && s.udp == nil {
		config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 60 * time.Second, Interval: 15 * time.Second, Count: 4}}
		config.SetMultipathTCP(false) // cannot be spliced
		if s.key.udp {
			conn, err := config.ListenPacket(context.Background(), "udp", s.key.address())
			if err != nil {
				return err
			}
			s.udp = conn.(*net.UDPConn)
		} else {
			ln, err := config.Listen(context.Background(), "tcp", s.key.address())
			if err != nil {
				return err
			}
			s.tcp = ln.(*net.TCPListener)
		}
	}
	s.done = make(chan struct{})
	if s.udp != nil {
		u := server.NewUDP(s.udp, s)
		go func() {
			defer close(s.done)
			u.Serve()
		}()
		return nil
	}
	go s.accept(server)
	return nil
}

func (s *socket) accept(server *proxy.Server) {
	defer close(s.done)
	pause := time.Millisecond
	for {
		conn, err := s.tcp.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Such as too many open files: some will be closed.
			<-time.NewTimer(pause).C
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		go server.Serve(conn, s)
	}
}

// close closes the socket and waits until nothing is accepted any more. Connections go on, and are served
// by the table.
func (s *socket) close() {
	if s.tcp != nil {
		s.tcp.Close()
	}
	if s.udp != nil {
		s.udp.Close()
	}
	<-s.done
}
