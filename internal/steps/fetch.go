// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// fetch makes sure that the tree of the commit that preflight resolved is on
// the host, and tells what changes.
func (s *run) fetch(ctx context.Context) error {
	w, err := s.opened(ctx)
	if err != nil {
		return err
	}
	commit := s.Request.Status.Commit
	here, err := w.repo.Has(ctx, commit)
	if err != nil {
		return fetchError(err)
	}
	if !here {
		if _, err := w.repo.Fetch(ctx, commit); err != nil {
			return fetchError(err)
		}
	}
	if err := w.export(ctx, commit); err != nil {
		return fetchError(err)
	}
	for _, c := range s.Request.Status.Changes {
		s.say("  %s %s (%s)", Short(c.Commit), c.Subject, c.Author)
	}
	if n := int(s.Request.Status.ChangesTotal) - len(s.Request.Status.Changes); n > 0 {
		s.say("  and %d more", n)
	}
	s.say("the tree of %s is on the host", Short(commit))
	return nil
}

// fetchError tells a repository that cannot be reached, which passes, from one
// that says no, and from a disk that is full.
func fetchError(err error) error {
	if failure.IsNoSpace(err) {
		return noRoom(err)
	}
	return terminalIf(err, v1alpha1.ReasonFetchFailed, source.ErrAuth, source.ErrNotFound, source.ErrInvalidRevision, source.ErrNoRemote)
}
