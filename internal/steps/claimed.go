// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/failure"
)

// claimed runs a step while no restore by hand works on the deployment
// directory; a restore has it alone. A restore that was made since the request began has overwritten
// what the request planned with: it neither goes on nor is undone then.
func (s *run) claimed(ctx context.Context, step func(context.Context) error) (err error) {
	dir := s.Application.Spec.Compose.Directory
	take := claim.Shared
	if s.Step == v1alpha1.StepRestore {
		take = claim.Alone
	}
	c, err := take(dir)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, c.Release()) }()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		// What the step itself says of such a directory tells more.
		return step(ctx)
	default:
		return err
	}
	restored, err := claim.LastRestored(dir, s.applicationName())
	if err != nil {
		return err
	}
	began := s.Request.Status.StartedAt
	own := restored != nil && restored.Request != "" && restored.Request == string(s.Request.UID)
	if restored == nil || began == nil || !restored.At.After(began.Time) || own {
		return step(ctx)
	}
	if s.Step == v1alpha1.StepRollback || s.Step == v1alpha1.StepCleanUp {
		s.say("left as it is: %s was restored by hand since this update began", restored.Backup)
		return nil
	}
	return failure.Terminalf(v1alpha1.ReasonCancelled, "%s was restored by hand at %s, after this update began: ask for it again",
		restored.Backup, restored.At.Format(time.RFC3339))
}

// applicationName is how the deployment directory and backups tell applications
// apart.
func (s *run) applicationName() string { return s.Application.Namespace + "/" + s.Application.Name }

// restoredSince reports whether a restore by hand replaced what runs after a
// release was recorded.
func (s *run) restoredSince(r *v1alpha1.Release) (bool, error) {
	restored, err := claim.LastRestored(s.Application.Spec.Compose.Directory, s.applicationName())
	if err != nil || r == nil {
		return false, err
	}
	return restored.Since(r.CreationTimestamp.Time), nil
}
