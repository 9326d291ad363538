// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

// Busy are the ports of the host that running containers have, but for those of the project's gateways.
func (k *Keeper) Busy(ctx context.Context, project string) ([]layout.Publish, error) {
	all, err := k.Engine.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the ports that containers publish: %w", err)
	}
	var out []layout.Publish
	for _, c := range all {
		if c.Labels[v1alpha1.LabelGatewayProject] == project {
			continue
		}
		for _, p := range c.Ports {
			if p.PublicPort != 0 {
				out = append(out, layout.Publish{HostIP: p.IP, HostPort: int(p.PublicPort), UDP: p.Type == "udp"})
			}
		}
	}
	return out, nil
}

// Subnets are the prefixes of networks, by the networks' names, and which of them have no way out.
func (k *Keeper) Subnets(ctx context.Context, networks []string) (subnets map[string][]string, internal map[string]bool, err error) {
	subnets, internal = map[string][]string{}, map[string]bool{}
	for _, name := range networks {
		n, err := k.Engine.NetworkInspect(ctx, name, network.InspectOptions{})
		if err != nil {
			return nil, nil, fmt.Errorf("inspect the network %s: %w", name, err)
		}
		internal[name] = n.Internal
		for _, c := range n.IPAM.Config {
			if c.Subnet != "" {
				subnets[name] = append(subnets[name], c.Subnet)
			}
		}
	}
	return subnets, internal, nil
}
