// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// refKept are commits that are kept for a person, although no branch has them.
const refKept = refRoot + "kept/"

// Keep gives a commit (a full SHA that is here) a name below refs/fairlead/kept,
// so that git never throws it away, and returns the name.
func (r *Repo) Keep(ctx context.Context, name, commit string) (string, error) {
	if err := r.need(ctx, commit); err != nil {
		return "", err
	}
	ref := refKept + name
	return ref, r.locked(ctx, func(hold *os.File) error { return r.setRef(ctx, hold, ref, commit) })
}

// Discard gives up local edits: each path, as LocalEdits names it, gets the
// content that HEAD has, in index and working tree; what HEAD does not have is
// removed. The caller has saved them. Changes inside of submodules are refused.
func (r *Repo) Discard(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	return r.locked(ctx, func(hold *os.File) error {
		args := append([]string{"ls-tree", "-z", "-r", "--full-tree", "HEAD", "--"}, paths...)
		out, err := r.git.run(ctx, call{args: args})
		if err != nil {
			return err
		}
		var inHead []string
		for _, rec := range records(out) {
			meta, p, ok := strings.Cut(rec, "\t")
			if !ok {
				continue
			}
			if strings.HasPrefix(meta, modeSubmodule) {
				return fmt.Errorf("the submodule %s has changes of its own: commit and push them, or discard them there, and try again", p)
			}
			inHead = append(inHead, p)
		}
		for _, p := range paths {
			if slices.Contains(inHead, p) {
				continue
			}
			rm := append([]string{"rm", "--quiet", "--cached", "--force", "--ignore-unmatch", "--"}, p)
			if _, err := r.git.run(ctx, call{args: rm, hold: hold}); err != nil {
				return locking(err)
			}
			err := os.Remove(filepath.Join(r.top, p))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if len(inHead) == 0 {
			return nil
		}
		checkout := append([]string{"checkout", "--quiet", "--force", "HEAD", "--"}, inHead...)
		if _, err := r.git.run(ctx, call{args: checkout, hold: hold}); err != nil {
			return locking(err)
		}
		return r.restoreTreeOwner(inHead)
	})
}
