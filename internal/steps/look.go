// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"time"

	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/observe"
)

// look is what there was of an application at a time; the zero value is nothing known, and so is each nil in one.
type look struct {
	project    *compose.Project
	containers []docker.Container
	gateways   []boxes.Box
	at         time.Time
}

// recent reports whether it may be decided by still.
func (l look) recent() bool { return !l.at.IsZero() && time.Since(l.at) <= justNow }

// lookAt looks at the containers of a project, unless it was just now.
func (s *run) lookAt(ctx context.Context, project string, seen look) (look, error) {
	if seen.recent() {
		return seen, nil
	}
	now := time.Now()
	containers, err := observe.Containers(ctx, s.Docker, project)
	return look{project: seen.project, containers: containers, at: now}, err
}

// lookAround looks at the containers of a project and at its gateways.
func (s *run) lookAround(ctx context.Context, project string) (look, error) {
	seen := look{at: time.Now()}
	err := s.together(
		func() (err error) {
			seen.containers, err = observe.Containers(ctx, s.Docker, project)
			return err
		},
		func() (err error) {
			if s.Gateways != nil {
				seen.gateways, err = s.Gateways.List(ctx, project)
			}
			return err
		},
	)
	return seen, err
}

// imageOf is the image that new containers of a service are made from; the zero
// value if it is gone.
func (e *executor) imageOf(ctx context.Context, service string) (docker.Image, error) {
	id := e.images[service].id
	if id == "" {
		return docker.Image{}, nil
	}
	img, err := e.Docker.ImageContent(ctx, id)
	if docker.IsNotFound(err) {
		return docker.Image{}, nil
	}
	return img, err
}
