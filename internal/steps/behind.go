// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
	"github.com/fairlead-dev/fairlead/internal/health"
	"github.com/fairlead-dev/fairlead/internal/release"
)

// Times of a gateway where nothing is set.
const (
	defaultHoldTimeout  = time.Minute
	defaultGatewayDrain = 30 * time.Second
	// defaultTransfer is the gateway's own.
	defaultTransfer = 10 * time.Minute
)

// putBehind decides which of the wanted services are behind the gateway: those
// that it can serve, of which something is known to listen.
func (s *run) putBehind(ctx context.Context, want []wanted, containers []docker.Container, current *v1alpha1.Release) error {
	if s.Gateways == nil || !useful(want) {
		return nil
	}
	own := ""
	if s.Self != nil {
		id, err := s.Self.Find(ctx)
		if err != nil {
			return err
		}
		for _, c := range containers {
			if id != "" && c.ID == id {
				own = c.Service
			}
		}
	}
	var left []string
	for _, d := range want {
		if servable(d.Service) && s.gatewayMode(d.Service) != v1alpha1.GatewayAuto {
			left = append(left, d.Name)
		}
	}
	direct := ""
	if len(left) > 0 {
		direct = ", but for " + strings.Join(left, ", ")
	}
	for i := range want {
		d := &want[i]
		d.direct = direct
		if d.Name == own || !servable(d.Service) || s.gatewayMode(d.Service) != v1alpha1.GatewayAuto {
			continue
		}
		before, _ := release.Service(current, d.Name)
		d.gateway = before.Gateway || len(declaredPorts(d.Service, d.image)) > 0 || len(observedPorts(d.Name, containers)) > 0
	}
	return nil
}

// useful says that an application has something to gain from a gateway.
func useful(want []wanted) bool {
	return len(want) > 1 || slices.ContainsFunc(want, func(d wanted) bool { return len(d.Ports) > 0 })
}

// servable says that a gateway can stand in front of a service: it has networks of
// its own, runs for long, and speaks what a gateway can pass on.
func servable(svc compose.Service) bool {
	return !svc.OneShot && svc.Replicas > 0 && svc.NetworkMode == "" && len(svc.Networks) > 0 &&
		!slices.ContainsFunc(svc.Ports, func(p compose.Port) bool { return p.Protocol != "tcp" && p.Protocol != "udp" })
}

// gatewayNote says why a service is not behind the gateway, or what of it is not, and what was left to the gateway to choose.
func gatewayNote(svc compose.Service, behind bool, mode v1alpha1.GatewayMode, have []boxes.Box) string {
	if behind {
		return strings.Join(slices.Concat(choices(svc, have), directParts(svc)), "; ")
	}
	network, shared := strings.CutPrefix(svc.NetworkMode, "service:")
	switch {
	case svc.OneShot:
		return "not behind the gateway: runs to its end once"
	case svc.Replicas == 0:
		return "not behind the gateway: has no replicas"
	case svc.NetworkMode == "host":
		return "not behind the gateway: uses the host's network, and is left as it is"
	case shared:
		return "not behind the gateway: lives in the network of " + network + ", and is replaced together with that"
	case svc.NetworkMode != "" || len(svc.Networks) == 0:
		return "not behind the gateway: has no network that the gateway could be in"
	case !servable(svc):
		return "not behind the gateway: publishes a port that is neither of TCP nor of UDP"
	case mode != v1alpha1.GatewayAuto:
		return "not behind the gateway: left out by a setting"
	default:
		return "not behind the gateway: nothing is known to listen in it (expose in the Compose file names ports)"
	}
}

// directParts are what of a service behind the gateway stays with its containers.
func directParts(svc compose.Service) []string {
	var parts []string
	for _, n := range svc.Networks {
		for _, a := range []string{n.IPv4Address, n.IPv6Address} {
			if a != "" {
				parts = append(parts, "the address "+a+" in "+n.Key+" stays with the container, which may listen on it by its number: "+
					"clients that go by it reach nobody while that is replaced, those that go by the name "+svc.Name+" wait")
			}
		}
	}
	return parts
}

// gatewayMode is the narrowest setting.
func (s *run) gatewayMode(svc compose.Service) v1alpha1.GatewayMode {
	mode := cmp.Or(s.Application.Spec.Gateway.Mode, v1alpha1.GatewayOff)
	if mode == v1alpha1.GatewayOff {
		return mode
	}
	for _, sr := range s.Application.Spec.Rollout.Services {
		if sr.Name == svc.Name && sr.Gateway != "" {
			mode = sr.Gateway
		}
	}
	return cmp.Or(v1alpha1.GatewayMode(svc.Extension.Gateway), mode)
}

// declaredPorts are those that the Compose file and the image name.
func declaredPorts(svc compose.Service, img docker.Image) []layout.Port {
	var out []layout.Port
	add := func(p layout.Port) {
		if !slices.ContainsFunc(out, func(o layout.Port) bool { return o.Number == p.Number && o.UDP == p.UDP }) {
			out = append(out, p)
		}
	}
	for _, p := range svc.Ports {
		add(layout.Port{Number: int(p.Target), UDP: p.Protocol == "udp", App: p.App})
	}
	for _, e := range slices.Concat(svc.Expose, img.Exposed) {
		for _, p := range parsePorts(e) {
			add(p)
		}
	}
	slices.SortFunc(out, func(a, b layout.Port) int { return a.Number - b.Number })
	return out
}

// maxRange bounds a range of ports that is taken for what a service listens on.
const maxRange = 256

