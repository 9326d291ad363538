// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"net"
	"testing"

	"github.com/docker/docker/api/types/network"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

const routesHead = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

// inContainer are the routes of a container whose router is 172.18.0.1.
const inContainer = routesHead + "eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\neth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"

func TestDefaultRouter(t *testing.T) {
	for name, tt := range map[string]struct{ table, want string }{
		"a container": {inContainer, "172.18.0.1"},
		"a tunnel":    {routesHead + "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n", ""},
		"no way out":  {routesHead + "eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n", ""},
		"nothing":     {"", ""},
	} {
		if got := defaultRouter(tt.table); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// Only the router of a bridge is the host.
func TestHostRouter(t *testing.T) {
	all := []network.Summary{
		{ID: "b", Driver: "bridge", Options: map[string]string{"com.docker.network.bridge.name": "docker0"}}, {ID: "b2", Driver: "bridge"}, {ID: "m", Driver: "macvlan"},
		{ID: "bare", Driver: "bridge", Options: map[string]string{"com.docker.network.bridge.inhibit_ipv4": "true"}},
	}
	router, other := "172.18.0.1", "172.19.0.1"
	for name, tt := range map[string]struct {
		routes       string
		mine         map[string]docker.Endpoint
		host, reason string
		bridges      bool
	}{
		"a bridge":                         {inContainer, map[string]docker.Endpoint{"n": {NetworkID: "b", Gateway: router}}, router, "", true},
		"two bridges":                      {inContainer, map[string]docker.Endpoint{"n": {NetworkID: "b", Gateway: router}, "o": {NetworkID: "b2", Gateway: other}}, router, "", true},
		"macvlan":                          {inContainer, map[string]docker.Endpoint{"n": {NetworkID: "m", Gateway: router}}, "", noBridge, false},
		"a bridge and macvlan":             {inContainer, map[string]docker.Endpoint{"n": {NetworkID: "b", Gateway: router}, "o": {NetworkID: "m", Gateway: other}}, router, "", false},
		"out by macvlan":                   {inContainer, map[string]docker.Endpoint{"n": {NetworkID: "b", Gateway: other}, "o": {NetworkID: "m", Gateway: router}}, "", noBridge, false},
		"a bridge without the host":        {inContainer, map[string]docker.Endpoint{"n": {NetworkID: "bare", Gateway: router}}, "", noBridge, false},
		"a network that nobody knows":      {inContainer, map[string]docker.Endpoint{"n": {NetworkID: "?", Gateway: router}}, "", noBridge, false},
		"a router of its own":              {inContainer, map[string]docker.Endpoint{"n": {NetworkID: "b", Gateway: other}}, "", noBridge, true},
		"none, as in an internal network":  {routesHead, map[string]docker.Endpoint{"n": {NetworkID: "b", Gateway: router}}, "", outOfReach, false},
		"networks that could not be found": {inContainer, nil, "", noBridge, true},
	} {
		if host, reason, bridges := hostRouter(tt.routes, tt.mine, all); host != tt.host || reason != tt.reason || bridges != tt.bridges {
			t.Errorf("%s: %q, %q, %t", name, host, reason, bridges)
		}
	}
}

func TestOfThisHost(t *testing.T) {
	local := ofThisHost()
	for address, want := range map[string]bool{"127.0.0.1": true, "203.0.113.9": false} {
		if got := local(net.ParseIP(address)); got != want {
			t.Errorf("%s: %t, want %t", address, got, want)
		}
		if got := oneHop(t.Context(), net.ParseIP(address)); got != want {
			t.Errorf("%s in one hop: %t, want %t", address, got, want)
		}
	}
}
