// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/source"
)

// maxChanges is how many commits are listed.
const maxChanges = 100

// Secrets reads the Secrets that Applications name.
type Secrets interface {
	// Secret returns the data of a Secret. The error says what to do.
	Secret(ctx context.Context, namespace, name string) (map[string][]byte, error)
}

// Enricher knows more of a source than Git tells, or knows it sooner. When it
// fails, Git is asked as if there were none.
type Enricher interface {
	// Head returns the commit that a branch points to, given by its full name.
	// supported is false if it does not serve the application's source.
	Head(ctx context.Context, app *v1alpha1.Application, ref string) (sha string, supported bool, err error)
	// Enrich lists the commits from running to newest, newest first, at most 100,
	// and counts all of them. An error, or a source that it does not serve, has
	// the clone asked.
	Enrich(ctx context.Context, app *v1alpha1.Application, running, newest string) (changes []v1alpha1.Change, behind int, err error)
}

// GitLooker looks with Git, and an Enricher if there is one.
type GitLooker struct {
	Secrets  Secrets
	Enricher Enricher
}

// Look implements Looker.
func (g *GitLooker) Look(ctx context.Context, app *v1alpha1.Application, previous Answer, busy bool) (Answer, error) {
	repo, err := g.open(ctx, app)
	if err != nil {
		return Answer{}, err
	}
	ref, err := g.newest(ctx, app, repo, busy)
	if err != nil {
		return Answer{}, steady(err)
	}
	answer := Answer{Generation: app.Generation, Running: app.Status.Commit, Ref: ref.Name, Commit: ref.SHA}
	switch {
	case answer.Running == "" || answer.Running == answer.Commit:
		return answer, nil
	case previous.Running == answer.Running && previous.Commit == answer.Commit:
		answer.Behind, answer.Changes, answer.Older = previous.Behind, previous.Changes, previous.Older
		return answer, nil
	case busy:
		return Answer{}, ErrBusy
	}
	return answer, steady(g.compare(ctx, app, repo, ref, &answer))
}

func (g *GitLooker) open(ctx context.Context, app *v1alpha1.Application) (*source.Repo, error) {
	opts := source.Options{URL: app.Spec.Source.URL, DefaultRef: app.Spec.Source.Ref}
	if ref := app.Spec.Source.SecretRef; ref != nil {
		data, err := g.Secrets.Secret(ctx, app.Namespace, ref.Name)
		if err != nil {
			return nil, err
		}
		if opts.Credentials, err = source.CredentialsFromSecret(data); err != nil {
			return nil, fmt.Errorf("the Secret %s of source.secretRef: %w", ref.Name, err)
		}
	}
	return source.Open(ctx, app.Spec.Compose.Directory, opts)
}

// Remote tells which branches and tags the source of an application has.
func (g *GitLooker) Remote(ctx context.Context, app *v1alpha1.Application) (source.Remote, error) {
	repo, err := g.open(ctx, app)
	if err != nil {
		return source.Remote{}, err
	}
	return repo.LsRemote(ctx)
}

// newest finds what the followed ref points to.
func (g *GitLooker) newest(ctx context.Context, app *v1alpha1.Application, repo *source.Repo, busy bool) (source.Ref, error) {
	follow := app.Spec.Update
	name := follow.Branch
	if follow.TagPattern == "" && follow.Semver == "" {
		if name == "" {
			var err error
			if name, err = repo.DefaultRef(ctx); err != nil {
				return source.Ref{}, err
			}
		} else {
			name = "refs/heads/" + name
		}
		if ref, ok := g.head(ctx, app, name); ok {
			return ref, nil
		}
	}
	remote, err := repo.LsRemote(ctx)
	if err != nil {
		return source.Ref{}, err
	}
	switch {
	case follow.Semver != "":
		return highest(remote.Tags(), follow.Semver)
	case follow.TagPattern != "":
		tags, err := matching(remote.Tags(), follow.TagPattern)
		if err != nil {
			return source.Ref{}, err
		}
		tags, all, err := repo.DateTags(ctx, tags, !busy && len(tags) > 1)
		if err != nil {
			return source.Ref{}, err
		}
		if !all && len(tags) > 1 {
			return source.Ref{}, ErrBusy
		}
		return newestTag(tags), nil
	}
	ref, ok := remote.Find(name)
	if !ok {
		return ref, fmt.Errorf("%w: %s has no branch or tag %q; push it first, or correct spec.update.branch or spec.source.ref",
			errNothing, repo.URL(), source.Ref{Name: name}.Short())
	}
	return ref, nil
}

