// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// Target is a container that requests go to.
type Target struct {
	// ID in full.
	ID string
	// Addresses by network, as far as they are known.
	Addresses map[string]string
	// Draining gets nothing new, and finishes what it has.
	Draining bool
}

// Traffic is how the requests of a service are passed on. Zero values are the gateway's defaults.
type Traffic struct {
	// Protocol is what is spoken on ports of TCP of which Compose does not tell.
	Protocol gatewayapi.Protocol
	Balance  gatewayapi.Balance
	// Hold bounds what waits.
	Hold gatewayapi.Hold
	// Drain, Transfer and LongLived are how long a target that gets nothing new may finish what it
	// has: requests, uploads and downloads, and what has no end of its own.
	Drain, Transfer, LongLived time.Duration
	// Probe looks at the targets; with port 0 at their first port of TCP.
	Probe *gatewayapi.Probe
	// AcceptProxy and SendProxy are for what comes in by published ports.
	AcceptProxy bool
	SendProxy   string
}

// Route is where the traffic of a service goes.
type Route struct {
	Targets []Target
	// Held lets what is new wait.
	Held bool
	// HoldUntil is when all that waits goes on by itself; never if it is zero.
	HoldUntil time.Time
	// Traffic is how its requests are passed on.
	Traffic Traffic
	// Ports that containers of the service listen on.
	Ports []Port
}

// Settings are what is the same for all services of an application.
type Settings struct {
	Application    string
	TrustedProxies []string
	// Subnets of networks, by name.
	Subnets map[string][]string
}

// State is what the gateway in a box is told, without a revision.
func State(b Box, routes map[string]Route, set Settings) *gatewayapi.DesiredState {
	out := &gatewayapi.DesiredState{Version: gatewayapi.Version, Application: set.Application}
	if b.Front {
		out.Listeners = published(b, routes, set)
	} else {
		out.Listeners = named(b, routes, set)
	}
	used := map[string]bool{}
	for _, l := range out.Listeners {
		used[l.Service] = true
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		out.Services = append(out.Services, service(name, routes[name], b))
	}
	return out
}

func service(name string, r Route, b Box) gatewayapi.Service {
	s := gatewayapi.Service{
		Name: name, Hold: r.Traffic.Hold, Balance: r.Traffic.Balance, Probe: probe(r),
		DrainTimeout: gatewayapi.Duration(r.Traffic.Drain), TransferTimeout: gatewayapi.Duration(r.Traffic.Transfer),
		LongLivedDeadline: gatewayapi.Duration(r.Traffic.LongLived),
	}
	if r.Held {
		s.Hold.Until = r.HoldUntil
	}
	s.Hold.Enabled = r.Held
	for _, t := range r.Targets {
		target := gatewayapi.Target{ID: t.ID, Host: t.ID[:min(12, len(t.ID))], State: gatewayapi.TargetActive}
		if t.Draining {
			target.State = gatewayapi.TargetDraining
		}
		for _, network := range slices.Sorted(maps.Keys(b.Networks)) {
			if a := t.Addresses[network]; a != "" {
				target.Addresses = append(target.Addresses, a)
			}
		}
		s.Targets = append(s.Targets, target)
	}
	return s
}

// probe is the route's; none if there is no port to look at.
func probe(r Route) *gatewayapi.Probe {
	if r.Traffic.Probe == nil {
		return nil
	}
	p := *r.Traffic.Probe
	for _, port := range r.Ports {
		if p.Port == 0 && !port.UDP {
			p.Port = port.Number
		}
	}
	if p.Port == 0 {
		return nil
	}
	return &p
}

// named listens on the ports of the services that the box has names of, in each
// network only on those that belong there.
func named(b Box, routes map[string]Route, set Settings) []gatewayapi.Listener {
	var out []gatewayapi.Listener
	for _, network := range slices.Sorted(maps.Keys(b.Owners)) {
		owners := slices.Sorted(maps.Values(b.Owners[network]))
		owners = slices.Compact(owners)
		claims := map[Port]int{}
		for _, name := range owners {
			for _, p := range routes[name].Ports {
				claims[p.bare()]++
			}
		}
		for _, subnet := range set.Subnets[network] {
			for _, name := range owners {
				for _, p := range routes[name].Ports {
					if claims[p.bare()] > 1 {
						continue // Plan parts them; until then nothing must go to the wrong one
					}
					out = append(out, gatewayapi.Listener{
						Name: fmt.Sprintf("%s %s %d%s", name, subnet, p.Number, transport(p.UDP)), Address: subnet,
						Port: p.Number, TargetPort: p.Number, Service: name, Internal: true, Protocol: protocol(p.App, p.UDP, routes[name].Traffic),
					})
				}
			}
		}
	}
	return out
}

func published(b Box, routes map[string]Route, set Settings) []gatewayapi.Listener {
	var out []gatewayapi.Listener
	for _, p := range b.Publish {
		r, ok := routes[p.Service]
		if !ok {
			continue
		}
		l := gatewayapi.Listener{
			Name: p.Address() + " " + p.Service, Port: p.Inside, TargetPort: p.Target, Service: p.Service,
			Protocol: protocol(spoken(r, p), p.UDP, r.Traffic), TrustedProxies: set.TrustedProxies,
		}
		if !p.UDP {
			l.ProxyProtocolIn, l.ProxyProtocolOut = r.Traffic.AcceptProxy && len(set.TrustedProxies) > 0, r.Traffic.SendProxy
		}
		out = append(out, l)
	}
	return out
}

// spoken is what a published port speaks.
func spoken(r Route, p Publish) string {
	if p.App == "" {
		for _, port := range r.Ports {
			if port.Number == p.Target && port.UDP == p.UDP {
				return port.App
			}
		}
	}
	return p.App
}

func transport(udp bool) string {
	if udp {
		return "/udp"
	}
	return ""
}

// protocol is what is made of Compose's app_protocol. Others than these are as it is set, or found
// out: they may be HTTP under another name.
func protocol(app string, udp bool, set Traffic) gatewayapi.Protocol {
	switch {
	case udp:
		return gatewayapi.ProtocolUDP
	case app == "http", app == "http2":
		return gatewayapi.ProtocolHTTP
	case app == "h2c":
		return gatewayapi.ProtocolH2C
	case app == "grpc":
		return gatewayapi.ProtocolGRPC
	case app == "tcp", app == "https", app == "tls":
		return gatewayapi.ProtocolTCP
	case set.Protocol != "":
		return set.Protocol
	default:
		return gatewayapi.ProtocolAuto
	}
}

// Serving tells of each service in a state which containers get its traffic, and
// whether it is held now.
func Serving(s *gatewayapi.DesiredState, now func() time.Time) (active map[string][]string, held map[string]bool) {
	active, held = map[string][]string{}, map[string]bool{}
	if s == nil {
		return active, held
	}
	for _, svc := range s.Services {
		active[svc.Name] = []string{}
		for _, t := range svc.Targets {
			if t.State == "" || t.State == gatewayapi.TargetActive {
				active[svc.Name] = append(active[svc.Name], t.ID)
			}
		}
		slices.Sort(active[svc.Name])
		held[svc.Name] = svc.Hold.Holds(now)
	}
	return active, held
}
