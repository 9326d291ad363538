// SPDX-License-Identifier: Apache-2.0

// Package self finds the container that this process runs in.
package self

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// ErrNoContainer says that this process runs in no container of the engine.
var ErrNoContainer = errors.New("this process runs in no container of the Docker engine")

// Inspector looks at containers; *docker.Client is one.
type Inspector interface {
	// InspectContainer returns the container with the ID; docker.IsNotFound is
	// true for the error when there is none.
	InspectContainer(ctx context.Context, id string) (docker.Container, error)
}

// Find returns the container that this process runs in. The error wraps
// ErrNoContainer when it runs in none, or in one of another engine.
func Find(ctx context.Context, inspector Inspector) (docker.Container, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return docker.Container{}, err
	}
	return find(ctx, inspector, os.DirFS("/proc/self"), hostname)
}

var (
	// mounted are the files that the engine mounts into every container.
	mounted = regexp.MustCompile(`/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)`)
	full    = regexp.MustCompile(`[0-9a-f]{64}`)
	short   = regexp.MustCompile(`^[0-9a-f]{12}$`)
)

func find(ctx context.Context, inspector Inspector, proc fs.FS, hostname string) (docker.Container, error) {
	for _, id := range candidates(proc, hostname) {
		c, err := inspector.InspectContainer(ctx, id)
		switch {
		case docker.IsNotFound(err):
			continue
		case err != nil:
			return docker.Container{}, fmt.Errorf("look at the own container: %w", err)
		case strings.HasPrefix(c.ID, id): // and not one that merely has that name
			return c, nil
		}
	}
	return docker.Container{}, ErrNoContainer
}

// candidates are the IDs that may be ours, the surest first: cgroups tell nothing
// with version 2, and somebody may have set the host's name.
func candidates(proc fs.FS, hostname string) []string {
	var ids []string
	add := func(id string) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	// What cannot be read tells nothing; the next source may.
	if text, err := fs.ReadFile(proc, "mountinfo"); err == nil {
		for _, m := range mounted.FindAllSubmatch(text, -1) {
			add(string(m[1]))
		}
	}
	if text, err := fs.ReadFile(proc, "cgroup"); err == nil {
		for _, id := range full.FindAll(text, -1) {
			add(string(id))
		}
	}
	if short.MatchString(hostname) {
		add(hostname)
	}
	return ids
}
