// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// OwnStopTimeout as a timeout of Stop means the container's own stop timeout
// or, without one, the engine's (10 s).
const OwnStopTimeout time.Duration = -1

// lostEndpoint is what the engine says that kept an endpoint in a network, under the
// name of the container which is to start. A name has one container at a time: it is
// of one that is gone.
var lostEndpoint = regexp.MustCompile(`endpoint with name (\S+) already exists in network (\S+)`)

// Start starts the container; one that runs already is success. An endpoint that the
// engine has lost, as when it was killed, is removed from a network in which it is
// in the way.
func (c *Client) Start(ctx context.Context, id string) error {
	for done := map[string]bool{}; ; {
		err := c.ContainerStart(ctx, id, container.StartOptions{})
		if err == nil {
			return nil
		}
		lost := lostEndpoint.FindStringSubmatch(err.Error())
		if lost == nil || done[lost[2]] {
			return fmt.Errorf("start container %s: %w", shortID(id), err)
		}
		done[lost[2]] = true
		if out := c.removeLost(ctx, lost[1], lost[2]); out != nil {
			return fmt.Errorf("start container %s: %w; removing that endpoint: %w", shortID(id), err, out)
		}
	}
}

// removeLost removes an endpoint from a network, unless it is of a container that runs.
func (c *Client) removeLost(ctx context.Context, endpoint, of string) error {
	n, err := c.NetworkInspect(ctx, of, network.InspectOptions{})
	if err != nil {
		return err
	}
	for id, e := range n.Containers {
		if e.Name != endpoint {
			continue
		}
		owner, err := c.ContainerInspect(ctx, id) // of none, the engine gives the endpoint's own ID
		if err != nil && !IsNotFound(err) {
			return err
		}
		if err == nil && owner.State != nil && owner.State.Running {
			return fmt.Errorf("it is of the container %s, which runs", strings.TrimPrefix(owner.Name, "/"))
		}
	}
	return c.NetworkDisconnect(ctx, of, endpoint, true)
}

// Stop sends signal (empty: the container's own, usually SIGTERM), waits for
// timeout and then kills. Stop returns when the container no longer runs; one
// that is stopped or gone already is success. Timeout is rounded up to whole
// seconds; 0 kills right after the signal, OwnStopTimeout leaves it to the
// container. When ctx ends, Stop returns but the engine goes on stopping.
func (c *Client) Stop(ctx context.Context, id string, timeout time.Duration, signal string) error {
	o := container.StopOptions{Signal: signal}
	if timeout >= 0 {
		s := int(math.Ceil(timeout.Seconds()))
		o.Timeout = &s
	}
	if signal != "" && timeout != 0 {
		v, err := c.apiVersion(ctx)
		if err != nil {
			return fmt.Errorf("stop container %s: %w", shortID(id), err)
		}
		// Engines before 23 cannot stop with another signal: send it, wait,
		// then stop what is left at once.
		if compareVersions(v, "1.42") < 0 {
			over, err := c.signalAndWait(ctx, id, timeout, signal)
			if err != nil || over {
				return err
			}
			now := 0
			o.Timeout = &now
		}
	}
	if err := c.ContainerStop(ctx, id, o); err != nil && !IsNotFound(err) {
		return fmt.Errorf("stop container %s: %w", shortID(id), err)
	}
	return nil
}

// signalAndWait sends the signal and waits for the exit, at most timeout. It
// reports over when there is nothing left to stop.
func (c *Client) signalAndWait(ctx context.Context, id string, timeout time.Duration, signal string) (over bool, err error) {
	if timeout < 0 {
		ct, err := c.InspectContainer(ctx, id)
		if err != nil {
			return IsNotFound(err), ignoreNotFound(err)
		}
		timeout = 10 * time.Second
		if ct.StopTimeout != nil {
			timeout = *ct.StopTimeout
		}
	}
	if err := c.ContainerKill(ctx, id, signal); err != nil {
		if IsConflict(err) { // not running; the stop that follows settles a restarting one
			return false, nil
		}
		return IsNotFound(err), ignoreNotFound(err)
	}
	wait, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err = c.waitOnce(wait, id, container.WaitConditionNotRunning)
	if err != nil && (IsNotFound(err) || wait.Err() == nil || ctx.Err() != nil) {
		return IsNotFound(err), ignoreNotFound(err)
	}
	return false, nil
}

