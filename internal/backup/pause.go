// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

// cleanupTimeout bounds what is done after the caller has cancelled.
const cleanupTimeout = 30 * time.Second

// cleanup returns a context for work that must be done also when ctx has ended.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
}

const journalName = "paused.json"

// journal names the containers that we pause. It is durable before the first one
// is paused, so that a crash never leaves one paused for good.
type journal struct {
	Containers []string `json:"containers"`
}

// whilePaused runs fn while those of the containers that run are paused.
func (r *Runner) whilePaused(ctx context.Context, partial string, containers []string, fn func() error) (err error) {
	var j journal
	for _, id := range containers {
		c, err := r.Engine.ContainerInspect(ctx, id)
		if docker.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("inspect container %s: %w", id, err)
		}
		if c.State != nil && c.State.Running && !c.State.Paused {
			j.Containers = append(j.Containers, id)
		}
	}
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	path := filepath.Join(partial, journalName)
	if err := r.fs().WriteFile(path, data); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := cleanup(ctx)
		defer cancel()
		resumeErr := r.resume(ctx, partial)
		if resumeErr == nil {
			resumeErr = r.fs().Remove(path)
		}
		err = errors.Join(err, resumeErr)
	}()
	for _, id := range j.Containers {
		if err := r.Engine.ContainerPause(ctx, id); err != nil {
			return fmt.Errorf("pause container %s: %w", id, err)
		}
	}
	return fn()
}

// resume unpauses what the journal in a partial directory names.
func (r *Runner) resume(ctx context.Context, partial string) error {
	data, err := os.ReadFile(filepath.Join(partial, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(partial, journalName), err)
	}
	var errs []error
	for _, id := range j.Containers {
		c, err := r.Engine.ContainerInspect(ctx, id)
		if docker.IsNotFound(err) || err == nil && (c.State == nil || !c.State.Paused) {
			continue
		}
		if err == nil {
			err = r.Engine.ContainerUnpause(ctx, id)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("container %s is paused and could not be resumed, run: docker unpause %s: %w", id, id, err))
		}
	}
	return errors.Join(errs...)
}
