// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Commit describes one commit.
type Commit struct {
	// SHA is the full object name, Short an abbreviation that git finds unique.
	SHA, Short string
	// Subject is the first line of the message, Body the rest.
	Subject, Body string
	// Author and AuthorEmail as recorded.
	Author, AuthorEmail string
	// Time is the committer's.
	Time time.Time

	tree string // the object of its files
}

const (
	commitFields = 8
	commitFormat = "--format=tformat:%H%x00%h%x00%T%x00%an%x00%ae%x00%ct%x00%s%x00%b"
)

var (
	shaText     = regexp.MustCompile(`^[0-9a-fA-F]{4,64}$`)
	fullSHAText = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// parseCommits reads the output of `git log -z` with commitFormat.
func parseCommits(out []byte) ([]Commit, error) {
	fields := records(out)
	if len(fields)%commitFields != 0 {
		return nil, fmt.Errorf("git log: %d fields are not a multiple of %d", len(fields), commitFields)
	}
	var commits []Commit
	for f := range slices.Chunk(fields, commitFields) {
		seconds, err := strconv.ParseInt(f[5], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("git log: time of %s: %w", f[0], err)
		}
		commits = append(commits, Commit{
			SHA: f[0], Short: f[1], tree: f[2], Author: f[3], AuthorEmail: f[4], Time: time.Unix(seconds, 0).UTC(),
			Subject: f[6], Body: strings.TrimSpace(f[7]),
		})
	}
	return commits, nil
}

// commits runs git log with args.
func (r *Repo) commits(ctx context.Context, args ...string) ([]Commit, error) {
	// The closing dashes: a file may be named like a commit.
	out, err := r.git.run(ctx, call{args: slices.Concat([]string{"log", "-z", commitFormat}, args, []string{"--"})})
	if err != nil {
		return nil, err
	}
	return parseCommits(out)
}

// checkRev refuses what cannot be the name of a branch or tag, or a SHA: above
// all options and git's operators for revisions.
func checkRev(rev string) error {
	bad := func(why string) error {
		return fmt.Errorf("%w %q: %s; give a branch, a tag or a commit SHA", ErrInvalidRevision, rev, why)
	}
	switch {
	case rev == "":
		return bad("it is empty")
	case len(rev) > 250:
		return fmt.Errorf("%w: longer than 250 characters", ErrInvalidRevision)
	case rev[0] == '-':
		return bad("it begins with a dash")
	case strings.ContainsAny(rev, " ~^:?*[\\"):
		return bad("it has a character that names cannot have")
	case strings.ContainsFunc(rev, func(c rune) bool { return c < 0x20 || c == 0x7f }):
		return bad("it has a control character")
	case strings.Contains(rev, ".."), strings.Contains(rev, "@{"), strings.Contains(rev, "//"), rev == "@":
		return bad("it is an expression, not a name")
	case strings.HasPrefix(rev, "/"), strings.HasSuffix(rev, "/"), strings.HasSuffix(rev, "."):
		return bad("it begins or ends with a character that names cannot begin or end with")
	}
	for part := range strings.SplitSeq(rev, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return bad("a part of it begins with a dot or ends with .lock")
		}
	}
	return nil
}

// refsOf are the refs that rev may stand for, in order.
func (r *Repo) refsOf(rev string) []string {
	heads, tags := refHeads, refTags
	if r.remote == "" {
		heads, tags = "refs/heads/", "refs/tags/"
	}
	if name, ok := strings.CutPrefix(rev, "refs/heads/"); ok {
		return []string{heads + name}
	}
	if name, ok := strings.CutPrefix(rev, "refs/tags/"); ok {
		return []string{tags + name}
	}
	return []string{heads + rev, tags + rev}
}

// Resolve finds the commit that rev names among what is here already, without
// the network: a branch of the remote as last fetched, then a tag, then a full
// or abbreviated SHA of at least 4 digits. Local branches and tags count only
// in a repository without a remote. Empty means Options.DefaultRef. Errors:
// ErrInvalidRevision, ErrNotFound, *AmbiguousError.
func (r *Repo) Resolve(ctx context.Context, rev string) (Commit, error) {
	rev, err := r.orDefault(ctx, rev)
	if err != nil {
		return Commit{}, err
	}
	if err := checkRev(rev); err != nil {
		return Commit{}, err
	}
	// A full ref name is never taken for anything else.
	refs := r.refsOf(rev)
	asked := slices.Clone(refs)
	full := fullSHAText.MatchString(strings.ToLower(rev))
	var found []string
	var both errgroup.Group
	if full {
		asked = append(asked, strings.ToLower(rev))
		both.Go(func() error {
			_, _ = r.commit(ctx, strings.ToLower(rev)) // most likely it is here, and is remembered
			return nil
		})
	}
	both.Go(func() (err error) { found, err = r.peelEach(ctx, asked); return err })
	if err := both.Wait(); err != nil {
		return Commit{}, err
	}
	for _, sha := range found {
		if sha != "" {
			return r.commit(ctx, sha)
		}
	}
	if shaText.MatchString(rev) && !full {
		return r.resolveSHA(ctx, strings.ToLower(rev))
	}
	return Commit{}, r.unknown(rev)
}

