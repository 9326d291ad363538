// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-github/v60/github"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// MaxChanges is how many commits are listed at most.
const MaxChanges = 100

// Relation is how the newest commit stands to the one that runs.
type Relation string

// Relations.
const (
	// Identical: the newest commit runs.
	Identical Relation = "identical"
	// Ahead: the newest commit follows the one that runs.
	Ahead Relation = "ahead"
	// Behind: the newest commit comes before the one that runs, as after a
	// branch was set back.
	Behind Relation = "behind"
	// Diverged: each has commits that the other has not.
	Diverged Relation = "diverged"
)

// Comparison is what lies between two commits.
type Comparison struct {
	Relation Relation
	// Behind is how many commits the newest one has that the one that runs has
	// not, Ahead the other way round.
	Behind, Ahead int
	// Changes are the first of these, newest first, at most MaxChanges.
	Changes []v1alpha1.Change
	// URL of a page that shows it.
	URL string
}

// Compare tells what lies between running and newest, both full SHAs. A commit
// that GitHub does not know is ErrUnknownCommit, a repository that it does not
// know or show is ErrNotFound.
func (c *Client) Compare(ctx context.Context, r Repo, running, newest string) (Comparison, error) {
	var out Comparison
	if !isSHA(running) || !isSHA(newest) {
		return out, &Error{Kind: ErrUnknownCommit, Doing: "compare the commits", Detail: "a full SHA is needed"}
	}
	if running == newest {
		out.Relation = Identical
		return out, nil
	}
	first, err := c.comparePage(ctx, r, running, newest, 1)
	if errors.Is(err, ErrNotFound) {
		// Either the repository or one of the commits.
		if _, seen := c.Head(ctx, r, newest); seen == nil {
			return out, &Error{Kind: ErrUnknownCommit, Doing: "compare the commits", Detail: running + " is not in " + r.String()}
		}
	}
	if err != nil {
		return out, err
	}
	out = Comparison{Relation: Relation(first.GetStatus()), Behind: first.GetAheadBy(), Ahead: first.GetBehindBy(), URL: webURL(first.GetHTMLURL())}
	// GitHub lists the oldest first: the newest are on the last pages.
	var commits []*github.RepositoryCommit
	pages := (first.GetTotalCommits() + MaxChanges - 1) / MaxChanges
	for n := max(1, pages-1); n <= pages; n++ {
		page := first
		if n > 1 {
			if page, err = c.comparePage(ctx, r, running, newest, n); err != nil {
				return out, err
			}
		}
		commits = append(commits, page.Commits...)
	}
	for _, commit := range slices.Backward(commits) {
		if len(out.Changes) == MaxChanges {
			break
		}
		out.Changes = append(out.Changes, change(commit.GetSHA(), commit.GetCommit(), commit.GetHTMLURL(), commit.GetAuthor().GetLogin()))
	}
	return out, nil
}

func (c *Client) comparePage(ctx context.Context, r Repo, running, newest string, page int) (*github.CommitsComparison, error) {
	var out *github.CommitsComparison
	err := c.call("compare the commits of "+r.String(), func() error {
		var err error
		out, _, err = c.api.Repositories.CompareCommits(ctx, r.Owner, r.Name, running, newest, &github.ListOptions{Page: page, PerPage: MaxChanges})
		return err
	})
	return out, err
}

func change(sha string, commit *github.Commit, page, login string) v1alpha1.Change {
	subject, _, _ := strings.Cut(commit.GetMessage(), "\n")
	author := commit.GetAuthor().GetName()
	if author == "" {
		author = login
	}
	return v1alpha1.Change{
		Commit: Line(sha, 64), Subject: Line(strings.TrimSuffix(subject, "\r"), 200), Author: Line(author, 100),
		Time: metav1.NewTime(commit.GetCommitter().GetDate().Time), URL: webURL(page),
	}
}

// webURL lets addresses of web pages pass, and nothing else that a browser
// would follow.
func webURL(s string) string {
	if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return ""
	}
	return s
}
