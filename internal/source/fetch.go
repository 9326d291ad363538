// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// deepenings are the steps in which a shallow clone is deepened before its
// whole history is fetched.
var deepenings = [...]int{50, 500}

// Fetch brings what Resolve and Changes need: all branches and tags of the
// remote, and ref (a branch, tag or SHA; empty means Options.DefaultRef), which
// for a SHA may be in no branch. A shallow clone gets ref alone, and as much
// more history as is needed to see how ref and HEAD are related; it stays
// shallow otherwise. A full SHA that is here already needs no network.
//
// It returns the commit that ref is then, as Resolve would.
//
// Errors: ErrNoRemote, *RemoteError (of kind ErrAuth, ErrUnreachable,
// ErrNotFound), ErrNotFound, ErrInvalidRevision, *AmbiguousError, ErrLocked.
func (r *Repo) Fetch(ctx context.Context, ref string) (c Commit, err error) {
	if r.remote == "" {
		return c, fmt.Errorf("%w: %s has no remote to fetch from; set source.url, or git remote add origin URL", ErrNoRemote, r.top)
	}
	if ref, err = r.orDefault(ctx, ref); err != nil {
		return c, err
	}
	if err := checkRev(ref); err != nil {
		return c, err
	}
	err = r.locked(ctx, func(hold *os.File) error {
		f := fetcher{git: r.git, remote: r.remote, url: r.url, cred: r.cred, hold: hold}
		shallow, err := r.shallow()
		if err != nil {
			return err
		}
		if fullSHAText.MatchString(strings.ToLower(ref)) {
			here, err := r.hasOrDress(ctx, strings.ToLower(ref))
			if err != nil {
				return err
			}
			if here && !shallow {
				c, err = r.Resolve(ctx, ref)
				return err
			}
		}
		if shallow {
			c, err = r.fetchShallow(ctx, f, ref)
			return err
		}
		if err := f.all(ctx); err != nil {
			return err
		}
		c, err = r.Resolve(ctx, ref)
		if !errors.Is(err, ErrNotFound) || !fullSHAText.MatchString(strings.ToLower(ref)) {
			return err
		}
		if err := f.commit(ctx, strings.ToLower(ref)); err != nil {
			return err
		}
		c, err = r.Resolve(ctx, ref)
		return err
	})
	return c, err
}

// hasOrDress is has; meanwhile it finds out what a fetch needs if it is not.
func (r *Repo) hasOrDress(ctx context.Context, sha string) (here bool, err error) {
	var both errgroup.Group
	if overSSH(r.remote, r.url, r.cred) {
		both.Go(func() error {
			_, err := r.git.sshCommand(ctx)
			return err
		})
	}
	both.Go(func() (err error) { here, err = r.has(ctx, sha); return err })
	return here, both.Wait()
}

// fetchShallow fetches ref into a shallow clone.
func (r *Repo) fetchShallow(ctx context.Context, f fetcher, ref string) (Commit, error) {
	specs, err := r.fetchNamed(ctx, f, ref)
	if err != nil {
		return Commit{}, err
	}
	if len(specs) == 0 {
		// Not a name, so a SHA or nothing. A server may give a commit away
		// directly; where it does not, or the SHA is short, all is fetched.
		full := strings.ToLower(ref)
		here := false
		if fullSHAText.MatchString(full) {
			if here, err = r.has(ctx, full); err != nil {
				return Commit{}, err
			}
			if !here {
				err = f.commit(ctx, full)
				if err != nil && !errors.Is(err, ErrNotFound) {
					return Commit{}, err
				}
				here = err == nil
			}
		}
		specs = allRefs
		if !here {
			if err := f.all(ctx, "--unshallow"); err != nil {
				return Commit{}, err
			}
		}
	}
	target, err := r.Resolve(ctx, ref)
	if err != nil {
		return Commit{}, err
	}
	return target, r.deepen(ctx, f, target.SHA, specs)
}

