// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// Host is the engine and the machine that it runs on.
type Host struct {
	Engine          docker.Engine
	MemoryAvailable int64
	Disk            Disk
}

// Host looks at the engine and its machine. Disk and memory are of the machine
// that the daemon runs on; they stay zero where they cannot be seen.
func (o *Observer) Host(ctx context.Context) (Host, error) {
	info, err := o.Engine.Info(ctx)
	if err != nil {
		return Host{}, err
	}
	h := Host{Engine: info}
	if d, err := DiskAt(info.DockerRootDir); err == nil {
		h.Disk = d
	}
	if m, err := MemoryAvailable(); err == nil {
		h.MemoryAvailable = m
	}
	return h, nil
}

// Disk is the room in a file system, in bytes.
type Disk struct {
	Free, Total int64
}

// DiskAt tells the room in the file system that holds path, as far as this
// process can see the path.
func DiskAt(path string) (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Disk{}, fmt.Errorf("look at the file system of %s: %w", path, err)
	}
	return Disk{Free: int64(st.Bavail) * st.Bsize, Total: int64(st.Blocks) * st.Bsize}, nil
}

// MemoryAvailable is the memory in bytes that new programs can use without
// swapping: MemAvailable of /proc/meminfo.
func MemoryAvailable() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) >= 2 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo does not tell MemAvailable")
}
