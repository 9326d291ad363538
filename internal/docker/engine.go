// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/build"
)

// Engine describes one Docker engine and its host.
type Engine struct {
	// ID is stable for the life of the engine's data directory.
	ID string
	// Version such as "20.10.24+dfsg1"; APIVersion the newest it speaks.
	Version, APIVersion string
	// OS is "linux" or "windows", Arch such as "x86_64", Name the host's name.
	OS, Arch, Name string
	CPUs           int
	// MemTotal is the host's memory in bytes.
	MemTotal      int64
	DockerRootDir string
	StorageDriver string
	// BuildKit says that images can be built through the engine's BuildKit.
	BuildKit bool
	// LiveRestore says that containers outlive a restart of the engine.
	LiveRestore bool
	// Containers and Images count what is there, in any state;
	// ContainersRunning those that run.
	Containers, ContainersRunning, Images int
}

// AtLeast compares the engine's version with one like "20.10". A version that
// is not made of numbers (a development build) is never at least anything.
func (e Engine) AtLeast(version string) bool {
	return len(versionNumbers(e.Version)) > 0 && compareVersions(e.Version, version) >= 0
}

// Info asks the engine about itself.
func (c *Client) Info(ctx context.Context) (Engine, error) {
	ping, err := c.Ping(ctx)
	if err != nil {
		return Engine{}, fmt.Errorf("ask the engine about itself: %w", err)
	}
	i, err := c.Client.Info(ctx)
	if err != nil {
		return Engine{}, fmt.Errorf("ask the engine about itself: %w", err)
	}
	return Engine{
		ID: i.ID, Version: i.ServerVersion, APIVersion: ping.APIVersion,
		OS: i.OSType, Arch: i.Architecture, Name: i.Name, CPUs: i.NCPU, MemTotal: i.MemTotal,
		DockerRootDir: i.DockerRootDir, StorageDriver: i.Driver, LiveRestore: i.LiveRestoreEnabled,
		Containers: i.Containers, ContainersRunning: i.ContainersRunning, Images: i.Images,
		// Engine 20.10 leaves the builder unnamed unless it is configured,
		// but has BuildKit all the same; "1" is an administrator's choice.
		BuildKit: i.OSType == "linux" && ping.BuilderVersion != build.BuilderV1,
	}, nil
}

// Usage is the disk space that the engine's objects take, in bytes.
type Usage struct {
	Images, Containers, Volumes, BuildCache int64
	// UnusedImages is what images take that no container uses; layers that
	// they share with others do not count, so it is a lower bound.
	UnusedImages int64
	// UnusedBuildCache is what cache records take that are not in use.
	UnusedBuildCache int64
}

// DiskUsage adds up disk space. The engine walks all its data for it, which
// can take many seconds.
func (c *Client) DiskUsage(ctx context.Context) (Usage, error) {
	d, err := c.Client.DiskUsage(ctx, types.DiskUsageOptions{})
	if err != nil {
		return Usage{}, fmt.Errorf("ask the engine for its disk usage: %w", err)
	}
	u := Usage{Images: d.LayersSize}
	for _, i := range d.Images {
		if i.Containers == 0 {
			u.UnusedImages += i.Size - max(i.SharedSize, 0)
		}
	}
	for _, ct := range d.Containers {
		u.Containers += ct.SizeRw
	}
	for _, v := range d.Volumes {
		if v.UsageData != nil {
			u.Volumes += max(v.UsageData.Size, 0)
		}
	}
	for _, r := range d.BuildCache {
		if r.Shared {
			continue // counted with the images
		}
		u.BuildCache += r.Size
		if !r.InUse {
			u.UnusedBuildCache += r.Size
		}
	}
	return u, nil
}

// compareVersions compares dotted numbers; missing ones are 0, and whatever
// follows the numbers ("-rc.1", "+dfsg1") is not looked at.
func compareVersions(a, b string) int {
	x, y := versionNumbers(a), versionNumbers(b)
	for i := range max(len(x), len(y)) {
		var p, q int
		if i < len(x) {
			p = x[i]
		}
		if i < len(y) {
			q = y[i]
		}
		if p != q {
			if p < q {
				return -1
			}
			return 1
		}
	}
	return 0
}

// versionNumbers reads the leading dotted numbers; nil if there are none.
func versionNumbers(v string) []int {
	v = strings.TrimPrefix(v, "v")
	if i := strings.IndexFunc(v, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		v = v[:i]
	}
	var out []int
	for part := range strings.SplitSeq(v, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		out = append(out, n)
	}
	return out
}