// fetchNamed fetches the branch and the tag of that name, as far as they exist,
// and returns their refspecs. Ours that are gone from the remote are removed.
func (r *Repo) fetchNamed(ctx context.Context, f fetcher, ref string) ([]string, error) {
	var theirs []string
	ours := map[string]string{}
	for _, our := range r.refsOf(ref) {
		their := "refs/" + strings.TrimPrefix(our, refRoot)
		theirs = append(theirs, their)
		ours[their] = our
	}
	listed, err := f.list(ctx, theirs...)
	if err != nil {
		return nil, err
	}
	var specs []string
	for _, their := range theirs {
		if slices.Contains(listed, their) {
			specs = append(specs, "+"+their+":"+ours[their])
			continue
		}
		if _, err := r.git.run(ctx, call{args: []string{"update-ref", "-d", ours[their]}, hold: f.hold}); err != nil {
			return nil, err
		}
	}
	if len(specs) == 0 {
		return nil, nil
	}
	return specs, f.fetch(ctx, specs)
}

// deepen fetches more history until HEAD and target meet, or there is no more.
func (r *Repo) deepen(ctx context.Context, f fetcher, target string, specs []string) error {
	head, err := r.Head(ctx)
	if err != nil {
		return err
	}
	for step := 0; ; step++ {
		_, err := r.git.run(ctx, call{args: []string{"merge-base", head.Commit, target}})
		if err == nil || exitCode(err) != 1 {
			return err
		}
		shallow, err := r.shallow()
		if err != nil {
			return err
		}
		switch {
		case !shallow || step > len(deepenings):
			return nil // unrelated histories, or a part that the remote no longer has
		case step < len(deepenings):
			err = f.fetch(ctx, specs, "--deepen="+strconv.Itoa(deepenings[step]))
		default:
			err = f.all(ctx, "--unshallow")
		}
		if err != nil {
			return err
		}
	}
}

// fetcher fetches from one remote into our refs of one repository.
type fetcher struct {
	git    git
	remote string
	url    string
	cred   *Credentials
	hold   *os.File
	// env is added to git's environment.
	env []string
}

var allRefs = []string{"+refs/heads/*:" + refHeads + "*", "+refs/tags/*:" + refTags + "*"}

// all mirrors the branches and tags of the remote.
func (f fetcher) all(ctx context.Context, flags ...string) error {
	return f.fetch(ctx, allRefs, append(flags, "--prune")...)
}

// commit fetches one commit by its full SHA, which servers may refuse.
func (f fetcher) commit(ctx context.Context, sha string, flags ...string) error {
	return f.fetch(ctx, []string{"+" + sha + ":" + refCommits + sha}, flags...)
}

func (f fetcher) fetch(ctx context.Context, specs []string, flags ...string) error {
	// The empty refmap keeps the user's remote-tracking refs from being updated.
	args := []string{"fetch", "--quiet", "--refmap=", "--no-tags", "--no-recurse-submodules"}
	args = slices.Concat(args, flags, []string{"--", f.remote}, specs)
	_, err := f.exchange(ctx, args)
	return err
}

// list returns which of the refs exist at the remote.
func (f fetcher) list(ctx context.Context, refs ...string) ([]string, error) {
	out, err := f.exchange(ctx, append([]string{"ls-remote", "--quiet", "--", f.remote}, refs...))
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if _, ref, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			found = append(found, ref)
		}
	}
	return found, nil
}

func (f fetcher) exchange(ctx context.Context, args []string) ([]byte, error) {
	c := call{args: args, hold: f.hold, env: slices.Clone(f.env)}
	done, err := f.git.dress(ctx, &c, f.url, f.cred, overSSH(f.remote, f.url, f.cred))
	if err != nil {
		return nil, err
	}
	defer done()
	out, err := f.git.run(ctx, c)
	if err != nil && strings.Contains(err.Error(), ".lock") && lockText.MatchString(err.Error()) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return out, classify(err, f.url)
}
