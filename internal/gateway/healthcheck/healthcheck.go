// SPDX-License-Identifier: Apache-2.0

// Package healthcheck has gateways leave out containers whose healthchecks fail. A gateway does not
// see the engine; the daemon tells it, and says it again and again: what nobody says any more does not count.
package healthcheck

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/gateway/boxes"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

const (
	// renewEvery is how often gateways are told again what is unhealthy, lasting how long that counts.
	renewEvery = 20 * time.Second
	lasting    = time.Minute
	// tellAtOnce is how many projects are told at once.
	tellAtOnce = 16
	// watchRetry is the pause when the engine refuses to be watched.
	watchRetry = time.Minute
)

// Engine knows of healthchecks.
type Engine interface {
	// UnhealthyContainers are the IDs of containers whose healthchecks fail, by Compose project.
	UnhealthyContainers(ctx context.Context) (map[string][]string, error)
	Watch(ctx context.Context, filter docker.EventFilter, fn func(docker.Event)) error
}

// Gateways are those of all applications.
type Gateways interface {
	// List returns the gateways of a Compose project.
	List(ctx context.Context, project string) ([]boxes.Box, error)
	// Mark tells one which of its targets are unhealthy.
	Mark(ctx context.Context, gateway string, u gatewayapi.Unhealthy) error
}

// Teller tells gateways of healthchecks.
type Teller struct {
	Engine   Engine
	Gateways Gateways
	// Clock is the real one by default.
	Clock clock.WithTicker

	told   map[string]*told // by project
	missed bool             // the last look found nothing out
}

// told is what the gateways of a project were told last.
type told struct {
	ids     []string
	until   time.Time // when that does not count any more
	problem string    // why one of them may not know it
}

// Start tells them until ctx ends.
func (t *Teller) Start(ctx context.Context) error {
	if t.Clock == nil {
		t.Clock = clock.RealClock{}
	}
	ctx = logr.NewContext(ctx, logr.FromContextOrDiscard(ctx).WithName("healthcheck"))
	news := news{worse: make(chan struct{}, 1), better: make(chan struct{}, 1)}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		t.watch(ctx, news)
	}()
	defer func() { <-watching }()
	ticker := t.Clock.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-news.worse:
		case <-news.better:
			if len(t.told) == 0 && !t.missed {
				continue // as in every update: containers that started are healthy
			}
		case <-ticker.C():
		}
		t.look(ctx)
	}
}

// news say when the health of something may have changed. Each has one element at most.
type news struct {
	worse  chan struct{} // or nobody knows
	better chan struct{} // a container is healthy, which gateways take it for if they were told nothing
}

func (n news) of(e docker.Event) {
	which := n.worse
	if e.Action == "health_status: "+docker.HealthHealthy {
		which = n.better
	}
	select {
	case which <- struct{}{}:
	default:
	}
}

// watch passes on what the engine says of healthchecks.
func (t *Teller) watch(ctx context.Context, news news) {
	filter := docker.EventFilter{Types: []string{"container"}, Actions: []string{"health_status"}}
	for ctx.Err() == nil {
		err := t.Engine.Watch(ctx, filter, news.of)
		if ctx.Err() != nil {
			return
		}
		logr.FromContextOrDiscard(ctx).Error(err, "the engine's healthchecks cannot be watched; they are looked at now and then only")
		select {
		case <-ctx.Done():
		case <-t.Clock.After(watchRetry):
		}
	}
}

// look tells the gateways of all projects in which something is unhealthy, or was when they were told last.
func (t *Teller) look(ctx context.Context) {
	log := logr.FromContextOrDiscard(ctx)
	found, err := t.Engine.UnhealthyContainers(ctx)
	if t.missed = err != nil; t.missed {
		if ctx.Err() == nil {
			log.V(1).Info("nobody knows which containers are unhealthy", "reason", err.Error())
		}
		return // what was told counts for a while
	}
	projects := map[string][]string{}
	for project := range t.told {
		projects[project] = nil
	}
	maps.Copy(projects, found)
	var mu sync.Mutex
	next := map[string]*told{}
	var all errgroup.Group
	all.SetLimit(tellAtOnce) // one that hangs must not make the others forget
	for project, ids := range projects {
		all.Go(func() error {
			slices.Sort(ids)
			now := t.tellAgain(ctx, project, ids)
			mu.Lock()
			defer mu.Unlock()
			if now != nil {
				next[project] = now
			}
			return nil
		})
	}
	_ = all.Wait() // none of them fails
	t.told = next
}

// tellAgain tells the gateways of one project and says what is new to the log. It returns nil if there is nothing that has to
// be said again.
func (t *Teller) tellAgain(ctx context.Context, project string, ids []string) *told {
	log := logr.FromContextOrDiscard(ctx).WithValues("project", project)
	before := t.told[project]
	if before == nil {
		before = &told{}
	}
	now := &told{ids: ids, until: t.Clock.Now().Add(lasting)}
	if len(ids) == 0 {
		now.until = before.until // it ends by itself where that cannot be said
	}
	has, err := t.tell(ctx, project, ids)
	if err != nil {
		now.problem = err.Error()
	}
	switch {
	case ctx.Err() != nil:
	case err != nil && now.problem != before.problem:
		log.Info("a gateway does not know which containers are unhealthy", "reason", now.problem)
	case has && !slices.Equal(ids, before.ids):
		log.Info("the healthchecks of containers say otherwise now", "unhealthy", ids)
	}
	if err == nil && !has || len(ids) == 0 && (err == nil || !t.Clock.Now().Before(now.until)) {
		return nil
	}
	return now
}

// tell tells the gateways of one project, and reports whether there are any.
func (t *Teller) tell(ctx context.Context, project string, ids []string) (has bool, err error) {
	list, err := t.Gateways.List(ctx, project)
	if err != nil {
		return false, err
	}
	for _, b := range list {
		if !b.Running {
			continue
		}
		u := gatewayapi.Unhealthy{Targets: ids}
		if len(ids) > 0 {
			u.For = gatewayapi.Duration(lasting)
		}
		if markErr := t.Gateways.Mark(ctx, b.Name, u); markErr != nil {
			err = fmt.Errorf("the gateway %s: %w", b.Name, markErr)
		}
	}
	return len(list) > 0, err
}
