// SPDX-License-Identifier: Apache-2.0

// Package engine is hostaccess.Host by the Docker engine and the file system.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/hostaccess"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// Engine is what is asked of the Docker engine.
type Engine interface {
	ProjectContainers(ctx context.Context, project string) ([]docker.Container, error)
	Logs(ctx context.Context, c docker.Container, o docker.LogOptions, send func([]docker.LogLine) error) error
}

// Host is a hostaccess.Host.
type Host struct{ Engine Engine }

var _ hostaccess.Host = Host{}

// Unfit implements hostaccess.Host.
func (Host) Unfit(dir string) string { return observe.Unfit(dir) }

// ContainerLog implements hostaccess.Host. Only containers of the application's own
// Compose project are found.
func (h Host) ContainerLog(ctx context.Context, app *v1alpha1.Application, q hostaccess.LogQuery, to hostaccess.LogReceiver) error {
	if app.Status.Project == "" {
		return fmt.Errorf("the Compose project of %s is not known yet: %w", app.Name, hostaccess.ErrNotFound)
	}
	all, err := h.Engine.ProjectContainers(ctx, app.Status.Project)
	if err != nil {
		return err
	}
	c, ok := choose(all, q)
	if !ok {
		return fmt.Errorf("%s has no container of the service %q with the name %q: %w", app.Name, q.Service, q.Container, hostaccess.ErrNotFound)
	}
	id := c.ID[:min(12, len(c.ID))]
	if err := to.Begin(hostaccess.Container{ID: id, Name: c.Name, Service: c.Service, State: c.State}); err != nil {
		return err
	}
	o := docker.LogOptions{Tail: q.Tail, Follow: q.Follow}
	numbers := numbering{container: id}
	if q.After != nil && q.After.Container == id {
		o.Tail, o.Since = -1, q.After.Time
		numbers.after = q.After
	}
	var out []hostaccess.Line
	return h.Engine.Logs(ctx, c, o, func(lines []docker.LogLine) error {
		out = out[:0]
		for _, l := range lines {
			if line, fresh := numbers.next(l); fresh {
				out = append(out, line)
			}
		}
		if len(out) == 0 {
			return nil
		}
		return to.Lines(out)
	})
}

// choose finds the container that is meant: one that runs before one that does
// not, then the newest.
func choose(all []docker.Container, q hostaccess.LogQuery) (docker.Container, bool) {
	if q.Service == "" && q.Container == "" {
		return docker.Container{}, false
	}
	fit := slices.DeleteFunc(slices.Clone(all), func(c docker.Container) bool {
		return q.Service != "" && c.Service != q.Service || q.Container != "" && c.Name != q.Container
	})
	if len(fit) == 0 {
		return docker.Container{}, false
	}
	rank := func(c docker.Container) int {
		if c.Running() {
			return 0
		}
		return 1
	}
	return slices.MinFunc(fit, func(a, b docker.Container) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.Created.Compare(a.Created), cmp.Compare(a.Name, b.Name))
	}), true
}

// numbering gives lines their positions, and leaves out those that were seen.
type numbering struct {
	container string
	after     *hostaccess.Position
	last      time.Time
	index     int
}

func (n *numbering) next(l docker.LogLine) (_ hostaccess.Line, fresh bool) {
	if l.Time.Equal(n.last) {
		n.index++
	} else {
		n.last, n.index = l.Time, 0
	}
	line := hostaccess.Line{
		Position: hostaccess.Position{Container: n.container, Time: l.Time, Index: n.index}, Stream: "stdout", Text: l.Text,
	}
	if l.Stderr {
		line.Stream = "stderr"
	}
	if a := n.after; a != nil && (l.Time.Before(a.Time) || l.Time.Equal(a.Time) && n.index <= a.Index) {
		return line, false
	}
	return line, true
}

// errOutside says that what an object names is not where backups are.
var errOutside = errors.New("the backup is not in the backup directory of its application")
