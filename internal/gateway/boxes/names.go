// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/docker/docker/api/types/network"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

// Name gives a gateway that runs the names that it is to have in its networks, so far as it has not got them.
// It is for after the gateway was told what to do: whoever asks for a name comes at once.
//
// What may be interrupted by that is none of its clients: a network is left and joined anew only where
// nobody knows it yet.
func (k *Keeper) Name(ctx context.Context, b layout.Box) error {
	have, err := k.Engine.InspectContainer(ctx, b.Name)
	if err != nil {
		return err
	}
	for _, name := range unnamed(have, b) {
		if _, in := have.Networks[name]; in { // names come with the connection
			if err := k.Engine.NetworkDisconnect(ctx, name, have.ID, false); err != nil {
				return fmt.Errorf("disconnect the gateway %s from the network %s: %w", b.Name, name, err)
			}
		}
		if err := k.connect(ctx, b, name, have.ID); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) connect(ctx context.Context, b layout.Box, name, id string) error {
	if err := k.Engine.NetworkConnect(ctx, name, id, &network.EndpointSettings{Aliases: b.Networks[name]}); err != nil {
		return fmt.Errorf("connect the gateway %s to the network %s: %w", b.Name, name, err)
	}
	return nil
}

// unnamed are the networks of b in which its container is not, or has not all names: first those
// that it has to leave for that.
func unnamed(c docker.Container, b layout.Box) []string {
	var leave, join []string
	for _, name := range slices.Sorted(maps.Keys(b.Networks)) {
		have, in := c.Networks[name]
		missing := slices.ContainsFunc(b.Networks[name], func(alias string) bool { return !slices.Contains(have.Aliases, alias) })
		switch {
		case !in:
			join = append(join, name)
		case missing:
			leave = append(leave, name)
		}
	}
	return append(leave, join...)
}
