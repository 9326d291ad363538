// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/downtime"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// maxTargets bounds what probing costs.
const maxTargets = 16

// Why ports are not measured.
const (
	turnedOff    = "measuring is turned off (measureDowntime)"
	noPorts      = "no port of the host is published"
	notTCP       = "only TCP is probed"
	movingPort   = "the engine chooses another port of the host for each container"
	hostNetwork  = "uses the host's network, where it is not known on which ports it listens (expose in the Compose file names them)"
	proxyHeader  = "clients must send the header of the PROXY protocol"
	blocksProbes = "what listens there may block clients that connect and say nothing"
	outOfReach   = "Fairlead runs in a container, from which this address of the host cannot be reached"
	noBridge     = "Fairlead runs in a container whose router is not known to be this host"
	notOurs      = "this address is not known to be one of this host"
	itself       = "it is Fairlead itself"
	tooManyPorts = "more than 16 ports are published"
	silentPort   = "no probe was answered"
	cutOff       = "Fairlead was stopped meanwhile, and did not see all"
	notAsked     = "the Docker engine could not be asked for the ports"
)

// probing is what of an application is asked from outside, and what is not.
type probing struct {
	targets []downtime.Target
	// ports are the service and the port of each target, by address.
	ports      map[string][2]string
	unmeasured []v1alpha1.UnmeasuredPorts
}

// omit adds a port to those that are not measured.
func (p *probing) omit(service, port, reason string) {
	const most = 5 // named for one reason
	i := slices.IndexFunc(p.unmeasured, func(u v1alpha1.UnmeasuredPorts) bool { return u.Service == service && u.Reason == reason })
	switch {
	case i < 0:
		p.unmeasured = append(p.unmeasured, v1alpha1.UnmeasuredPorts{Service: service, Ports: port, Reason: reason})
	case port == "" || strings.HasSuffix(p.unmeasured[i].Ports, "…"):
	case strings.Count(p.unmeasured[i].Ports, ",") == most-1:
		p.unmeasured[i].Ports += ", …"
	default:
		p.unmeasured[i].Ports += ", " + port
	}
}

// keep has what was not seen in an earlier step stay told: that all is in this one does not make up for it.
func (p *probing) keep(earlier []v1alpha1.UnmeasuredPorts) {
	for _, u := range earlier {
		if (u.Reason == notAsked || u.Reason == cutOff) && !slices.Contains(p.unmeasured, u) {
			p.unmeasured = append(p.unmeasured, u)
		}
	}
}

// probing decides what is asked: the TCP ports of the host that a model publishes, and those that the engine or the
// gateway has chosen for it and that stay.
func (s *run) probing(services []compose.Service, containers []docker.Container, have []boxes.Box, from vantage) *probing {
	p := &probing{ports: map[string][2]string{}}
	var all [][]downtime.Target
	for _, svc := range services {
		if !svc.OneShot && svc.Replicas > 0 {
			all = append(all, s.probingService(p, svc, containers, have, from))
		}
	}
	// The first port of each service is worth more than the second one of any.
	for i := 0; slices.ContainsFunc(all, func(of []downtime.Target) bool { return i < len(of) }); i++ {
		for _, of := range all {
			switch {
			case i >= len(of):
			case len(p.targets) == maxTargets:
				p.omit(p.ports[of[i].Address][0], p.ports[of[i].Address][1], tooManyPorts)
			default:
				p.targets = append(p.targets, of[i])
			}
		}
	}
	if len(p.targets)+len(p.unmeasured) == 0 {
		p.omit("", "", noPorts)
	}
	return p
}

