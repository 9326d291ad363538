// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/network"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// vantage is where the daemon asks from.
type vantage struct {
	// inside a container with a network of its own.
	inside bool
	// host is an address of the host there, "" if none is known, for the reason.
	host, reason string
	// service of the application that the daemon runs in, "" if it is none of it.
	service string
	// local reports whether an address is one of the host's, as far as that can be known.
	local func(net.IP) bool
}

// address is where what is published on an address of the host answers, or the reason why that is not known.
func (v vantage) address(hostIP, port string) (address, reason string) {
	ip := net.ParseIP(hostIP)
	switch {
	case hostIP == "" || ip.Equal(net.IPv4zero):
		hostIP = "127.0.0.1"
		if v.inside {
			hostIP, reason = v.host, v.reason
		}
	case v.inside && (ip.IsLoopback() || ip.IsUnspecified()):
		reason = outOfReach
	case ip.IsUnspecified():
		hostIP = "::1"
	case ip.IsLoopback():
	case v.inside && v.host == "":
		reason = v.reason
	case !v.local(ip):
		reason = notOurs
	}
	if reason != "" {
		return "", reason
	}
	return net.JoinHostPort(hostIP, port), ""
}

// vantage finds out where the daemon runs.
func (s *run) vantage(ctx context.Context, project string) (vantage, error) {
	own, err := s.ownContainer(ctx)
	if err != nil {
		return vantage{}, err
	}
	if own == "" {
		return vantage{local: ofThisHost()}, nil
	}
	var c docker.Container
	var networks []network.Summary
	err = s.together(
		func() (err error) { c, err = s.Docker.InspectContainer(ctx, own); return err },
		func() (err error) { networks, err = s.Docker.NetworkList(ctx, network.ListOptions{}); return err },
	)
	if err != nil {
		return vantage{}, err
	}
	v := vantage{local: ofThisHost()}
	if c.Labels[docker.LabelProject] == project {
		v.service = c.Service
	}
	if other, ok := strings.CutPrefix(c.NetworkMode, "container:"); ok {
		if c, err = s.Docker.InspectContainer(ctx, other); err != nil {
			return vantage{}, err
		}
	}
	if c.NetworkMode == "host" {
		return v, nil
	}
	v.inside = true
	// Without it, nothing is reached.
	routes, _ := os.ReadFile("/proc/self/net/route")
	var bridges bool
	v.host, v.reason, bridges = hostRouter(string(routes), c.Networks, networks)
	v.local = func(ip net.IP) bool { return bridges && oneHop(ctx, ip) }
	return v, nil
}

// ofThisHost reports of addresses whether an interface has them, which for a process in the host's network are the host's.
func ofThisHost() func(net.IP) bool {
	have, err := net.InterfaceAddrs()
	return func(ip net.IP) bool {
		return err == nil && slices.ContainsFunc(have, func(a net.Addr) bool {
			n, ok := a.(*net.IPNet)
			return ok && n.IP.Equal(ip)
		})
	}
}

// hostRouter is the address of the host for a container with a table of routes and with networks of the engine's. Only the router of
// a bridge is the host: that of a macvlan or ipvlan network is another machine. bridges says that the container has no other networks.
func hostRouter(routes string, mine map[string]docker.Endpoint, all []network.Summary) (host, reason string, bridges bool) {
	router := defaultRouter(routes)
	if router == "" {
		return "", outOfReach, false
	}
	reason, bridges = noBridge, true
	for _, e := range mine {
		i := slices.IndexFunc(all, func(n network.Summary) bool { return n.ID == e.NetworkID })
		if i < 0 || !hostsBridge(all[i]) {
			bridges = false
		} else if e.Gateway == router {
			host, reason = router, ""
		}
	}
	return host, reason, bridges
}

// hostsBridge reports whether a network is a bridge on which the host has an address.
func hostsBridge(n network.Summary) bool {
	without, _ := strconv.ParseBool(n.Options["com.docker.network.bridge.inhibit_ipv4"])
	return n.Driver == "bridge" && !without
}

// defaultRouter is the router of a table of the kernel's; "" if there is none.
func defaultRouter(table string) string {
	lines := bufio.NewScanner(strings.NewReader(table))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[2] == "00000000" || f[7] != "00000000" {
			continue
		}
		if b, err := hex.DecodeString(f[2]); err == nil && len(b) == net.IPv4len {
			slices.Reverse(b) // as this machine has it in memory: a little-endian one
			return net.IP(b).String()
		}
	}
	return ""
}

// nearby is how long an address of the host takes at most to say that nobody listens at a port. It is a function call away.
const nearby = 50 * time.Millisecond

// oneHop reports whether an address answers a packet that no router may pass on: in a container with bridges only, the next hop is
// the host. It asks at a port where hardly anybody listens; what is published there is passed on, and is taken for elsewhere.
func oneHop(ctx context.Context, ip net.IP) bool {
	d := net.Dialer{Timeout: nearby, Control: func(network, _ string, c syscall.RawConn) (err error) {
		if ctlErr := c.Control(func(fd uintptr) {
			if network == "tcp6" {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 1)
			} else {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 1)
			}
		}); ctlErr != nil {
			return ctlErr
		}
		return err
	}}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), "1"))
	if err == nil {
		_ = c.Close()
	}
	return err == nil || errors.Is(err, syscall.ECONNREFUSED)
}
