// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// TreeDigest is a digest of a file or directory as of a commit (a full SHA):
// two are equal when content, names and modes below path are; a submodule
// counts by its commit. The path is relative to Top, "" and "." mean all of
// it. The digest is "" when nothing is there.
func (r *Repo) TreeDigest(ctx context.Context, commit, p string) (string, error) {
	digests, err := r.TreeDigests(ctx, commit, p)
	if err != nil {
		return "", err
	}
	return digests[p], nil
}

// TreeDigests is TreeDigest for several paths at once, by path as given.
func (r *Repo) TreeDigests(ctx context.Context, commit string, paths ...string) (map[string]string, error) {
	if !fullSHAText.MatchString(commit) {
		return nil, fmt.Errorf("%w %q: not a full SHA", ErrInvalidRevision, commit)
	}
	clean := map[string]string{}
	found := map[string]string{}
	var wanted []string
	for _, p := range paths {
		c := path.Clean(p)
		if path.IsAbs(c) || c == ".." || strings.HasPrefix(c, "../") {
			return nil, fmt.Errorf("%q is not below the top of the repository", p)
		}
		clean[p] = c
		d, ok := r.known.digest(treePath{commit, c})
		switch {
		case ok:
			found[c] = d
		case c != ".":
			wanted = append(wanted, c)
		case found[c] == "":
			of, err := r.commit(ctx, commit)
			if err != nil {
				return nil, err
			}
			found[c] = "040000:" + of.tree
		}
	}
	slices.Sort(wanted)
	// In pieces, for the limit on the length of a command line.
	for some := range slices.Chunk(slices.Compact(wanted), 200) {
		args := slices.Concat([]string{"ls-tree", "-z", "-t", "--full-tree", commit, "--"}, some)
		out, err := r.git.run(ctx, call{args: args})
		if err != nil {
			return nil, err
		}
		for _, e := range parseTree(out) {
			found[e.path] = e.mode + ":" + e.oid
		}
	}
	digests := make(map[string]string, len(paths))
	for p, c := range clean {
		digests[p] = found[c]
		r.known.keepDigest(treePath{commit, c}, found[c])
	}
	return digests, nil
}

// Tracked reports whether a commit (a full SHA) has a file or directory at a
// path relative to Top. The directory that it is in is listed once: whoever asks
// for one file there mostly asks for others, many of which are not there.
func (r *Repo) Tracked(ctx context.Context, commit, p string) (bool, error) {
	if !fullSHAText.MatchString(commit) {
		return false, fmt.Errorf("%w %q: not a full SHA", ErrInvalidRevision, commit)
	}
	p = path.Clean(p)
	if p == "." {
		return true, nil
	}
	if !filepath.IsLocal(filepath.FromSlash(p)) {
		return false, nil
	}
	dir := treePath{commit, path.Dir(p)}
	names, ok := r.known.listing(dir)
	if !ok {
		args := []string{"ls-tree", "-z", "--name-only", "--full-tree", commit}
		if dir.path != "." {
			args = append(args, "--", dir.path+"/")
		}
		out, err := r.git.run(ctx, call{args: args})
		if err != nil {
			return false, err
		}
		names = map[string]bool{}
		for _, name := range records(out) {
			names[name] = true
		}
		r.known.keepListing(dir, names)
	}
	return names[p], nil
}

// treeEntry is one entry of a tree.
type treeEntry struct {
	entry
	path string
	// size in bytes, where it was asked for (-l).
	size int64
}

// parseTree reads `git ls-tree -z`: "100644 blob oid\tpath", with -l
// "100644 blob oid    size\tpath".
func parseTree(out []byte) []treeEntry {
	var entries []treeEntry
	for _, rec := range records(out) {
		meta, p, ok := strings.Cut(rec, "\t")
		f := strings.Fields(meta)
		if !ok || len(f) < 3 {
			continue
		}
		e := treeEntry{path: p, entry: entry{mode: f[0], oid: f[2]}}
		if len(f) > 3 {
			e.size, _ = strconv.ParseInt(f[3], 10, 64) // "-" for a submodule
		}
		entries = append(entries, e)
	}
	return entries
}
