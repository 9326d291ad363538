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
	"time"
)

// remoteTimeout bounds one question to a server; see LsRemote.
const remoteTimeout = 30 * time.Second

// Ref is a branch or tag.
type Ref struct {
	// Name in full: refs/heads/main, refs/tags/v1.4.2.
	Name string
	// SHA is what it points to. For an annotated tag that is the commit, not the
	// tag object.
	SHA string
	// Object is what the name itself stands for: the tag object of an annotated
	// tag, else SHA.
	Object string
	// Time is when the tag was made, or for a lightweight tag its commit; zero
	// where it was not asked for.
	Time time.Time
}

// Short is the name without refs/heads/ or refs/tags/.
func (r Ref) Short() string {
	return strings.TrimPrefix(strings.TrimPrefix(r.Name, "refs/heads/"), "refs/tags/")
}

// Remote is what a server has at one moment.
type Remote struct {
	// Head is the full name of the server's own default branch, or "".
	Head string
	// Refs are its branches and tags, in the order of their names.
	Refs []Ref
}

// Find returns the branch or tag of that name (short or in full; a branch goes
// before a tag), as Resolve does.
func (r Remote) Find(name string) (Ref, bool) {
	for _, full := range []string{name, "refs/heads/" + name, "refs/tags/" + name} {
		if i := slices.IndexFunc(r.Refs, func(ref Ref) bool { return ref.Name == full }); i >= 0 {
			return r.Refs[i], true
		}
	}
	return Ref{}, false
}

// Tags are the tags alone.
func (r Remote) Tags() []Ref {
	return slices.DeleteFunc(slices.Clone(r.Refs), func(ref Ref) bool { return !strings.HasPrefix(ref.Name, "refs/tags/") })
}

// LsRemote asks the server once which branches and tags it has. It changes
// nothing here, takes no lock, and so is never in the way of an update. A
// server that does not answer within 30 seconds is unreachable. Errors:
// ErrNoRemote, *RemoteError.
func (r *Repo) LsRemote(ctx context.Context) (Remote, error) {
	if r.remote == "" {
		return Remote{}, fmt.Errorf("%w: %s has no remote; set source.url, or git remote add origin URL", ErrNoRemote, r.top)
	}
	limited, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	f := fetcher{git: r.git, remote: r.remote, url: r.url, cred: r.cred}
	out, err := f.exchange(limited, []string{"ls-remote", "--quiet", "--symref", "--", r.remote, "HEAD", "refs/heads/*", "refs/tags/*"})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return Remote{}, &RemoteError{Kind: ErrUnreachable, URL: r.URL(), Detail: "no answer within " + remoteTimeout.String(),
			Advice: "see that this machine can reach the server; it is tried again"}
	}
	if err != nil {
		return Remote{}, err
	}
	return parseRemote(string(out)), nil
}

// parseRemote reads `git ls-remote --symref`: "ref: refs/heads/main\tHEAD",
// "SHA\trefs/tags/v1", "SHA\trefs/tags/v1^{}".
func parseRemote(out string) Remote {
	var remote Remote
	for line := range strings.Lines(out) {
		value, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
		if !ok {
			continue
		}
		if target, ok := strings.CutPrefix(value, "ref: "); ok {
			if name == "HEAD" {
				remote.Head = target
			}
			continue
		}
		if !fullSHAText.MatchString(value) || !strings.HasPrefix(name, "refs/heads/") && !strings.HasPrefix(name, "refs/tags/") {
			continue
		}
		if tag, ok := strings.CutSuffix(name, "^{}"); ok {
			// Follows the tag object itself.
			if n := len(remote.Refs); n > 0 && remote.Refs[n-1].Name == tag {
				remote.Refs[n-1].SHA = value
			}
			continue
		}
		remote.Refs = append(remote.Refs, Ref{Name: name, SHA: value, Object: value})
	}
	return remote
}

// DefaultRef is what an empty revision means: the full name of the checked-out
// branch, or Options.DefaultRef as given.
func (r *Repo) DefaultRef(ctx context.Context) (string, error) { return r.orDefault(ctx, "") }

// Has reports whether the commit, given by its full SHA, is here.
func (r *Repo) Has(ctx context.Context, sha string) (bool, error) {
	if !fullSHAText.MatchString(sha) {
		return false, fmt.Errorf("%w %q: not a full SHA", ErrInvalidRevision, sha)
	}
	return r.has(ctx, sha)
}

// DateTags fills in the Time of tags that LsRemote told of: a server does not
// tell times, so tags that are not here as they are there are fetched first,
// unless fetch is false. The second result is false if some are not here then;
// these have no Time. Errors as of Fetch.
func (r *Repo) DateTags(ctx context.Context, tags []Ref, fetch bool) ([]Ref, bool, error) {
	dated, missing, err := r.dateTags(ctx, tags)
	if err != nil || len(missing) == 0 || !fetch {
		return dated, len(missing) == 0, err
	}
	err = r.locked(ctx, func(hold *os.File) error {
		f := fetcher{git: r.git, remote: r.remote, url: r.url, cred: r.cred, hold: hold}
		// In pieces, for the limit on the length of a command line.
		for some := range slices.Chunk(missing, 200) {
			specs := make([]string, 0, len(some))
			for _, t := range some {
				specs = append(specs, "+"+t.Name+":"+refTags+t.Short())
			}
			if err := f.fetch(ctx, specs); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return dated, false, err
	}
	dated, missing, err = r.dateTags(ctx, tags)
	return dated, len(missing) == 0, err
}

// dateTags fills in the times of the tags that are here, and returns those that
// are not.
func (r *Repo) dateTags(ctx context.Context, tags []Ref) (dated, missing []Ref, err error) {
	out, err := r.git.run(ctx, call{args: []string{"for-each-ref", "--format=%(objectname) %(creatordate:unix) %(refname)", refTags}})
	if err != nil {
		return nil, nil, err
	}
	times := map[string]time.Time{} // by object and name
	for line := range strings.Lines(string(out)) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), " ", 3)
		if len(f) != 3 {
			continue
		}
		if seconds, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			times[f[0]+strings.TrimPrefix(f[2], refTags)] = time.Unix(seconds, 0).UTC()
		}
	}
	dated = slices.Clone(tags)
	for i := range dated {
		var here bool
		if dated[i].Time, here = times[dated[i].Object+dated[i].Short()]; !here {
			missing = append(missing, dated[i])
		}
	}
	return dated, missing, nil
}
