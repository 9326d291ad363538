// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// PathUnhealthy takes (PUT) an Unhealthy, in the place of the one before.
const PathUnhealthy = "/v1/unhealthy"

// maxMarked is the longest time for which targets may be marked: a mark that nobody renews must not last.
const maxMarked = time.Hour

// Unhealthy are targets of which somebody else says that they are not healthy: the engine, whose
// healthchecks fail there. They get nothing new as long as their service has others. It is kept in
// memory only, and is no part of the DesiredState.
type Unhealthy struct {
	// Version is [Version].
	Version string `json:"version"`
	// Targets are the IDs of all of them, in any service; those that the gateway does not have do not matter.
	Targets []string `json:"targets,omitempty"`
	// For is how long that counts, should nobody say it again. Required where there are Targets; at most 1 h.
	For Duration `json:"for,omitzero"`
}

// Validate says what is wrong.
func (u *Unhealthy) Validate() error {
	switch {
	case u.Version != Version:
		return fmt.Errorf("version is %q, this gateway knows %q", u.Version, Version)
	case len(u.Targets) > 0 && (u.For <= 0 || time.Duration(u.For) > maxMarked):
		return fmt.Errorf("for is %s, it must be above 0 and at most %s", time.Duration(u.For), maxMarked)
	}
	return nil
}

// Mark tells the gateway which targets are unhealthy.
func (c *Client) Mark(ctx context.Context, u Unhealthy) error {
	u.Version = Version
	data, err := json.Marshal(u)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, PathUnhealthy, data, nil)
}
