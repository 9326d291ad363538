// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/docker/docker/api/types/container"
)

// MemoryUsed is what the processes of a container use, in bytes, without what the
// kernel only caches for them; 0 where the engine does not know.
func (c *Client) MemoryUsed(ctx context.Context, id string) (int64, error) {
	r, err := c.ContainerStatsOneShot(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("ask for the memory of container %s: %w", shortID(id), err)
	}
	defer r.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return 0, fmt.Errorf("ask for the memory of container %s: %w", shortID(id), err)
	}
	used := s.MemoryStats.Usage
	for _, name := range []string{"total_inactive_file", "inactive_file"} { // cgroup v1, v2
		if cached, ok := s.MemoryStats.Stats[name]; ok {
			return int64(used - min(used, cached)), nil
		}
	}
	return int64(used), nil
}
