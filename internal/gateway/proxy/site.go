// SPDX-License-Identifier: Apache-2.0

// Package proxy serves the connections of clients: HTTP/1 by following its
// messages from one connection to another, HTTP/2, TCP and UDP.
package proxy

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/http1"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// Sites says what is served at an address now: nil for nothing.
type Sites interface {
	Site(local netip.Addr) *Site
}

// Site is what is served at one address and port. It is never changed, only replaced.
type Site struct {
	protocol gatewayapi.Protocol
	trusted  []netip.Prefix
	proxyIn  bool
	proxyOut string

	headerTimeout, idleTimeout, bodyTimeout, udpIdle time.Duration
	maxHeader                                        int

	hosts     map[string]*backend
	otherwise *backend
}

// backend is where requests to a Site go.
type backend struct {
	pool *pool.Pool
	port int
	// keep leaves forwarding headers alone; otherwise proto is X-Forwarded-Proto.
	keep  bool
	proto string
	// http says that a target has answered over HTTP.
	http *atomic.Bool
}

// NewSite is the site of the listeners, one or more, that share an address and a
// port. They are valid together; pools has their services.
func NewSite(listeners []*gatewayapi.Listener, port int, pools map[string]*pool.Pool) *Site {
	first := listeners[0]
	s := &Site{
		protocol: first.Protocol, proxyIn: first.ProxyProtocolIn, proxyOut: first.ProxyProtocolOut,
		headerTimeout: first.HTTP.HeaderTimeout.Or(30 * time.Second),
		idleTimeout:   first.HTTP.IdleTimeout.Or(90 * time.Second),
		bodyTimeout:   first.HTTP.BodyTimeout.Or(60 * time.Second),
		udpIdle:       first.UDPIdleTimeout.Or(60 * time.Second),
		maxHeader:     first.HTTP.MaxHeaderBytes,
		hosts:         map[string]*backend{},
	}
	if s.maxHeader == 0 {
		s.maxHeader = 64 << 10
	}
	for _, p := range first.TrustedProxies {
		if prefix, err := gatewayapi.ParsePrefix(p); err == nil {
			s.trusted = append(s.trusted, prefix)
		}
	}
	for _, l := range listeners {
		b := &backend{pool: pools[l.Service], port: l.TargetPort + port - l.Port, proto: l.ForwardedProto}
		b.http = b.pool.HTTP(b.port)
		if b.proto == "" {
			b.proto = "http"
		}
		b.keep = l.Forwarded == gatewayapi.ForwardedKeep || l.Forwarded == "" && l.Internal
		if len(l.Hosts) == 0 {
			s.otherwise = b
		}
		for _, h := range l.Hosts {
			s.hosts[lower(h)] = b
		}
	}
	return s
}

// http says whether connections may be HTTP, and auto whether that is to be found out.
func (s *Site) http() (yes, auto bool) {
	switch s.protocol {
	case gatewayapi.ProtocolTCP, gatewayapi.ProtocolUDP:
		return false, false
	case gatewayapi.ProtocolHTTP, gatewayapi.ProtocolH2C, gatewayapi.ProtocolGRPC:
		return true, false
	}
	return true, true
}

func (s *Site) trusts(a netip.Addr) bool {
	for _, p := range s.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// route is where a request goes; nil for nowhere.
func (s *Site) route(r *http1.Request) *backend {
	if len(s.hosts) == 0 {
		return s.otherwise
	}
	return s.routeHost(string(r.HostName()))
}

func (s *Site) routeHost(host string) *backend {
	if b := s.hosts[lower(host)]; b != nil {
		return b
	}
	return s.otherwise
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}