// StopAndKeep stops the container so that neither its restart policy nor a
// restart of the engine brings it back, and keeps it. It returns the policy
// that it had, for SetRestartPolicy when it is to come back.
func (c *Client) StopAndKeep(ctx context.Context, id string, timeout time.Duration, signal string) (RestartPolicy, error) {
	ct, err := c.InspectContainer(ctx, id)
	if err != nil {
		return RestartPolicy{}, err
	}
	if err := c.setRestartPolicy(ctx, ct, RestartPolicy{Name: "no"}); err != nil {
		return ct.RestartPolicy, err
	}
	return ct.RestartPolicy, c.Stop(ctx, id, timeout, signal)
}

// Rename gives the container the name; if it has it already, that is success.
// IsConflict is true for the error when another container has it.
func (c *Client) Rename(ctx context.Context, id, name string) error {
	ct, err := c.InspectContainer(ctx, id)
	if err != nil {
		return err
	}
	if ct.Name == name {
		return nil
	}
	if err := c.ContainerRename(ctx, id, name); err != nil {
		return fmt.Errorf("rename container %s to %s: %w", ct.Name, name, err)
	}
	return nil
}

// SetRestartPolicy changes the restart policy (an empty name is "no"); nothing
// else of the container changes, and it is not restarted.
func (c *Client) SetRestartPolicy(ctx context.Context, id string, p RestartPolicy) error {
	ct, err := c.InspectContainer(ctx, id)
	if err != nil {
		return err
	}
	return c.setRestartPolicy(ctx, ct, p)
}

func (c *Client) setRestartPolicy(ctx context.Context, ct Container, p RestartPolicy) error {
	p.Name = cmp.Or(p.Name, "no")
	if ct.RestartPolicy == p {
		return nil
	}
	_, err := c.ContainerUpdate(ctx, ct.ID, container.UpdateConfig{RestartPolicy: container.RestartPolicy{
		Name: container.RestartPolicyMode(p.Name), MaximumRetryCount: p.MaximumRetryCount,
	}})
	if err != nil {
		return fmt.Errorf("set restart policy %q of container %s: %w", p.Name, ct.Name, err)
	}
	return nil
}

// Remove removes a container that does not run; IsConflict is true for the
// error when it does. removeVolumes also removes its anonymous volumes. A
// container that is gone is success, one whose removal has begun is waited for.
func (c *Client) Remove(ctx context.Context, id string, removeVolumes bool) error {
	err := c.ContainerRemove(ctx, id, container.RemoveOptions{RemoveVolumes: removeVolumes})
	if err != nil && IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		_, err = c.waitOnce(ctx, id, container.WaitConditionRemoved)
	}
	if err := ignoreNotFound(err); err != nil {
		return fmt.Errorf("remove container %s: %w", shortID(id), err)
	}
	return nil
}

// waitRetry is how long WaitExit lets an engine that is away be.
const waitRetry = 500 * time.Millisecond

// WaitExit waits until the container does not run (one that never ran counts)
// and returns its state. It outlasts a restart of the engine. IsNotFound is
// true for the error when the container was removed.
func (c *Client) WaitExit(ctx context.Context, id string) (Container, error) {
	for {
		_, err := c.waitOnce(ctx, id, container.WaitConditionNotRunning)
		if err == nil {
			return c.InspectContainer(ctx, id)
		}
		if !IsUnavailable(err) {
			return Container{}, fmt.Errorf("wait for container %s: %w", shortID(id), err)
		}
		select {
		case <-time.After(waitRetry):
		case <-ctx.Done():
			return Container{}, context.Cause(ctx)
		}
	}
}

// waitOnce waits for the condition over one request.
func (c *Client) waitOnce(ctx context.Context, id string, condition container.WaitCondition) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results, errs := c.ContainerWait(ctx, id, condition)
	select {
	case r := <-results:
		if r.Error != nil && r.Error.Message != "" {
			return r.StatusCode, errors.New(r.Error.Message)
		}
		return r.StatusCode, nil
	case err := <-errs:
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, err
	}
}

// CopyFrom returns path of the container, running or not, as a tar stream that
// the caller must close. IsNotFound is true for the error when there is no such
// container or path.
func (c *Client) CopyFrom(ctx context.Context, containerID, path string) (io.ReadCloser, error) {
	r, _, err := c.CopyFromContainer(ctx, containerID, path)
	if err != nil {
		return nil, fmt.Errorf("copy %s from container %s: %w", path, shortID(containerID), err)
	}
	return r, nil
}

func ignoreNotFound(err error) error {
	if IsNotFound(err) {
		return nil
	}
	return err
}
