// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// treeAttempts is the attempt at going back from which on the containers do not wait for
// the working tree any more: without them the application may be down.
const treeAttempts = 3

// passes reports whether an error of a working tree goes away by waiting.
func passes(err error) bool {
	return errors.Is(err, source.ErrLocked) || errors.Is(err, source.ErrUnreachable)
}

func localEdits(err error) bool {
	edits := (*source.LocalEditsError)(nil)
	return asError(err, &edits)
}

// moving moves the working tree to the commit of the request, beside what finds out what
// the containers need. The function that it returns waits for the end, each time that it is
// called, and must be: the tree is not to move when the step has ended.
func (s *run) moving(ctx context.Context, w *workspace) (moved func() error) {
	ended := make(chan error, 1)
	go func() {
		ended <- s.together(func() error {
			if err := s.rec.Begun(ctx); err != nil {
				return err
			}
			return w.repo.MoveTo(ctx, s.Request.Status.Commit)
		})
	}()
	return sync.OnceValue(func() error {
		if err := <-ended; err != nil {
			return s.unmoved(s.Request.Status.Commit, err)
		}
		return nil
	})
}

// unmoved is what the error of a working tree, that was to follow to a commit, means for
// the step. Somebody's edits that are in the way end the update before a container was
// touched; so does, after many attempts, what does not go away: containers may mount
// files of which some are of one commit and some of the other.
func (s *run) unmoved(commit string, err error) error {
	switch {
	case localEdits(err):
		return failure.Terminalf(v1alpha1.ReasonLocalEdits, "the working tree cannot follow to %s: %w", Short(commit), err)
	case !passes(err) && !isContextError(err) && s.attemptNumber() >= patientAttempts:
		return failure.Terminalf(cmp.Or(hostFault(err), v1alpha1.ReasonHostConflict), "the working tree cannot follow to %s, tried %d times: %w",
			Short(commit), s.attemptNumber(), err)
	}
	return fmt.Errorf("move the working tree to %s: %w", Short(commit), err)
}

// bareWorkspace is the workspace where the one with all that belongs to it cannot be had
// because of err. A working tree goes back without credentials: only content of submodules and
// LFS may need them. Containers come back also where Git is missing; then the error stays.
func (s *run) bareWorkspace(ctx context.Context, err error) (*workspace, error) {
	w := &workspace{dir: s.Application.Spec.Compose.Directory, app: s.Application}
	repo, openErr := s.clones.get(ctx, s.Request.UID, w.dir, source.Options{URL: s.Application.Spec.Source.URL, DefaultRef: s.Application.Spec.Source.Ref})
	if openErr != nil {
		return w, err
	}
	head, openErr := repo.Head(ctx)
	if openErr != nil {
		return w, err
	}
	s.say("Git is used without credentials: %v", err)
	w.repo, w.head = repo, head
	return w, nil
}

// treeMayFollow reports whether the containers wait for another attempt at bringing the
// working tree back, whose files they mount. What may take long is not waited for.
func (s *run) treeMayFollow(err error) bool {
	return err != nil && !passes(err) && !localEdits(err) && s.attemptNumber() < treeAttempts
}

// broughtBack is how going back ends: old containers that mount files of the new commit
// are not what ran before, and a person must look.
func broughtBack(result *v1alpha1.RollbackStatus, treeErr error) error {
	if treeErr == nil {
		return nil
	}
	return &failure.Terminal{Reason: v1alpha1.ReasonRollbackFailed, Message: result.Message, Err: treeErr}
}
