// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

func fixedPorts(svc compose.Service) []compose.Port {
	return slices.DeleteFunc(slices.Clone(svc.Ports), func(p compose.Port) bool { return !p.Fixed() })
}

// chosenFrom is the range that the gateway chooses a port of the host from; "" if the Compose file names it.
func chosenFrom(p compose.Port) string {
	switch {
	case p.Fixed():
		return ""
	case p.Published == "" || p.Published == "0":
		return layout.AnyPort
	default:
		return p.Published
	}
}

// published are the ports of the host for a service, each replica's where the gateway chooses them: so many would the
// containers have, and whoever knows them all may use any.
func published(svc compose.Service, containers []docker.Container) ([]layout.Publish, error) {
	var out []layout.Publish
	for _, p := range svc.Ports {
		one := layout.Publish{
			HostIP: p.HostIP, UDP: p.Protocol == "udp", App: p.App, Service: svc.Name, Target: int(p.Target), From: chosenFrom(p),
		}
		if one.From == "" {
			var err error
			if one.HostPort, err = strconv.Atoi(p.Published); err != nil {
				return nil, fmt.Errorf("the service %s publishes the port %q, which is no number", svc.Name, p.Published)
			}
			out = append(out, one)
			continue
		}
		own := ownPorts(svc, p, containers)
		for n := range max(svc.Replicas, len(own)) {
			if one.HostPort = 0; n < len(own) {
				one.HostPort = own[n]
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// ownPorts are the ports of the range that the Compose file gives for p which running containers of a service have
// themselves: somebody may know them. Those without a range are others after each start anyway, and may be somebody else's at the next.
func ownPorts(svc compose.Service, p compose.Port, containers []docker.Container) []int {
	if from := chosenFrom(p); from == "" || from == layout.AnyPort {
		return nil
	}
	var out []int
	for _, c := range containers {
		if c.Service != svc.Name || !c.Running() {
			continue
		}
		for _, h := range c.Ports {
			if h.ContainerPort == int(p.Target) && h.Protocol == p.Protocol && h.HostPort != 0 && sameAddress(h.HostIP, p.HostIP) && !slices.Contains(out, h.HostPort) {
				out = append(out, h.HostPort)
			}
		}
	}
	slices.Sort(out)
	return out
}

// handover are the host ports of a service that its running containers have
// and the gateway is to have, or the other way round; "" if none change hands.
func handover(d wanted, containers []docker.Container) string {
	given := !d.gateway && slices.ContainsFunc(containers, func(c docker.Container) bool {
		return c.Service == d.Name && c.Running() && isBehind(c)
	})
	var ports []string
	for _, p := range d.Ports {
		from := chosenFrom(p)
		for _, own := range ownPorts(d.Service, p, containers) {
			if d.gateway {
				p.Published = strconv.Itoa(own)
				ports = append(ports, hostPort(p))
			}
		}
		one := d.Service
		one.Ports = []compose.Port{p}
		if d.gateway && from == "" && heldByItself(one, containers) != "" || given && from != layout.AnyPort {
			ports = append(ports, hostPort(p))
		}
	}
	return strings.Join(slices.Compact(ports), ", ")
}

// keeps reports whether a gateway publishes what containers of a service are to publish themselves, in so far as both cannot.
func keeps(p layout.Publish, svc compose.Service) bool {
	return heldPort(svc, publishing(p)) != "" || p.Service == svc.Name && p.From != "" && p.From != layout.AnyPort
}

// choices says which ports of the host the gateway chose for a service, or will.
func choices(svc compose.Service, have []boxes.Box) []string {
	var out []string
	for _, p := range svc.Ports {
		from := chosenFrom(p)
		if from == "" {
			continue
		}
		var chosen []string
		for _, q := range chosenFor(svc, p, have) {
			chosen = append(chosen, q.Address())
		}
		text := "the gateway publishes the port " + strconv.Itoa(int(p.Target))
		if len(chosen) > 0 {
			text += " as " + joinAnd(chosen) + " of the host, and keeps to that"
		} else {
			text += " as a port of the host out of " + from + ", and keeps to that"
		}
		out = append(out, text)
	}
	return out
}

// chosenFor are the ports of the host that gateways have chosen for a port of a service.
func chosenFor(svc compose.Service, p compose.Port, have []boxes.Box) []layout.Publish {
	var out []layout.Publish
	for _, b := range have {
		for _, q := range b.Publish {
			if q.Service == svc.Name && q.From != "" && q.Target == int(p.Target) && q.UDP == (p.Protocol == "udp") && q.HostIP == p.HostIP {
				out = append(out, q)
			}
		}
	}
	return out
}
