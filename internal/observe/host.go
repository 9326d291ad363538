// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	// Projects are the Compose projects that have containers.
	Projects []Project
}

// Project is a Compose project on the engine.
type Project struct {
	docker.Project
	// Unfit says why no Application can be made of its directory; empty if one can.
	Unfit string
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
	if m, err := HostMemory(); err == nil {
		h.MemoryAvailable = m.Available
	}
	projects, err := o.Engine.Projects(ctx)
	if err != nil {
		return Host{}, err
	}
	for _, p := range projects {
		h.Projects = append(h.Projects, Project{Project: p, Unfit: Unfit(p.Directory)})
	}
	return h, nil
}

// Usage adds up what the engine's objects take. It can take many seconds.
func (o *Observer) Usage(ctx context.Context) (docker.Usage, error) { return o.Engine.DiskUsage(ctx) }

// composeNames are those that Compose looks for.
var composeNames = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}

// Unfit says why no Application can be made of a directory; empty if one can: it
// is in a Git clone and has a Compose file. It tells no more of the directory than
// that.
func Unfit(dir string) string {
	switch info, err := os.Stat(dir); {
	case dir == "" || !filepath.IsAbs(dir):
		return "its directory is not known"
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such directory where the daemon runs"
	case err != nil:
		return "the daemon may not look at the directory"
	case !info.IsDir():
		return "it is no directory"
	}
	if !slices.ContainsFunc(composeNames, func(name string) bool {
		info, err := os.Stat(filepath.Join(dir, name))
		return err == nil && info.Mode().IsRegular()
	}) {
		return "it has no Compose file of the usual names (" + strings.Join(composeNames, ", ") + ")"
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			return ""
		}
		if at == filepath.Dir(at) {
			return "it is no Git clone"
		}
	}
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

// SameFilesystem reports whether two paths are in one file system, as far as this
// process can see them.
func SameFilesystem(a, b string) bool {
	var one, two unix.Stat_t
	return unix.Stat(a, &one) == nil && unix.Stat(b, &two) == nil && one.Dev == two.Dev
}

// Memory is the host's memory in bytes.
type Memory struct {
	// Total is all that programs can use.
	Total int64
	// Available is what new programs can use without swapping.
	Available int64
}

// HostMemory reads MemTotal and MemAvailable of /proc/meminfo.
func HostMemory() (Memory, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return Memory{}, err
	}
	defer f.Close()
	var m Memory
	fields := map[string]*int64{"MemTotal:": &m.Total, "MemAvailable:": &m.Available}
	for s := bufio.NewScanner(f); s.Scan() && len(fields) > 0; {
		words := strings.Fields(s.Text())
		if len(words) < 2 || fields[words[0]] == nil {
			continue
		}
		kib, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("/proc/meminfo: %s %w", words[0], err)
		}
		*fields[words[0]] = kib << 10
		delete(fields, words[0])
	}
	if len(fields) > 0 {
		return Memory{}, errors.New("/proc/meminfo does not tell MemTotal and MemAvailable")
	}
	return m, nil
}
