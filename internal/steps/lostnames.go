// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

// linked reports whether a container finds names by links to gateways, of which have are there.
func linked(c docker.Container, project string, have []boxes.Box) bool {
	for _, n := range c.Networks {
		for _, link := range n.Links {
			if box, _, _ := strings.Cut(link, ":"); isGateway(box, project, have) {
				return true
			}
		}
	}
	return false
}

// lookedFor are the containers at which running ones look for names, by network and name.
func lookedFor(containers []docker.Container) map[string]map[string][]string {
	out := map[string]map[string][]string{}
	for _, c := range containers {
		if !c.Running() {
			continue
		}
		for network, n := range c.Networks {
			for _, link := range n.Links {
				box, name, _ := strings.Cut(link, ":")
				if out[network] == nil {
					out[network] = map[string][]string{}
				}
				if !slices.Contains(out[network][name], box) {
					out[network][name] = append(out[network][name], box)
				}
			}
		}
	}
	return out
}

// isGateway reports whether a container of that name is, or was, a gateway of the project.
func isGateway(name, project string, have []boxes.Box) bool {
	return strings.HasPrefix(name, project+".gateway-") || slices.ContainsFunc(have, func(b boxes.Box) bool { return b.Name == name })
}

// lostNames says of each service which names of others its running containers are about to lose: those that their links
// have a gateway answer to, which is to be there no more, or is to answer for another service there. The engine looks nowhere else for a
// name that a link has, so that these containers have to be made anew.
func lostNames(want []wanted, containers []docker.Container, project string, have []boxes.Box) (map[string]string, error) {
	_, planned, err := plannedBoxes(want, containers, project, have)
	if err != nil {
		return nil, err
	}
	owner := func(network, name string, own wanted) string { // of a name, as this service knows it
		for service, link := range own.LinkNames() {
			if link == name {
				return service
			}
		}
		for _, d := range want {
			if slices.Contains(names(d.Service)[network], name) {
				return d.Name
			}
		}
		return ""
	}
	out := map[string]string{}
	for _, d := range want {
		var lost []string
		for _, c := range containers {
			if c.Service != d.Name || !c.Running() {
				continue
			}
			for _, network := range slices.Sorted(maps.Keys(c.Networks)) {
				for _, link := range c.Networks[network].Links {
					box, name, _ := strings.Cut(link, ":")
					service := owner(network, name, d)
					if service == "" || !isGateway(box, project, have) || slices.Contains(lost, name) {
						continue
					}
					if !slices.ContainsFunc(planned, func(b layout.Box) bool { return leads(b, network, box, service) }) {
						lost = append(lost, name)
					}
				}
			}
		}
		if len(lost) > 0 {
			slices.Sort(lost)
			out[d.Name] = "its container looks for " + joinAnd(lost) + " at a gateway that is to answer for that no more"
		}
	}
	return out, nil
}

// leads reports whether who asks the gateway of that name for a service comes to it in box b.
func leads(b layout.Box, network, name, service string) bool {
	return !b.Front && (b.Name == name || slices.Contains(b.Networks[network], name)) && slices.Contains(slices.Collect(maps.Values(b.Owners[network])), service)
}
