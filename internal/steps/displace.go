// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"slices"
	"strconv"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// displace tells each target which services that go away are in its way: a
// service that was given another name wants the port and the data of the one
// before, and two databases on one volume would destroy it. Containers made by
// the request are on their way out when it is undone.
func displace(targets []plan.Target, project *compose.Project, containers []docker.Container, request string) {
	stays := map[string]bool{}
	for _, t := range targets {
		stays[t.Name] = t.Action != v1alpha1.ActionRemove
	}
	leaves := func(c docker.Container) bool {
		stay, known := stays[c.Service]
		return known && !stay || !known && request != "" && c.Labels[v1alpha1.LabelRequest] == request
	}
	for i := range targets {
		t := &targets[i]
		svc, ok := project.Service(t.Name)
		if !ok || !stays[t.Name] || t.Action == v1alpha1.ActionKeep {
			continue
		}
		for _, c := range containers {
			if leaves(c) && collide(svc, c) && !slices.Contains(t.Displaces, c.Service) {
				t.Displaces = append(t.Displaces, c.Service)
			}
		}
	}
}

// collide reports whether a container of svc and c must not run at once.
func collide(svc compose.Service, c docker.Container) bool {
	if heldPort(svc, c) != "" {
		return true
	}
	for _, m := range svc.Mounts {
		for _, have := range c.Mounts {
			switch {
			case m.ReadOnly || !have.RW || m.Anonymous || m.Type != have.Type:
			case m.Type == compose.MountVolume && m.Source == have.Name,
				m.Type == compose.MountBind && m.Source == have.Source && !harmless(m.Source):
				return true
			}
		}
	}
	for _, n := range svc.Networks {
		if e, ok := c.Networks[n.Name]; ok && n.IPv4Address != "" && n.IPv4Address == e.IP {
			return true
		}
	}
	return svc.NetworkMode == "host" && c.NetworkMode == "host"
}

// heldPort is a fixed host port of svc that c publishes when it runs; "" if there
// is none.
func heldPort(svc compose.Service, c docker.Container) string {
	for _, p := range svc.Ports {
		for _, b := range c.PortBindings {
			if p.Fixed() && p.Published == strconv.Itoa(b.HostPort) && p.Protocol == b.Protocol && sameAddress(p.HostIP, b.HostIP) {
				return hostPort(p)
			}
		}
	}
	return ""
}

// heldByItself is a fixed host port of svc that a running container of svc
// publishes: then a second copy cannot start beside it.
func heldByItself(svc compose.Service, containers []docker.Container) string {
	for _, c := range containers {
		if c.Service == svc.Name && (c.Running() || c.State == docker.StateRestarting) {
			if port := heldPort(svc, c); port != "" {
				return port
			}
		}
	}
	return ""
}

// sameAddress reports whether two addresses of the host take the same port from
// each other.
func sameAddress(a, b string) bool {
	all := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	return all(a) || all(b) || a == b
}
