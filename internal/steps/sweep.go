// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// sweep removes containers that an earlier attempt at the step created and
// never started. The engine makes a container in several calls: one that was
// cut off in between may lack a network, a config or a secret, which nobody
// would notice before it runs. Making them anew costs next to nothing.
func (e *executor) sweep(ctx context.Context) error {
	containers := e.found
	if e.own != "" {
		// A helper may have been waited for meanwhile, and have started one.
		e.foundAt = time.Time{}
		var err error
		if containers, err = observe.Containers(ctx, e.Docker, e.project.Name()); err != nil {
			return err
		}
	}
	for _, c := range containers {
		if c.State != docker.StateCreated || c.Labels[v1alpha1.LabelRequest] != e.labels[v1alpha1.LabelRequest] || e.failed[c.ID] != "" {
			continue
		}
		e.foundAt = time.Time{}
		// It never ran, so that its anonymous volumes hold nothing.
		if err := e.Docker.Remove(context.WithoutCancel(ctx), c.ID, true); err != nil {
			return fmt.Errorf("remove the unfinished container %s: %w", c.Name, err)
		}
		e.say("%s: removed %s, which was created and never started", c.Service, c.Name)
	}
	return nil
}
