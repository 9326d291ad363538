// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

// letGoTimeout is how long requests may take to end at a gateway whose ports another one takes over: nobody
// listens meanwhile.
const letGoTimeout = time.Second

// TakeOver lets the gateway b, which was opened beside them, have the ports of the host that the named gateways
// publish, and removes these. The ports have nobody from the moment the others stop listening until the engine
// has connected b, which takes it some tenths of a second. If b cannot have them, it is removed, and the others go on.
func (k *Keeper) TakeOver(ctx context.Context, project string, b layout.Box, from []string) error {
	ended := make([]docker.Container, len(from))
	var stops errgroup.Group
	for i, name := range from {
		stops.Go(func() error {
			have, err := k.Engine.InspectContainer(ctx, name)
			if docker.IsNotFound(err) {
				return nil
			}
			if err == nil {
				err = ofProject(have, project)
			}
			if err != nil {
				return err
			}
			ended[i] = have
			_, err = k.Engine.StopAndKeep(ctx, have.ID, letGoTimeout, "")
			return err
		})
	}
	err := stops.Wait()
	if err == nil {
		err = k.Name(ctx, b)
	}
	if err != nil {
		// What it was told is of no use in no network, and it may have met another one's port.
		return errors.Join(err, k.goOn(ctx, project, b, ended))
	}
	for i, name := range from {
		if ended[i].ID != "" {
			err = errors.Join(err, k.Close(ctx, project, name))
		}
	}
	return err
}

// goOn starts gateways again whose ports b could not have.
func (k *Keeper) goOn(ctx context.Context, project string, b layout.Box, ended []docker.Container) error {
	err := k.Close(ctx, project, b.Name)
	for _, c := range ended {
		if c.ID == "" || c.State != docker.StateRunning {
			continue
		}
		again := k.Engine.SetRestartPolicy(ctx, c.ID, c.RestartPolicy)
		if again == nil {
			again = k.Engine.Start(ctx, c.ID)
		}
		if again == nil {
			again = k.answers(ctx, c.Name, c.ID)
		}
		err = errors.Join(err, again)
	}
	return err
}

// leaveNetworks takes a gateway out of all networks. The engine publishes ports when a container joins the first.
func (k *Keeper) leaveNetworks(ctx context.Context, container string) error {
	have, err := k.Engine.InspectContainer(ctx, container)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(have.Networks)) {
		if err := k.Engine.NetworkDisconnect(ctx, name, have.ID, true); err != nil {
			return fmt.Errorf("disconnect the gateway %s from the network %s: %w", have.Name, name, err)
		}
	}
	return nil
}
