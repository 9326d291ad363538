// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/docker"
)

// sweepRetry is how soon the sweep is tried again, as when the engine is away.
const sweepRetry = 10 * time.Second

// backupSweeper removes, once after the start, what a daemon that was killed
// left of its backups; above all it resumes containers that were paused for a
// copy, whose request may have been cancelled or deleted since.
type backupSweeper struct {
	reader client.Reader
	runner *backup.Runner
}

// Start runs until every application was swept, or ctx ends.
func (s *backupSweeper) Start(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx).WithName("backup")
	ticker := time.NewTicker(sweepRetry)
	defer ticker.Stop()
	for s.sweep(ctx, log) {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	return nil
}

// sweep reports whether it has to be tried again, as the engine or the API is
// away. Anything else the next backup meets again, and tells its request.
func (s *backupSweeper) sweep(ctx context.Context, log logr.Logger) (again bool) {
	var list v1alpha1.ApplicationList
	if err := s.reader.List(ctx, &list); err != nil {
		return ctx.Err() == nil
	}
	for i := range list.Items {
		app := &list.Items[i]
		err := s.runner.Sweep(ctx, backup.Dir(app.Spec.Compose.Directory))
		if err != nil && ctx.Err() == nil {
			log.Error(err, "what an interrupted backup left could not be removed", "application", client.ObjectKeyFromObject(app))
		}
		again = again || docker.IsUnavailable(err)
	}
	return again
}
