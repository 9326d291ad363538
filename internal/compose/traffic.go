// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Traffic is what x-fairlead says of how the gateway passes requests on. The zero value of a
// field means: not set there.
type Traffic struct {
	// Protocol is "Auto", "HTTP" or "TCP".
	Protocol string
	// Balance is "LeastConnections", "RoundRobin", "RandomTwo" or "Source".
	Balance string
	// HoldTimeout, HoldRequests and HoldBytes bound what waits while the service is replaced.
	HoldTimeout  time.Duration
	HoldRequests int
	HoldBytes    int64
	// TransferTimeout and LongLivedTimeout are how long uploads and downloads, and connections without
	// an end of their own, may go on with an old container.
	TransferTimeout, LongLivedTimeout time.Duration
	// Probe looks at the containers; nil when not set.
	Probe *TargetProbe
	// AcceptProxyProtocol is nil when not set; SendProxyProtocol is "V1", "V2" or "Off".
	AcceptProxyProtocol *bool
	SendProxyProtocol   string
}

// TargetProbe is how the gateway looks at containers.
type TargetProbe struct {
	// Path to GET, "" to connect only.
	Path string
	// Port of the containers, 0 for the first of the service.
	Port int
	// Interval, Timeout, Failing and Passing are 0 when not set.
	Interval, Timeout time.Duration
	Failing, Passing  int
}

// trafficKeys are the keys of x-fairlead that Traffic.set reads.
var trafficKeys = []string{"protocol", "balance", "holdRequests", "holdBytes", "probe", "acceptProxyProtocol", "sendProxyProtocol"}

var (
	extensionProtocols = []string{"Auto", "HTTP", "TCP"}
	extensionBalances  = []string{"LeastConnections", "RoundRobin", "RandomTwo", "Source"}
	extensionProxies   = []string{"V1", "V2", "Off"}
)

// set reads the value of a key, and says what is wrong with it.
func (t *Traffic) set(key string, value any) (problem string) {
	text, _ := value.(string)
	switch key {
	case "protocol":
		if !slices.Contains(extensionProtocols, text) {
			return "must be one of " + strings.Join(extensionProtocols, ", ")
		}
		t.Protocol = text
	case "balance":
		if !slices.Contains(extensionBalances, text) {
			return "must be one of " + strings.Join(extensionBalances, ", ")
		}
		t.Balance = text
	case "holdRequests":
		n, ok := whole(value)
		if !ok || n < 1 || n > 1e6 {
			return "must be a number from 1 to 1000000"
		}
		t.HoldRequests = int(n)
	case "holdBytes":
		n, ok := whole(value)
		if !ok {
			if strings.HasSuffix(text, "i") {
				text += "B" // as Kubernetes writes it
			}
			size, err := units.RAMInBytes(text)
			if err != nil || size < 0 {
				return "must be a size such as 16Mi or 16mb"
			}
			n = uint64(size)
		}
		if n < 1 || n > 1<<40 {
			return "must be a size such as 16Mi or 16mb"
		}
		t.HoldBytes = int64(n)
	case "probe":
		probe, why := parseProbe(value)
		if why != "" {
			return why
		}
		t.Probe = probe
	case "acceptProxyProtocol":
		accept, ok := value.(bool)
		if !ok {
			return "must be true or false"
		}
		t.AcceptProxyProtocol = &accept
	case "sendProxyProtocol":
		if off, isBool := value.(bool); isBool && !off {
			text = "Off"
		}
		if !slices.Contains(extensionProxies, text) {
			return "must be one of " + strings.Join(extensionProxies, ", ")
		}
		t.SendProxyProtocol = text
	}
	return ""
}

func parseProbe(value any) (probe *TargetProbe, problem string) {
	settings, ok := value.(map[string]any)
	if !ok {
		return nil, "must be a mapping such as `probe: {path: /health, interval: 2s}`"
	}
	probe = &TargetProbe{}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		v := settings[key]
		text, _ := v.(string)
		n, isNumber := whole(v)
		switch key {
		case "path":
			if !strings.HasPrefix(text, "/") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				return nil, "has a path that does not begin with / or has spaces or control characters"
			}
			probe.Path = text
		case "port":
			if !isNumber || n < 1 || n > 65535 {
				return nil, "has a port that is none"
			}
			probe.Port = int(n)
		case "interval", "timeout":
			d, err := time.ParseDuration(text)
			if err != nil || d <= 0 {
				return nil, fmt.Sprintf("has a %s that is no duration such as 2s", key)
			}
			if key == "interval" {
				probe.Interval = d
			} else {
				probe.Timeout = d
			}
		case "failing", "passing":
			if !isNumber || n < 1 || n > 100 {
				return nil, fmt.Sprintf("has a %s that is no number from 1 to 100", key)
			}
			if key == "failing" {
				probe.Failing = int(n)
			} else {
				probe.Passing = int(n)
			}
		default:
			return nil, fmt.Sprintf("has the key %s: it may have failing, interval, passing, path, port, timeout", key)
		}
	}
	return probe, ""
}