// probingService are the targets of one service.
func (s *run) probingService(p *probing, svc compose.Service, containers []docker.Container, have []boxes.Box, from vantage) (targets []downtime.Target) {
	ports := svc.Ports
	if !s.measured(svc) {
		if len(ports) > 0 || svc.NetworkMode == "host" {
			p.omit(svc.Name, "", turnedOff)
		}
		return nil
	}
	if svc.NetworkMode == "host" {
		if ports = exposed(svc); len(ports) == 0 {
			p.omit(svc.Name, "", hostNetwork)
		}
	}
	traffic := s.traffic(svc, 0)
	proxied := traffic.AcceptProxy && (s.Application.Spec.Gateway.Mode == v1alpha1.GatewayAuto || slices.ContainsFunc(containers, isBehind))
	for _, port := range ports {
		name := hostPort(port) + "/" + port.Protocol
		published := []compose.Port{port}
		if !port.Fixed() {
			published = s.staying(svc, port, containers, have)
			name = strconv.Itoa(int(port.Target)) + "/" + port.Protocol
		}
		reason := ""
		switch {
		case port.Protocol != "tcp":
			reason = notTCP
		case svc.Name == from.service:
			reason = itself
		case proxied:
			reason = proxyHeader
		case mayBlock(svc, port):
			reason = blocksProbes
		case len(published) == 0:
			reason = movingPort
		}
		if reason != "" {
			p.omit(svc.Name, name, reason)
			continue
		}
		connects := isDatabase(svc.ImageName) || isDatabase(svc.Image) || port.App == "tcp" || port.App == "" && traffic.Protocol == gatewayapi.ProtocolTCP
		for _, one := range published {
			address, reason := from.address(one.HostIP, one.Published)
			t := downtime.Target{Address: address, TCP: connects}
			if reason != "" {
				p.omit(svc.Name, hostPort(one)+"/tcp", reason)
			} else if _, ok := p.ports[t.Address]; !ok {
				p.ports[t.Address] = [2]string{svc.Name, hostPort(one) + "/tcp"}
				targets = append(targets, t)
			}
		}
	}
	return targets
}

// measured reports whether the ports of a service may be asked, the narrowest setting first.
func (s *run) measured(svc compose.Service) bool {
	set := []*bool{svc.Extension.MeasureDowntime, s.Application.Spec.Rollout.MeasureDowntime}
	for _, sr := range s.Application.Spec.Rollout.Services {
		if sr.Name == svc.Name {
			set = slices.Insert(set, 0, sr.MeasureDowntime)
		}
	}
	for _, is := range set {
		if is != nil {
			return *is
		}
	}
	return true
}

// staying are the ports of the host for one that the Compose file leaves open: those that the gateway keeps to, and those of containers that
// are not replaced. The others move, and who uses them looks them up again.
func (s *run) staying(svc compose.Service, port compose.Port, containers []docker.Container, have []boxes.Box) (out []compose.Port) {
	for _, q := range chosenFor(svc, port, have) {
		port.HostIP, port.Published = q.HostIP, strconv.Itoa(q.HostPort)
		out = append(out, port)
	}
	s.mu.Lock()
	kept := slices.ContainsFunc(s.Request.Status.Services, func(u v1alpha1.ServiceUpdate) bool {
		return u.Name == svc.Name && u.Action == v1alpha1.ActionKeep && !u.Recreate
	})
	s.mu.Unlock()
	if len(out) > 0 || !kept {
		return out
	}
	for _, c := range containers {
		for _, h := range c.Ports {
			if c.Service == svc.Name && c.Running() && h.ContainerPort == int(port.Target) && h.Protocol == port.Protocol && h.HostPort != 0 {
				port.HostIP, port.Published = h.HostIP, strconv.Itoa(h.HostPort)
				out = append(out, port)
			}
		}
	}
	return out
}

// exposed are the single ports that a service of the host's network says it listens on.
func exposed(svc compose.Service) (out []compose.Port) {
	for _, e := range svc.Expose {
		number, protocol, ok := strings.Cut(e, "/")
		if !ok {
			protocol = "tcp"
		}
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			out = append(out, compose.Port{Published: number, Target: uint16(n), Protocol: protocol})
		}
	}
	return out
}

// mayBlock reports whether a server keeps count of clients that connect and say nothing, and refuses them after a
// while, and with them whoever has the same address: MySQL and its kin, and SSH.
func mayBlock(svc compose.Service, port compose.Port) bool {
	if port.Target == 3306 || port.Target == 22 {
		return true
	}
	return slices.ContainsFunc([]string{svc.Image, svc.ImageName}, func(image string) bool {
		named, err := reference.ParseNormalizedNamed(image)
		return err == nil && slices.Contains([]string{"mysql", "mysql-server", "mariadb", "percona", "percona-server"}, path.Base(reference.Path(named)))
	})
}
