// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/backup"
	"github.com/fairlead-dev/fairlead/internal/claim"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/jobs"
)

// tidyTimeout is how long the end of a request that failed may be held up.
const tidyTimeout = time.Minute

// endsHere reports whether a request comes to no CleanUp after its step ended with
// err: it failed or was cancelled before anything was touched, or is undone.
func (s *run) endsHere(err error) bool {
	if s.Request.Spec.DryRun || s.Request.Spec.RestoreFrom != nil {
		return false // nothing was made; or all that was saved is left for another try
	}
	switch s.Step {
	case v1alpha1.StepPreflight, v1alpha1.StepBackup, v1alpha1.StepFetch, v1alpha1.StepBuild:
		return failure.AsTerminal(err) != nil || errors.Is(err, jobs.ErrCancelled)
	case v1alpha1.StepRollback:
		return err == nil
	}
	return false
}

// tidy keeps backups, logs and images to their limits after an update that did not
// succeed, so that failing over and over does not fill the disk. Releases and
// containers stay as they are, and so do the request's own backup and images. It is
// not needed for anything: what could not be done is told.
func (s *run) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	w := &workspace{dir: s.Application.Spec.Compose.Directory, app: s.Application}
	if _, err := os.Stat(backup.Dir(w.dir)); err != nil {
		return // the directory is none, or nothing was ever made in it
	}
	held, err := claim.Shared(w.dir)
	if err != nil {
		return // a restore by hand reads the backups
	}
	defer func() { _ = held.Release() }()
	releases, err := s.Store.Releases(ctx, s.Application)
	if err == nil {
		var own []string
		for _, u := range s.Request.Status.Services {
			own = append(own, u.ImageID)
		}
		err = s.together(
			func() error { return s.cleanBackups(ctx, w, releases) },
			func() error { return s.cleanImages(ctx, nil, releases, own) },
			func() error { return s.cleanLogs(ctx, w) },
			func() error {
				if err := s.cleanWork(w); !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				return nil
			},
		)
	}
	if err != nil {
		s.say("not everything could be cleaned up: %v", err)
	}
}