// parsePorts reads "80", "80/tcp" or "8000-8010/udp"; nil for what is none.
func parsePorts(text string) []layout.Port {
	numbers, protocol, _ := strings.Cut(text, "/")
	if protocol != "" && protocol != "tcp" && protocol != "udp" {
		return nil
	}
	low, high, isRange := strings.Cut(numbers, "-")
	first, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return nil
	}
	last := first
	if isRange {
		if last, err = strconv.ParseUint(high, 10, 16); err != nil {
			return nil
		}
	}
	var out []layout.Port
	for n := first; n <= last && n < first+maxRange; n++ {
		out = append(out, layout.Port{Number: int(n), UDP: protocol == "udp"})
	}
	return out
}

// observedPorts are those on which running containers of a service listen.
func observedPorts(service string, containers []docker.Container) []layout.Port {
	seen := map[int]bool{}
	for _, c := range containers {
		if c.Service == service && c.State == docker.StateRunning {
			for _, n := range health.ListeningPorts(c.Pid, c.ID) {
				seen[n] = true
			}
		}
	}
	var out []layout.Port
	for _, n := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, layout.Port{Number: n})
	}
	return out
}

func mergePorts(sets ...[]layout.Port) []layout.Port {
	var out []layout.Port
	for _, p := range slices.Concat(sets...) {
		if !slices.ContainsFunc(out, func(o layout.Port) bool { return o.Number == p.Number && o.UDP == p.UDP }) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b layout.Port) int { return a.Number - b.Number })
	return out
}

// names are all that a service is called in its networks, by their names in the
// engine.
func names(svc compose.Service) map[string][]string {
	out := map[string][]string{}
	for _, n := range svc.Networks {
		all := append([]string{svc.Name}, n.Aliases...)
		if svc.ContainerName != "" {
			all = append(all, svc.ContainerName)
		}
		slices.Sort(all)
		out[n.Name] = slices.Compact(all)
	}
	return out
}

// layoutService is a service as the layout takes it.
func layoutService(svc compose.Service, ports []layout.Port, containers []docker.Container) (layout.Service, error) {
	publish, err := published(svc, containers)
	return layout.Service{Name: svc.Name, Networks: names(svc), Ports: ports, Publish: publish}, err
}

// missingGateway says what of the gateways of a service does not run; "" if all do.
func missingGateway(svc compose.Service, have []boxes.Box) string {
	for network, all := range names(svc) {
		if !slices.ContainsFunc(have, func(b boxes.Box) bool {
			return b.Running && slices.ContainsFunc(all, func(name string) bool { return b.Owners[network][name] == svc.Name })
		}) {
			return "the gateway that answers to its name does not run"
		}
	}
	for _, p := range svc.Ports {
		one := svc
		one.Ports = []compose.Port{p}
		if !slices.ContainsFunc(have, func(b boxes.Box) bool {
			return b.Running && slices.ContainsFunc(b.Publish, func(q layout.Publish) bool {
				return heldPort(one, publishing(q)) != "" || chosenFrom(p) != "" && q.Service == svc.Name && q.Target == int(p.Target)
			})
		}) {
			if chosenFrom(p) != "" {
				return "the gateway that publishes its port " + strconv.Itoa(int(p.Target)) + " does not run"
			}
			return "the gateway that publishes its port " + hostPort(p) + " does not run"
		}
	}
	return ""
}

// plannedBoxes are the gateways that there are, and those that there are to be, as far as the Compose file and what runs tell.
func plannedBoxes(want []wanted, containers []docker.Container, project string, have []boxes.Box) (existing, planned []layout.Box, err error) {
	in := layout.Input{Project: project, Direct: map[string][]string{}, Looked: lookedFor(containers)}
	for _, d := range want {
		if !d.gateway {
			for network, all := range names(d.Service) {
				in.Direct[network] = append(in.Direct[network], all...)
			}
			continue
		}
		one, err := layoutService(d.Service, mergePorts(declaredPorts(d.Service, d.image), observedPorts(d.Name, containers)), containers)
		if err != nil {
			return nil, nil, err
		}
		in.Services = append(in.Services, one)
	}
	for _, b := range have {
		in.Existing = append(in.Existing, b.Box)
	}
	return in.Existing, layout.Plan(in), nil
}

// anew says, of each service, what of its gateways has to be made anew.
func anew(want []wanted, containers []docker.Container, project string, have []boxes.Box) (map[string]string, error) {
	existing, planned, err := plannedBoxes(want, containers, project, have)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for service, all := range layout.Anew(existing, planned) {
		var parts []string
		ports := slices.DeleteFunc(slices.Clone(all), func(what string) bool { return what == "" })
		if len(ports) > 0 {
			parts = append(parts, "a new gateway takes over "+joinAnd(ports)+": until what is open there has ended, for at most 1s, and the new one, "+
				"which is ready before, listens")
		}
		if len(ports) < len(all) {
			parts = append(parts, "a new gateway, which is ready before, takes over its name in the networks: what is open at the old one has 8s to end, nginx is reloaded before, and other clients that keep an address have to look up the name again")
		}
		out[service] = strings.Join(parts, "; and once, as ")
	}
	return out, nil
}

// isBehind reports whether a container was made to be behind a gateway.
func isBehind(c docker.Container) bool {
	return c.Labels[v1alpha1.LabelGateway] == v1alpha1.GatewayBehind
}

// follows reports whether all services whose network a service uses are behind
// the gateway, so that its old containers go on beside the new ones.
func follows(svc compose.Service, behind map[string]bool) bool {
	all := shares(svc)
	return len(all) > 0 && !slices.ContainsFunc(all, func(name string) bool { return !behind[name] })
}
