// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

const (
	// watchRetry is the pause before a lost subscription is taken up again.
	watchRetry = 250 * time.Millisecond
	// watchOverlap is how far back a subscription reaches, so that nothing
	// falls between the subscription and the caller's next look.
	watchOverlap = time.Second
)

// EventFilter selects events; an empty field selects all. Entries of one field
// are alternatives, the fields must all match, as must all the labels.
type EventFilter struct {
	// Types are "container", "image", "volume", "network", "daemon".
	Types []string
	// Actions are "start", "die", "oom", "destroy", "health_status" and so on.
	Actions []string
	// Containers are names or IDs.
	Containers []string
	// Labels are "name" or "name=value".
	Labels []string
}

// Event is something that happened on the engine. Events are hints: one may
// come twice. Look at the object before acting on it.
type Event struct {
	// Resync marks the one event that is not the engine's: a subscription has
	// begun, for the first time or after it was lost, and what happened before
	// may have been missed. All other fields are empty.
	Resync bool
	// Type and Action as in EventFilter.
	Type, Action string
	// ID of the object.
	ID string
	// Attributes are the object's labels and details such as "name", "image"
	// and "exitCode".
	Attributes map[string]string
	Time       time.Time
}

// Watch calls fn for each event, one at a time, until ctx ends, and returns
// ctx's error. A lost subscription (engine restarted) is renewed; each one
// begins with a Resync event. Any other error than ctx's means that the engine
// refuses the filter.
func (c *Client) Watch(ctx context.Context, filter EventFilter, fn func(Event)) error {
	args := filters.NewArgs()
	for key, values := range map[string][]string{
		"type": filter.Types, "event": filter.Actions, "container": filter.Containers, "label": filter.Labels,
	} {
		for _, v := range values {
			args.Add(key, v)
		}
	}
	for {
		err := c.watchOnce(ctx, args, fn)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if cerrdefs.IsInvalidArgument(err) {
			return fmt.Errorf("watch events: %w", err)
		}
		select {
		case <-time.After(watchRetry):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watchOnce passes on the events of one subscription until it breaks.
func (c *Client) watchOnce(ctx context.Context, args filters.Args, fn func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := c.apiVersion(ctx); err != nil { // the events call reads the version without a lock
		return err
	}
	since := time.Now().Add(-watchOverlap)
	messages, errs := c.Events(ctx, events.ListOptions{
		Filters: args,
		Since:   strconv.FormatInt(since.Unix(), 10) + "." + fmt.Sprintf("%09d", since.Nanosecond()),
	})
	select {
	case err := <-errs:
		return err
	default:
		fn(Event{Resync: true})
	}
	for {
		select {
		case m := <-messages:
			fn(Event{
				Type: string(m.Type), Action: string(m.Action), ID: m.Actor.ID,
				Attributes: m.Actor.Attributes, Time: time.Unix(0, m.TimeNano).UTC(),
			})
		case err := <-errs:
			return err
		}
	}
}