func (r *Repo) unknown(rev string) error {
	where := "in " + r.top
	if r.remote != "" {
		where = "at " + r.URL() + " as last fetched"
	}
	return fmt.Errorf("%w: no branch, tag or commit %q %s; correct the name, or push it first", ErrNotFound, rev, where)
}

// orDefault replaces an empty rev.
func (r *Repo) orDefault(ctx context.Context, rev string) (string, error) {
	if rev == "" {
		rev = r.defaultRef
	}
	if rev != "" {
		return rev, nil
	}
	h, err := r.Head(ctx)
	if err != nil {
		return "", err
	}
	if h.Branch == "" {
		if h.Branch, err = r.rememberedBranch(); err != nil {
			return "", err
		}
	}
	if h.Branch == "" {
		return "", fmt.Errorf("%w: no branch is checked out in %s and none is set; set source.ref", ErrInvalidRevision, r.top)
	}
	return "refs/heads/" + h.Branch, nil
}

// resolveSHA finds a commit by an abbreviation of its object name. It asks for
// objects by prefix, since rev-parse would prefer a branch of that name.
func (r *Repo) resolveSHA(ctx context.Context, prefix string) (Commit, error) {
	out, err := r.git.text(ctx, "rev-parse", "--disambiguate="+prefix)
	if err != nil {
		return Commit{}, err
	}
	found, err := r.peel(ctx, strings.Fields(out))
	if err != nil {
		return Commit{}, err
	}
	switch len(found) {
	case 0:
		return Commit{}, r.unknown(prefix)
	case 1:
		return r.commit(ctx, found[0])
	}
	candidates, err := r.commits(ctx, append([]string{"--no-walk=unsorted"}, found...)...)
	if err != nil {
		return Commit{}, err
	}
	return Commit{}, &AmbiguousError{Rev: prefix, Candidates: candidates}
}

// peel returns the commits among objects, and those that tags among them point
// to, each once and sorted.
func (r *Repo) peel(ctx context.Context, objects []string) ([]string, error) {
	each, err := r.peelEach(ctx, objects)
	found := slices.DeleteFunc(each, func(sha string) bool { return sha == "" })
	slices.Sort(found)
	return slices.Compact(found), err
}

// peelEach returns the commit that each of the objects is or points to, in their
// order; "" for what is none, or not here.
func (r *Repo) peelEach(ctx context.Context, objects []string) ([]string, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	out, err := r.git.run(ctx, call{
		args:  []string{"cat-file", "--batch-check=%(objecttype) %(objectname)"},
		stdin: []byte(strings.Join(objects, "^{commit}\n") + "^{commit}\n"),
	})
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		sha, ok := strings.CutPrefix(strings.TrimSpace(line), "commit ")
		if !ok || !fullSHAText.MatchString(sha) {
			sha = ""
		}
		found = append(found, sha)
	}
	if len(found) != len(objects) {
		return nil, fmt.Errorf("git cat-file: %d answers to %d questions", len(found), len(objects))
	}
	return found, nil
}

func (r *Repo) commit(ctx context.Context, sha string) (Commit, error) {
	if c, ok := r.known.commit(sha); ok {
		return c, nil
	}
	found, err := r.commits(ctx, "--no-walk", sha)
	if err != nil {
		return Commit{}, err
	}
	if len(found) != 1 {
		return Commit{}, fmt.Errorf("%w: commit %s", ErrNotFound, sha)
	}
	r.known.keepCommit(found[0])
	return found[0], nil
}

// Describe tells of a commit by its full SHA, without the network. Errors:
// ErrInvalidRevision, ErrNotFound.
func (r *Repo) Describe(ctx context.Context, sha string) (Commit, error) {
	if err := r.need(ctx, sha); err != nil {
		return Commit{}, err
	}
	return r.commit(ctx, sha)
}

// has reports whether the commit is here.
func (r *Repo) has(ctx context.Context, sha string) (bool, error) {
	if r.known.has(sha) {
		return true, nil
	}
	found, err := r.peel(ctx, []string{sha})
	if err != nil || len(found) != 1 {
		return false, err
	}
	r.known.sawCommit(sha)
	return true, nil
}

