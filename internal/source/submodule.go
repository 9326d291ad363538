// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// maxDepth of submodules in submodules ends repositories that contain themselves.
const maxDepth = 16

// submodule as a commit describes it.
type submodule struct {
	name, path, url, commit string
}

// submodules exports the submodules of a commit into its exported tree.
func (e *exporter) submodules(ctx context.Context, g git, super, commit string, subs []submodule, dir string, depth int) error {
	if len(subs) > 0 && depth == maxDepth {
		return fmt.Errorf("submodules are nested more than %d deep", maxDepth)
	}
	for _, s := range subs {
		if s.url == "" {
			return fmt.Errorf("%w: submodule %s has no url in .gitmodules of commit %s", ErrNotFound, s.path, commit)
		}
		url, err := joinURL(super, s.url)
		if err != nil {
			return fmt.Errorf("submodule %s: %w", s.path, err)
		}
		sub, err := e.submoduleGit(ctx, g, s, super, url)
		if err != nil {
			return fmt.Errorf("submodule %s: %w", s.path, err)
		}
		if err := e.checkout(ctx, sub, url, s.commit, filepath.Join(dir, s.path), depth+1); err != nil {
			return fmt.Errorf("submodule %s: %w", s.path, err)
		}
	}
	return nil
}

// treeOf lists all files and submodules of a commit, as the options say.
func treeOf(ctx context.Context, g git, commit string, options ...string) ([]treeEntry, error) {
	out, err := g.run(ctx, call{args: slices.Concat([]string{"ls-tree", "-r", "-z", "--full-tree"}, options, []string{commit})})
	if err != nil {
		return nil, err
	}
	return parseTree(out), nil
}

// submodulesOf lists the submodules of a commit that has that tree.
func submodulesOf(ctx context.Context, g git, commit string, tree []treeEntry) ([]submodule, error) {
	var subs []submodule
	modules := false
	for _, e := range tree {
		if e.mode == modeSubmodule {
			subs = append(subs, submodule{path: e.path, commit: e.oid})
		}
		modules = modules || e.path == ".gitmodules"
	}
	if len(subs) == 0 || !modules {
		return subs, nil
	}
	out, err := g.run(ctx, call{args: []string{"config", "--blob", commit + ":.gitmodules", "-z", "--get-regexp", `^submodule\..*\.(path|url)$`}})
	if err != nil && exitCode(err) != 1 {
		return nil, err
	}
	type settings struct{ path, url string }
	named := map[string]settings{}
	for _, rec := range records(out) {
		key, value, _ := strings.Cut(rec, "\n")
		name := strings.TrimPrefix(key, "submodule.")
		if n, ok := strings.CutSuffix(name, ".path"); ok {
			s := named[n]
			s.path = value
			named[n] = s
		} else if n, ok := strings.CutSuffix(name, ".url"); ok {
			s := named[n]
			s.url = value
			named[n] = s
		}
	}
	for name, s := range named {
		for i := range subs {
			if subs[i].path == path.Clean(s.path) {
				subs[i].name, subs[i].url = name, s.url
			}
		}
	}
	return subs, nil
}

// submoduleGit returns a git for a repository that has the submodule's commit:
// the one in the clone, if there, or a store of our own, which is fetched.
func (e *exporter) submoduleGit(ctx context.Context, super git, s submodule, superURL, url string) (git, error) {
	if s.name != "" && !slices.Contains(strings.Split(s.name, "/"), "..") {
		dir := filepath.Join(e.superCommonDir(super), "modules", s.name)
		// The working tree that the submodule is configured with may be gone.
		g := git{bin: super.bin, dir: super.gitDir, gitDir: dir, workTree: dir, hasRemote: true}
		if _, err := os.Stat(filepath.Join(g.gitDir, "HEAD")); err == nil {
			if _, err := g.run(ctx, call{args: []string{"cat-file", "-e", s.commit + "^{commit}"}}); err == nil {
				return g, nil
			}
		}
	}
	sum := sha256.Sum256([]byte(url))
	store := filepath.Join(e.repo.commonDir, "fairlead", "modules", hex.EncodeToString(sum[:8])+".git")
	g := git{bin: super.bin, dir: e.repo.commonDir, gitDir: store}
	err := e.repo.locked(ctx, func(hold *os.File) error { return e.fetchSubmodule(ctx, g, s.commit, superURL, url, hold) })
	return g, err
}

