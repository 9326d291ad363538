// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ParseProxies reads addresses and networks, such as 10.0.0.7 or 10.0.0.0/8.
func ParseProxies(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("trusted proxies: %q is neither an IP address nor a network such as 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("trusted proxies: %s is everybody: any client could then pretend to be another one; name the proxies", text)
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("trusted proxies: write %s as IPv4", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// BehindProxies has handlers see, as the address of a request that a trusted proxy
// handed on, that of the proxy's client. What anybody else says in
// X-Forwarded-For counts for nothing.
func BehindProxies(trusted []netip.Prefix, next http.Handler) http.Handler {
	if len(trusted) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client, ok := clientOf(r, trusted); ok {
			r = r.Clone(r.Context())
			r.RemoteAddr = client
		}
		next.ServeHTTP(w, r)
	})
}

// clientOf is the last address that is not a trusted proxy's, read from the end, at
// which each proxy adds whom it was asked by; the port of it is not known.
func clientOf(r *http.Request, trusted []netip.Prefix) (string, bool) {
	at, ok := address(r.RemoteAddr)
	if !ok || !within(trusted, at) {
		return "", false
	}
	said := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	found := false
	for _, text := range slices.Backward(said) {
		before, ok := address(strings.TrimSpace(text))
		if !ok {
			break // what lies behind it cannot be known
		}
		at, found = before, true
		if !within(trusted, at) {
			break
		}
	}
	return net.JoinHostPort(at.String(), "0"), found
}

// address reads an IP address, with or without a port.
func address(text string) (netip.Addr, bool) {
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return addr.Unmap().WithZone(""), err == nil
}

func within(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}
