// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"os"
)

// Contained reports whether a commit (by its full SHA, which is here already) is
// in the history of a branch or tag of the remote, or of what is checked out.
// Servers give away commits that are in neither: those of pull requests of
// anybody, for one. The branches and tags are fetched again only if what was
// fetched before does not answer it, so that the common case needs no network;
// in a shallow clone that may mean the whole history. Without a remote, local
// branches and tags count.
//
// Errors: as of Fetch; ErrNotFound when the commit is not here.
func (r *Repo) Contained(ctx context.Context, sha string) (bool, error) {
	if err := r.need(ctx, sha); err != nil {
		return false, err
	}
	found, err := r.containedHere(ctx, sha)
	if found || err != nil || r.remote == "" {
		return found, err
	}
	err = r.locked(ctx, func(hold *os.File) error {
		f := fetcher{git: r.git, remote: r.remote, url: r.url, cred: r.cred, hold: hold}
		if err := f.all(ctx); err != nil {
			return err
		}
		if found, err = r.containedHere(ctx, sha); found || err != nil {
			return err
		}
		shallow, err := r.shallow()
		if err != nil || !shallow {
			return err
		}
		if err := f.all(ctx, "--unshallow"); err != nil {
			return err
		}
		found, err = r.containedHere(ctx, sha)
		return err
	})
	return found, err
}

// containedHere is Contained by what is here.
func (r *Repo) containedHere(ctx context.Context, sha string) (bool, error) {
	heads, tags := refHeads, refTags
	if r.remote == "" {
		heads, tags = "refs/heads/", "refs/tags/"
	}
	refs, err := r.git.text(ctx, "for-each-ref", "--count=1", "--format=%(refname)", "--contains="+sha, heads, tags)
	if err == nil && refs != "" {
		return true, nil
	}
	_, ofHead := r.git.run(ctx, call{args: []string{"merge-base", "--is-ancestor", sha, "HEAD"}})
	switch {
	case ofHead == nil:
		return true, nil
	case exitCode(ofHead) != 1:
		return false, ofHead
	}
	return false, err // a ref may be broken that HEAD has nothing to do with
}