func (e *exporter) superCommonDir(super git) string {
	if super.gitDir == e.repo.gitDir {
		return e.repo.commonDir
	}
	return super.gitDir
}

// fetchSubmodule brings one commit into a store of our own.
func (e *exporter) fetchSubmodule(ctx context.Context, g git, commit, superURL, url string, hold *os.File) error {
	if strings.HasPrefix(url, "-") || strings.Contains(url, "::") {
		return fmt.Errorf("%w: %q is no URL of a repository", ErrNotFound, Redact(url))
	}
	if isLocalURL(url) && !isLocalURL(superURL) {
		return fmt.Errorf("%w: %s is a path on this machine, which a repository from elsewhere must not name", ErrNotFound, url)
	}
	here := func() bool {
		_, err := g.run(ctx, call{args: []string{"cat-file", "-e", commit + "^{commit}"}})
		return err == nil
	}
	if here() {
		return nil
	}
	if err := prepareStore(ctx, g); err != nil {
		return err
	}
	clean, own := splitUserinfo(url)
	f := fetcher{git: g, remote: clean, url: clean, cred: e.repo.credFor(clean), hold: hold, env: []string{"GIT_PROTOCOL_FROM_USER=0"}}
	if own != nil {
		f.cred = own
	}
	err := f.commit(ctx, commit, "--depth=1")
	if errors.Is(err, ErrAuth) || errors.Is(err, ErrUnreachable) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		// The server gives away only what its branches and tags point to.
		if err := f.all(ctx); err != nil {
			return err
		}
	}
	if !here() {
		return &RemoteError{Kind: ErrNotFound, URL: Redact(clean), Advice: "push the submodule's commit, or update the submodule in the repository", Detail: "commit " + commit + " is not there"}
	}
	return nil
}

// prepareStore makes the bare repository, or a half-made one whole. The caller
// has our lock, and nobody else uses the store: lock files in it are leftovers.
func prepareStore(ctx context.Context, g git) error {
	if err := os.MkdirAll(g.gitDir, 0o755); err != nil { //nolint:gosec // as git makes it
		return err
	}
	err := filepath.WalkDir(g.gitDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".lock") {
			return err
		}
		return os.Remove(path)
	})
	if err != nil {
		return err
	}
	_, err = g.run(ctx, call{args: []string{"init", "--quiet", "--bare"}})
	return err
}

// joinURL resolves a submodule's URL, which may be relative to that of the
// repository it is in.
func joinURL(super, sub string) (string, error) {
	if !strings.HasPrefix(sub, "./") && !strings.HasPrefix(sub, "../") {
		return sub, nil
	}
	if super == "" {
		return "", fmt.Errorf("%w: url %q is relative, and the repository has no remote", ErrNotFound, sub)
	}
	head, tail := "", strings.TrimRight(super, "/")
	switch {
	case strings.Contains(super, "://"):
		u, err := url.Parse(super)
		if err != nil {
			return "", fmt.Errorf("%w: %s", ErrNotFound, Redact(super))
		}
		tail = strings.TrimRight(u.Path, "/")
		u.Path, u.RawPath = "", ""
		head = u.String()
	case isSCP(super):
		host, p, _ := strings.Cut(super, ":")
		head, tail = host+":", strings.TrimRight(p, "/")
	}
	joined := path.Join(tail, sub)
	if head != "" && (joined == ".." || strings.HasPrefix(joined, "../")) {
		return "", fmt.Errorf("%w: url %q leads above %s", ErrNotFound, sub, Redact(super))
	}
	return head + joined, nil
}
