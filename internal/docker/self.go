// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"regexp"
)

var containerInMounts = regexp.MustCompile(`/containers/([0-9a-f]{64})/(?:hostname|resolv\.conf|hosts) `)

// OwnContainer returns the ID of the container of this engine that this process
// runs in; "" where it runs in none, or in one of another engine.
func OwnContainer(ctx context.Context, c *Client) (string, error) {
	// The engine mounts files from the container's own directory.
	data, err := os.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return ownContainer(ctx, c, string(data))
}

func ownContainer(ctx context.Context, c *Client, mountinfo string) (string, error) {
	m := containerInMounts.FindStringSubmatch(mountinfo)
	if m == nil {
		return "", nil
	}
	found, err := c.InspectContainer(ctx, m[1])
	if IsNotFound(err) {
		return "", nil
	}
	return found.ID, err
}
