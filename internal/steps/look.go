// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
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

// leaveLook has the next step go on from what there was just now, unless hooks may change it in between.
func (s *run) leaveLook(seen look) {
	if len(s.Application.Spec.Hooks) == 0 {
		s.sights.leave(s.Request.UID, seen)
	}
}

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
func (s *run) lookAround(ctx context.Context, project string) (seen look, err error) {
	var gateways []boxes.Box
	err = s.together(
		func() (err error) { seen, err = s.lookAt(ctx, project, look{}); return err },
		func() (err error) {
			if s.Gateways != nil {
				gateways, err = s.Gateways.List(ctx, project)
			}
			return err
		},
	)
	seen.gateways = gateways
	return seen, err
}

// listing gives the releases of an application.
type listing func(ctx context.Context) ([]v1alpha1.Release, error)

// listReleases begins to list the releases, at that time. Who asks for them much later gets them as they are then.
func (s *run) listReleases(ctx context.Context, at time.Time) listing {
	first := ahead(s, func() ([]v1alpha1.Release, error) { return s.Store.Releases(ctx, s.Application) })
	return func(ctx context.Context) ([]v1alpha1.Release, error) {
		if time.Since(at) <= justNow {
			list, err := first()
			// Who records a release writes to them while others read.
			return (&v1alpha1.ReleaseList{Items: list}).DeepCopy().Items, err
		}
		return s.Store.Releases(ctx, s.Application)
	}
}

// ahead begins work, and returns what waits for it.
func ahead[T any](s *run, work func() (T, error)) func() (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		a.err = s.together(func() (err error) { a.value, err = work(); return err })
		answered <- a
	}()
	return sync.OnceValues(func() (T, error) {
		a := <-answered
		return a.value, a.err
	})
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