// head asks the enricher for a branch.
func (g *GitLooker) head(ctx context.Context, app *v1alpha1.Application, name string) (source.Ref, bool) {
	const heads = "refs/heads/"
	if g.Enricher == nil || len(name) <= len(heads) || name[:len(heads)] != heads {
		return source.Ref{}, false
	}
	sha, supported, err := g.Enricher.Head(ctx, app, name)
	if err != nil {
		logr.FromContextOrDiscard(ctx).V(1).Info("Git is asked instead", "reason", err.Error())
	}
	if err != nil || !supported || sha == "" {
		return source.Ref{}, false
	}
	return source.Ref{Name: name, SHA: sha, Object: sha}, true
}

// compare finds out how the newest commit and the one that runs are related, and
// what lies in between.
func (g *GitLooker) compare(ctx context.Context, app *v1alpha1.Application, repo *source.Repo, ref source.Ref, answer *Answer) error {
	log := logr.FromContextOrDiscard(ctx).V(1)
	here, err := repo.Has(ctx, ref.SHA)
	if err != nil {
		return err
	}
	if !here {
		// An update to it finds it here then.
		if _, err := repo.Fetch(ctx, ref.Name); err != nil {
			return err
		}
	}
	between, err := repo.Changes(ctx, answer.Running, answer.Commit, maxChanges)
	switch {
	case errors.Is(err, source.ErrNotFound):
		// The one that runs is not in this clone: nothing can be said of both.
		log.Info("the commits in between are not known", "reason", err.Error())
	case err != nil:
		return err
	case between.Direction == source.Backward:
		answer.Older = true
		return nil
	default:
		answer.Behind, answer.Changes = int32(min(between.Total, 1<<30)), changes(between.Commits, repo.URL())
	}
	if g.Enricher == nil {
		return nil
	}
	listed, behind, err := g.Enricher.Enrich(ctx, app, answer.Running, answer.Commit)
	if err != nil {
		log.Info("the list of commits is that of Git", "reason", err.Error())
	} else if len(listed) > 0 {
		answer.Behind, answer.Changes = int32(min(behind, 1<<30)), listed[:min(len(listed), maxChanges)]
	}
	return nil
}

func changes(commits []source.Commit, url string) []v1alpha1.Change {
	out := make([]v1alpha1.Change, 0, len(commits))
	for _, c := range commits {
		out = append(out, v1alpha1.Change{
			Commit: c.SHA, Subject: c.Subject, Author: c.Author, Time: metav1.NewTime(c.Time), URL: CommitURL(url, c.SHA),
		})
	}
	return out
}

// steady makes an error say the same as long as its cause is the same: what git
// reports has times and counts in it.
func steady(err error) error {
	var remote *source.RemoteError
	if err == nil {
		return nil
	}
	if errors.As(err, &remote) {
		return fmt.Errorf("%s: %w: %s", remote.URL, remote.Kind, remote.Advice)
	}
	if errors.Is(err, source.ErrLocked) {
		return fmt.Errorf("%w: another git command is at work there", source.ErrLocked)
	}
	return err
}

// reason is a word for conditions for an error of looking.
func reason(err error) string {
	switch {
	case errors.Is(err, source.ErrUnreachable):
		return v1alpha1.ReasonSourceUnreachable
	case errors.Is(err, errNothing):
		return v1alpha1.ReasonNothingToFollow
	}
	return v1alpha1.ReasonSourceUnusable
}
