// SPDX-License-Identifier: Apache-2.0

// Package self finds the container that this process runs in, if it runs in one
// of the engine that it works with.
package self

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// Inspector looks at a container; *docker.Client is one.
type Inspector interface {
	// InspectContainer fails with docker.IsNotFound when there is none.
	InspectContainer(ctx context.Context, id string) (docker.Container, error)
}

// ErrNoContainer says that this process runs in no container of the engine.
var ErrNoContainer = errors.New("this process runs in no container of the Docker engine")

// Find returns the container that this process runs in. The error wraps
// ErrNoContainer when it runs in none, or in one of another engine.
func Find(ctx context.Context, inspector Inspector) (docker.Container, error) {
	// Without a name, what the kernel shows is left.
	hostname, _ := os.Hostname()
	return find(ctx, inspector, os.DirFS("/proc/self"), hostname)
}

func find(ctx context.Context, inspector Inspector, proc fs.FS, hostname string) (docker.Container, error) {
	for _, candidate := range candidates(proc, hostname) {
		c, err := inspector.InspectContainer(ctx, candidate)
		if docker.IsNotFound(err) {
			continue // another engine's, or none at all
		}
		if err != nil {
			return docker.Container{}, fmt.Errorf("find the container that this process runs in: %w", err)
		}
		// A name that happens to be the same is not meant.
		if c.Running() && strings.HasPrefix(c.ID, candidate) {
			return c, nil
		}
	}
	return docker.Container{}, ErrNoContainer
}

// candidates are IDs that may be this process's container, the surest first.
func candidates(proc fs.FS, hostname string) []string {
	var out []string
	add := func(file string, parse func(io.Reader) string) {
		r, err := proc.Open(file)
		if err != nil {
			return // not Linux, or not shown: the other ways are left
		}
		defer func() { _ = r.Close() }()
		if id := parse(r); id != "" && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	add("mountinfo", fromMounts)
	add("cgroup", fromCgroup)
	// Docker calls a host by the first twelve digits of its container's ID.
	if shortID.MatchString(hostname) && !slices.ContainsFunc(out, func(id string) bool { return strings.HasPrefix(id, hostname) }) {
		out = append(out, hostname)
	}
	return out
}

var (
	mountedFile = regexp.MustCompile(`/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)$`)
	cgroupPath  = regexp.MustCompile(`(?:/docker/|/docker-)([0-9a-f]{64})(?:\.scope)?$`)
	shortID     = regexp.MustCompile(`^[0-9a-f]{12}$`)
)

// fromMounts finds the ID in what the engine mounts over files of /etc, which it
// does for host networking too. Elsewhere the host's own list has IDs of other
// containers in it.
func fromMounts(r io.Reader) string {
	return scan(r, func(line string) string {
		fields := strings.Fields(line)
		if len(fields) < 5 || !slices.Contains([]string{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}, fields[4]) {
			return ""
		}
		return submatch(mountedFile, fields[3])
	})
}

// fromCgroup finds the ID in the names of control groups; with cgroup v2 and
// namespaces they do not tell.
func fromCgroup(r io.Reader) string {
	return scan(r, func(line string) string { return submatch(cgroupPath, line) })
}

func submatch(re *regexp.Regexp, s string) string {
	if m := re.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

func scan(r io.Reader, find func(line string) string) string {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if id := find(lines.Text()); id != "" {
			return id
		}
	}
	return ""
}