// need checks that sha is a full SHA of a commit that is here.
func (r *Repo) need(ctx context.Context, sha string) error {
	if !fullSHAText.MatchString(sha) {
		return fmt.Errorf("%w %q: not a full SHA", ErrInvalidRevision, sha)
	}
	ok, err := r.has(ctx, sha)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: commit %s is not in %s; fetch it first", ErrNotFound, sha, r.top)
	}
	return nil
}

// Direction says how two commits are related.
type Direction string

// Directions from one commit to another.
const (
	Same     Direction = "Same"
	Forward  Direction = "Forward"
	Backward Direction = "Backward"
	Diverged Direction = "Diverged"
)

// Changes are the commits between two commits.
type Changes struct {
	// Commits are the newest first: those that come in, or those that go out
	// when Direction is Backward.
	Commits []Commit
	// Total counts them without the limit.
	Total     int
	Direction Direction
	// Truncated says that the clone is shallow and the histories do not meet in
	// what is here, so that Commits and Total may be wrong.
	Truncated bool
}

// Changes lists what lies between two commits, given by full SHA. A limit of 0
// or less means all. For diverged histories it lists what comes in.
func (r *Repo) Changes(ctx context.Context, from, to string, limit int) (Changes, error) {
	for _, sha := range []string{from, to} {
		if err := r.need(ctx, sha); err != nil {
			return Changes{}, err
		}
	}
	if from == to {
		return Changes{Direction: Same}, nil
	}
	var c Changes
	list := func(span string) (commits []Commit, err error) {
		args := []string{span}
		if limit > 0 {
			args = []string{"--max-count=" + strconv.Itoa(limit), span}
		}
		return r.commits(ctx, args...)
	}
	span := from + ".." + to
	var base string
	var both errgroup.Group
	both.Go(func() (err error) { base, err = r.base(ctx, from, to); return err })
	both.Go(func() (err error) { c.Commits, err = list(span); return err })
	err := both.Wait()
	if err != nil {
		return Changes{}, err
	}
	switch base {
	case from:
		c.Direction = Forward
	case to:
		c.Direction, span = Backward, to+".."+from
		if c.Commits, err = list(span); err != nil {
			return c, err
		}
	default:
		c.Direction = Diverged
	}
	if base == "" {
		if c.Truncated, err = r.shallow(); err != nil {
			return c, err
		}
	}
	if c.Total = len(c.Commits); limit <= 0 || c.Total < limit {
		return c, nil
	}
	count, err := r.git.text(ctx, "rev-list", "--count", span, "--")
	if err != nil {
		return c, err
	}
	if c.Total, err = strconv.Atoi(count); err != nil {
		return c, fmt.Errorf("git rev-list: %w", err)
	}
	return c, nil
}

// UnpushedCommits lists, newest first, the commits that are checked out but in
// neither the given commit (a full SHA) nor anything that was ever fetched from
// a remote, or moved to by MoveTo: moving away would leave them behind.
func (r *Repo) UnpushedCommits(ctx context.Context, to string) ([]Commit, error) {
	if err := r.need(ctx, to); err != nil {
		return nil, err
	}
	h, err := r.Head(ctx)
	if err != nil {
		return nil, err
	}
	if base, err := r.base(ctx, h.Commit, to); err == nil && base == h.Commit {
		return nil, nil // as in most updates, which ask for the base anyway
	}
	return r.commits(ctx, "HEAD", "--not", to, "--remotes", "--glob="+refRoot+"*")
}

// shallow reports whether the history of the clone is cut off: git keeps where
// in a file.
func (r *Repo) shallow() (bool, error) {
	_, err := os.Stat(filepath.Join(r.commonDir, "shallow"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// related reports whether one of the commits is in the history of the other.
func (r *Repo) related(ctx context.Context, a, b string) (bool, error) {
	base, err := r.base(ctx, a, b)
	return base != "" && (base == a || base == b), err
}

// base is the newest commit in the history of both; "" without any.
func (r *Repo) base(ctx context.Context, a, b string) (string, error) {
	if base, ok := r.known.older(a, b); ok {
		return base, nil
	}
	base, err := r.git.text(ctx, "merge-base", a, b)
	if exitCode(err) == 1 {
		return "", nil
	}
	// Only what more history of a shallow clone cannot change.
	if err == nil && (base == a || base == b) {
		r.known.keepOlder(a, b, base)
	}
	return base, err
}

// setRef points ref to sha.
func (r *Repo) setRef(ctx context.Context, hold *os.File, ref, sha string) error {
	_, err := r.git.run(ctx, call{args: []string{"update-ref", ref, sha}, hold: hold})
	return err
}
