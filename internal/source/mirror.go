// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// OpenMirror opens a bare repository of our own in dir, which holds what is
// fetched from Options.URL and nothing else; it is made if there is none. It
// may be removed at any time. Errors as of Open.
func OpenMirror(ctx context.Context, dir string, opts Options) (*Repo, error) {
	v, err := InstalledVersion(ctx)
	if err != nil {
		return nil, err
	}
	if !v.AtLeast(minVersion.Major, minVersion.Minor) {
		return nil, fmt.Errorf("%w: found git %s, install %s or newer", ErrGitMissing, v, minVersion)
	}
	if opts.URL == "" {
		return nil, fmt.Errorf("%w: no URL is given", ErrNoRemote)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	g, err := newGit()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		// Running it again on a half-made one is harmless.
		if _, err := g.run(ctx, call{args: []string{"init", "--quiet", "--bare", "--template=", "--", dir}}); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	r := &Repo{git: g, top: dir, gitDir: dir, commonDir: dir, defaultRef: opts.DefaultRef, now: time.Now}
	r.git.dir, r.git.gitDir = dir, dir
	if err := r.findRemote(ctx, opts); err != nil {
		return nil, err
	}
	return r, nil
}

// FetchTip fetches the commit that a branch or tag (by its full name) points to,
// without its history, into a mirror, and returns its SHA.
func (r *Repo) FetchTip(ctx context.Context, ref string) (string, error) {
	if err := checkRev(ref); err != nil {
		return "", err
	}
	ours := refRoot + strings.TrimPrefix(ref, "refs/")
	err := r.locked(ctx, func(hold *os.File) error {
		f := fetcher{git: r.git, remote: r.remote, url: r.url, cred: r.cred, hold: hold}
		return f.fetch(ctx, []string{"+" + ref + ":" + ours}, "--depth=1")
	})
	if err != nil {
		return "", err
	}
	return r.git.text(ctx, "rev-parse", "--verify", "--quiet", ours+"^{commit}")
}

// TreeFile is a file of a commit.
type TreeFile struct {
	// Path relative to the top of the repository, with slashes.
	Path string
	// Mode as git writes it: 100644 and 100755 are files, 120000 symbolic links,
	// 160000 submodules.
	Mode string
	// Size in bytes.
	Size int64
	// Object is the SHA of its content.
	Object string
}

// Regular reports whether it is a plain file.
func (f TreeFile) Regular() bool { return f.Mode == modeFile || f.Mode == modeExecutable }

// Files lists what lies below a directory of a commit (by its full SHA), in the
// order of paths; "" and "." mean all of it. A file of that name is listed by
// itself. The error is ErrNotFound when nothing is there.
func (r *Repo) Files(ctx context.Context, commit, dir string) ([]TreeFile, error) {
	if err := r.need(ctx, commit); err != nil {
		return nil, err
	}
	clean := path.Clean("/" + dir)[1:]
	args := []string{"ls-tree", "-r", "-l", "-z", "--full-tree", commit}
	if clean != "" {
		args = append(args, "--", clean)
	}
	out, err := r.git.run(ctx, call{args: args})
	if err != nil {
		return nil, err
	}
	var files []TreeFile
	for _, e := range parseTree(out) {
		files = append(files, TreeFile{Path: e.path, Mode: e.mode, Object: e.oid, Size: e.size})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: there is nothing at %q in commit %s", ErrNotFound, dir, commit)
	}
	return files, nil
}

// ReadFile returns the content of a file that Files listed.
func (r *Repo) ReadFile(ctx context.Context, f TreeFile) ([]byte, error) {
	return r.git.run(ctx, call{args: []string{"cat-file", "blob", f.Object}})
}
