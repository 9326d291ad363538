// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// maxRange bounds a range of ports, each of which is a socket.
const maxRange = 1024

var hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$`)

// Validate says everything that is wrong with s, each with where it is.
func (s *DesiredState) Validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if s.Version != Version {
		bad("version is %q; this gateway speaks %q", s.Version, Version)
	}
	if s.Revision < 1 {
		bad("revision is %d; it must be 1 or more", s.Revision)
	}
	services := map[string]bool{}
	for i := range s.Services {
		service := &s.Services[i]
		if service.Name == "" {
			bad("services[%d] has no name", i)
		}
		if services[service.Name] {
			bad("service %q is there twice", service.Name)
		}
		services[service.Name] = true
		service.validate(func(format string, args ...any) {
			bad("service %q: "+format, append([]any{service.Name}, args...)...)
		})
	}
	names := map[string]bool{}
	for i := range s.Listeners {
		l := &s.Listeners[i]
		if l.Name == "" {
			bad("listeners[%d] has no name", i)
		}
		if names[l.Name] {
			bad("listener %q is there twice", l.Name)
		}
		names[l.Name] = true
		if !services[l.Service] {
			bad("listener %q: service %q is not part of the state", l.Name, l.Service)
		}
		l.validate(func(format string, args ...any) {
			bad("listener %q: "+format, append([]any{l.Name}, args...)...)
		})
	}
	if len(problems) == 0 {
		problems = s.overlaps()
	}
	return errors.Join(problems...)
}

func (l *Listener) validate(bad func(string, ...any)) {
	if _, err := l.Prefix(); err != nil {
		bad("address %q is neither an IP address nor a prefix", l.Address)
	}
	if !port(l.Port) || !port(l.LastPort()) || l.LastPort() < l.Port || l.LastPort()-l.Port >= maxRange {
		bad("ports %d to %d: ports are 1 to 65535, a range has at most %d, and ends after it begins", l.Port, l.LastPort(), maxRange)
	}
	if !port(l.TargetPort) || !port(l.TargetPort+l.LastPort()-l.Port) {
		bad("target port %d: ports are 1 to 65535, also at the end of a range", l.TargetPort)
	}
	switch l.Protocol {
	case "", ProtocolAuto, ProtocolHTTP, ProtocolH2C, ProtocolGRPC:
	case ProtocolTCP, ProtocolUDP:
		if len(l.Hosts) > 0 {
			bad("%s has no Host to tell services apart by; leave hosts empty", l.Protocol)
		}
	default:
		bad("protocol %q is unknown; use auto, http, h2c, grpc, tcp or udp", l.Protocol)
	}
	switch l.Forwarded {
	case "", ForwardedSet, ForwardedKeep:
	default:
		bad("forwarded %q is unknown; use set or keep", l.Forwarded)
	}
	switch l.ForwardedProto {
	case "", "http", "https":
	default:
		bad("forwardedProto %q is unknown; use http or https", l.ForwardedProto)
	}
	switch l.ProxyProtocolOut {
	case "", "v1", "v2":
	default:
		bad("proxyProtocolOut %q is unknown; use v1 or v2", l.ProxyProtocolOut)
	}
	if l.Protocol == ProtocolUDP && (l.ProxyProtocolIn || l.ProxyProtocolOut != "") {
		bad("the PROXY protocol is for TCP only")
	}
	if l.ProxyProtocolIn && len(l.TrustedProxies) == 0 {
		bad("proxyProtocolIn needs trustedProxies: who may say where a client comes from")
	}
	for _, p := range l.TrustedProxies {
		if _, err := ParsePrefix(p); err != nil {
			bad("trusted proxy %q is neither an IP address nor a prefix", p)
		}
	}
	for _, h := range l.Hosts {
		if !hostname.MatchString(h) {
			bad("host %q is not a host name", h)
		}
	}
	if l.HTTP.MaxHeaderBytes < 0 || l.HTTP.MaxHeaderBytes > 1<<20 {
		bad("maxHeaderBytes is %d; it is at most 1 MiB", l.HTTP.MaxHeaderBytes)
	}
	positive(bad, "headerTimeout", l.HTTP.HeaderTimeout)
	positive(bad, "idleTimeout", l.HTTP.IdleTimeout)
	positive(bad, "bodyTimeout", l.HTTP.BodyTimeout)
	positive(bad, "udpIdleTimeout", l.UDPIdleTimeout)
}

func (s *Service) validate(bad func(string, ...any)) {
	ids := map[string]bool{}
	for i, t := range s.Targets {
		if t.ID == "" {
			bad("targets[%d] has no ID", i)
		}
		if ids[t.ID] {
			bad("target %q is there twice", t.ID)
		}
		ids[t.ID] = true
		if t.Host == "" && len(t.Addresses) == 0 {
			bad("target %q has neither a host nor an address", t.ID)
		}
		if t.Host != "" && !hostname.MatchString(t.Host) {
			bad("target %q: host %q is not a host name", t.ID, t.Host)
		}
		for _, a := range t.Addresses {
			if _, err := netip.ParseAddr(a); err != nil {
				bad("target %q: %q is not an IP address", t.ID, a)
			}
		}
		switch t.State {
		case "", TargetActive, TargetStandby, TargetDraining:
		default:
			bad("target %q: state %q is unknown; use active, standby or draining", t.ID, t.State)
		}
	}
	switch s.Balance {
	case "", BalanceLeastConnections, BalanceRoundRobin, BalanceRandomTwo, BalanceSource:
	default:
		bad("balance %q is unknown; use leastConnections, roundRobin, randomTwo or source", s.Balance)
	}
	if s.Hold.MaxRequests < 0 || s.Hold.MaxBytes < 0 {
		bad("hold: bounds must not be negative")
	}
	positive(bad, "hold.maxWait", s.Hold.MaxWait)
	positive(bad, "drainTimeout", s.DrainTimeout)
	positive(bad, "transferTimeout", s.TransferTimeout)
	positive(bad, "longLivedDeadline", s.LongLivedDeadline)
	positive(bad, "connectTimeout", s.ConnectTimeout)
	if p := s.Probe; p != nil {
		switch p.Type {
		case "", ProbeTCP, ProbeHTTP:
		default:
			bad("probe type %q is unknown; use tcp or http", p.Type)
		}
		if !port(p.Port) {
			bad("probe port %d: ports are 1 to 65535", p.Port)
		}
		if p.Path != "" && (p.Path[0] != '/' || strings.ContainsFunc(p.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f })) {
			bad("probe path %q must begin with / and have no spaces or control characters", p.Path)
		}
		if p.HostHeader != "" && strings.ContainsFunc(p.HostHeader, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			bad("probe hostHeader %q has spaces or control characters", p.HostHeader)
		}
		if p.Failing < 0 || p.Passing < 0 {
			bad("probe: failing and passing must not be negative")
		}
		positive(bad, "probe.interval", p.Interval)
		positive(bad, "probe.timeout", p.Timeout)
	}
}

// overlaps finds listeners that cannot be told apart. Their addresses and ports are valid.
func (s *DesiredState) overlaps() (problems []error) {
	for i := range s.Listeners {
		for j := range i {
			a, b := &s.Listeners[j], &s.Listeners[i]
			if (a.Protocol == ProtocolUDP) != (b.Protocol == ProtocolUDP) || a.LastPort() < b.Port || b.LastPort() < a.Port {
				continue
			}
			pa, _ := a.Prefix()
			pb, _ := b.Prefix()
			if pa != pb {
				continue
			}
			if host := commonHost(a.Hosts, b.Hosts); host != "" {
				problems = append(problems, fmt.Errorf("listeners %q and %q have the same address and port, and both want %s", a.Name, b.Name, host))
			}
			if a.Connection() != b.Connection() {
				problems = append(problems, fmt.Errorf("listeners %q and %q share a port, so what applies before the Host is known must be the same: protocol, trusted proxies, PROXY protocol and limits", a.Name, b.Name))
			}
		}
	}
	return problems
}

func commonHost(a, b []string) string {
	if len(a) == 0 && len(b) == 0 {
		return "every host"
	}
	for _, x := range a {
		for _, y := range b {
			if strings.EqualFold(x, y) {
				return "host " + x
			}
		}
	}
	return ""
}

// Connection is what must be the same for all listeners of one port, in a comparable form.
func (l *Listener) Connection() any {
	return struct {
		protocol Protocol
		trusted  string
		in       bool
		out      string
		limits   HTTPLimits
	}{l.Protocol, strings.Join(l.TrustedProxies, " "), l.ProxyProtocolIn, l.ProxyProtocolOut, l.HTTP}
}

// LastPort is the last port of the range.
func (l *Listener) LastPort() int {
	if l.PortEnd == 0 {
		return l.Port
	}
	return l.PortEnd
}

// Prefix is Address as a prefix; the zero prefix means every address.
func (l *Listener) Prefix() (netip.Prefix, error) {
	if l.Address == "" {
		return netip.Prefix{}, nil
	}
	return ParsePrefix(l.Address)
}

// ParsePrefix reads an IP address or a prefix.
func ParsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func port(p int) bool { return p > 0 && p < 1<<16 }

func positive(bad func(string, ...any), name string, d Duration) {
	if d < 0 {
		bad("%s is %s; it must not be negative", name, d)
	}
}
