// SPDX-License-Identifier: Apache-2.0

// Package source works on the Git clone of a deployment directory through the
// git program: it fetches, resolves and lists commits, exports a commit's tree,
// and moves the working tree to another commit without ever writing over what
// somebody changed there.
//
// What is fetched goes to refs of our own, below refs/fairlead, so that the
// branches, tags and remote-tracking branches of the user stay as they are.
// Hooks of the repository never run, and git never prompts.
package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
)

// Our refs: mirrors of the remote's branches and tags, commits fetched by SHA,
// and the commit that the working tree was last moved to.
const (
	refRoot    = "refs/fairlead/"
	refHeads   = refRoot + "heads/"
	refTags    = refRoot + "tags/"
	refCommits = refRoot + "commits/"
	refMoved   = refRoot + "moved"
)

// Options of Open. The zero value serves a clone with its own origin.
type Options struct {
	// URL to fetch from. Default: the clone's remote "origin", or its only remote.
	URL string
	// DefaultRef is the branch or tag that an empty revision means. Default:
	// the branch that is checked out.
	DefaultRef string
	// Credentials for the URL and for submodules on the same server. Default:
	// what git and ssh of the user that this process runs as are set up with.
	Credentials *Credentials
}

// Repo is a Git working tree. It holds nothing open and may be used by several
// goroutines and processes at once: those that change the repository wait for
// each other.
type Repo struct {
	git        git
	top        string
	realTop    string // top without symbolic links
	gitDir     string
	commonDir  string
	prefix     string
	remote     string // argument for git fetch: name or URL; "" when there is none
	url        string // effective URL, for messages and credentials
	defaultRef string
	cred       *Credentials
	version    Version
	now        func() time.Time
	known      known
}

// Open finds the working tree that dir is in. It changes nothing. Errors:
// ErrGitMissing, ErrNotRepository, ErrCredentials when the credentials do not
// fit the URL. A repository without any remote opens; Fetch then gives ErrNoRemote.
func Open(ctx context.Context, dir string, opts Options) (*Repo, error) {
	r, err := locate(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	if err := r.findRemote(ctx, opts); err != nil {
		return nil, err
	}
	return r, nil
}

// OpenAtHead is Open, and Head at the same time.
func OpenAtHead(ctx context.Context, dir string, opts Options) (*Repo, Head, error) {
	r, err := locate(ctx, dir, opts)
	if err != nil {
		return nil, Head{}, err
	}
	var remotes string
	var head Head
	var both errgroup.Group
	both.Go(func() (err error) { remotes, err = r.remotes(ctx); return err })
	both.Go(func() (err error) { head, err = r.Head(ctx); return err })
	if err := both.Wait(); err != nil {
		return nil, Head{}, err
	}
	if err := r.chooseRemote(ctx, remotes, opts); err != nil {
		return nil, Head{}, err
	}
	return r, head, nil
}

// locate is Open but for the remote.
func locate(ctx context.Context, dir string, opts Options) (*Repo, error) {
	r := &Repo{defaultRef: opts.DefaultRef, now: time.Now}
	var err error
	if r.version, err = InstalledVersion(ctx); err != nil {
		return nil, err
	}
	if !r.version.AtLeast(minVersion.Major, minVersion.Minor) {
		return nil, fmt.Errorf("%w: found git %s, install %s or newer", ErrGitMissing, r.version, minVersion)
	}
	if err := r.discover(dir); err != nil {
		return nil, err
	}
	if r.git, err = newGit(); err != nil {
		return nil, err
	}
	r.git.dir, r.git.workTree, r.git.gitDir, r.git.ssh = r.top, r.top, r.gitDir, &sshChoice{}
	if r.commonDir, err = commonDirOf(r.gitDir); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotRepository, dir, err)
	}
	return r, nil
}

// TopOf is the working tree that dir is in, with symbolic links resolved: the same
// for all that have one HEAD. It starts no process. ErrNotRepository without any.
func TopOf(dir string) (string, error) {
	var r Repo
	err := r.discover(dir)
	return r.realTop, err
}

// commonDirOf is where a repository keeps what its linked working trees share:
// the repository itself, or what the file commondir in it names, as
// gitrepository-layout(5) has it.
func commonDirOf(gitDir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(gitDir, "commondir")) //nolint:gosec // inside the git directory
	if errors.Is(err, fs.ErrNotExist) {
		return gitDir, nil
	}
	if err != nil {
		return "", err
	}
	dir := strings.TrimRight(string(text), "\r\n")
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(gitDir, dir)
	}
	return dir, nil
}

// GitVersion is the version of the git program that Open found.
func (r *Repo) GitVersion() Version { return r.version }

// discover walks up from dir to the directory with .git. Links on the way are
// followed to find it; its name stays the one that dir was given by, since paths
// of the Compose model begin with that.
func (r *Repo) discover(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	start, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s does not exist", ErrNotRepository, abs)
	}
	if err != nil {
		return err
	}
	for top := start; ; top = filepath.Dir(top) {
		gitDir, err := gitDirOf(top)
		if err != nil {
			return err
		}
		if gitDir != "" {
			rel, err := filepath.Rel(top, start)
			if err != nil {
				return err
			}
			if rel != "." {
				r.prefix = filepath.ToSlash(rel)
			}
			r.top, r.realTop, r.gitDir = top, top, gitDir
			if named, ok := topAsNamed(abs, top, rel); ok {
				r.top = named
			}
			return nil
		}
		if top == filepath.Dir(top) {
			return fmt.Errorf("%w: %s; make it one with git clone, or name the directory of the clone", ErrNotRepository, abs)
		}
	}
}

// topAsNamed is the path of the working tree top in the words of abs, a directory
// that lies rel below it; false when a link between the two hides it.
func topAsNamed(abs, top, rel string) (string, bool) {
	named := abs
	if rel != "." {
		var ok bool
		if named, ok = strings.CutSuffix(abs, string(filepath.Separator)+rel); !ok {
			return "", false
		}
	}
	resolved, err := filepath.EvalSymlinks(named)
	return named, err == nil && resolved == top
}

// gitDirOf returns the repository of the working tree top: .git itself, or what
// a .git file points to (linked working trees, submodules). "" when there is none.
func gitDirOf(top string) (string, error) {
	path := filepath.Join(top, ".git")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		text, err := os.ReadFile(path) //nolint:gosec // the path is what the caller asked for
		if err != nil {
			return "", err
		}
		target, ok := strings.CutPrefix(strings.TrimRight(string(text), "\r\n"), "gitdir: ")
		if !ok {
			return "", fmt.Errorf("%w: %s is neither a directory nor a gitdir file", ErrNotRepository, path)
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(top, target)
		}
		path = target
	}
	if _, err := os.Stat(filepath.Join(path, "HEAD")); err != nil {
		return "", fmt.Errorf("%w: %s is damaged: %w", ErrNotRepository, path, err)
	}
	return path, nil
}

func (r *Repo) chooseRemote(ctx context.Context, remotes string, opts Options) error {
	name, configured, err := r.configuredRemote(ctx, remotes)
	if err != nil {
		return err
	}
	r.cred = opts.Credentials
	switch {
	case opts.URL != "" && opts.URL != configured:
		if strings.HasPrefix(opts.URL, "-") || strings.ContainsAny(opts.URL, "\n\x00") || strings.HasPrefix(opts.URL, "ext::") {
			return fmt.Errorf("%w: %q is no URL of a repository", ErrNoRemote, Redact(opts.URL))
		}
		r.remote, r.url = opts.URL, opts.URL
	case name != "":
		// By name, so that the remote's own settings (proxy, partial clone) hold.
		r.remote, r.url, r.git.hasRemote = name, configured, true
	default:
		return nil
	}
	if isLocalURL(r.url) && !strings.Contains(r.url, "://") && !filepath.IsAbs(r.url) {
		r.url = filepath.Join(r.top, r.url) // as git, which runs there, takes it
	}
	if clean, own := splitUserinfo(r.url); own != nil {
		// A password in the URL would be seen in the process list.
		r.remote, r.url, r.git.hasRemote = clean, clean, false
		if r.cred == nil {
			r.cred = own
		}
	}
	if r.cred == nil {
		return nil
	}
	if err := r.cred.validate(); err != nil {
		return err
	}
	return r.cred.fit(r.url)
}

// findRemote asks for the remotes and chooses one.
func (r *Repo) findRemote(ctx context.Context, opts Options) error {
	remotes, err := r.remotes(ctx)
	if err != nil {
		return err
	}
	return r.chooseRemote(ctx, remotes, opts)
}

// remotes are those that are configured, as git tells them.
func (r *Repo) remotes(ctx context.Context) (string, error) {
	return r.git.text(ctx, "remote", "--verbose")
}

// configuredRemote returns the remote "origin", or the only one, and its URL;
// empty names where there is none.
func (r *Repo) configuredRemote(ctx context.Context, remotes string) (name, url string, err error) {
	urls := parseRemotes(remotes)
	switch _, origin := urls["origin"]; {
	case origin:
		name = "origin"
	case len(urls) == 1:
		for only := range urls {
			name = only
		}
	default:
		return "", "", nil
	}
	if url = urls[name]; url == "" {
		url, err = r.git.text(ctx, "remote", "get-url", name) // whose error says what is wrong
	}
	return name, url, err
}

// parseRemotes reads `git remote --verbose`: "origin\tURL (fetch)", behind which
// newer versions of git tell the filter of a partial clone.
func parseRemotes(out string) map[string]string {
	urls := map[string]string{}
	for line := range strings.Lines(out) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if name == "" {
			continue
		}
		if _, seen := urls[name]; !seen {
			urls[name] = ""
		}
		if i := strings.LastIndex(rest, " (fetch)"); i >= 0 && urls[name] == "" {
			urls[name] = rest[:i]
		}
	}
	return urls
}

// splitUserinfo takes user name and password out of an http or https URL. A
// lone user name is a token, as some servers have it.
func splitUserinfo(u string) (string, *Credentials) {
	if !isHTTP(u) {
		return u, nil
	}
	p, err := url.Parse(u)
	if err != nil || p.User == nil {
		return u, nil
	}
	password, ok := p.User.Password()
	if !ok || password == "" {
		return u, nil
	}
	c := &Credentials{Username: p.User.Username(), Password: password}
	p.User = nil
	return p.String(), c
}

// credFor returns the credentials for a submodule's URL. A password is for its
// own server alone; an SSH key proves itself without being given away.
func (r *Repo) credFor(u string) *Credentials {
	if r.cred == nil || httpScope(u) == httpScope(r.url) {
		return r.cred
	}
	return &Credentials{SSHPrivateKey: r.cred.SSHPrivateKey, KnownHosts: r.cred.KnownHosts}
}

func isHTTP(u string) bool {
	l := strings.ToLower(u)
	return strings.HasPrefix(l, "http://") || strings.HasPrefix(l, "https://")
}

// isSSH recognises ssh://host/path and host:path.
func isSSH(u string) bool {
	l := strings.ToLower(u)
	return strings.HasPrefix(l, "ssh://") || strings.HasPrefix(l, "git+ssh://") || strings.HasPrefix(l, "ssh+git://") || isSCP(u)
}

func isSCP(u string) bool {
	host, _, ok := strings.Cut(u, ":")
	return ok && !strings.Contains(u, "://") && !strings.Contains(u, "::") && !strings.Contains(host, "/")
}

func isLocalURL(u string) bool {
	return strings.HasPrefix(strings.ToLower(u), "file://") || !strings.Contains(u, "://") && !isSCP(u)
}

// Top is the absolute path of the working tree, in the words in which the opened
// directory was named: a symbolic link in it stays.
func (r *Repo) Top() string { return r.top }

// Prefix is the path of the opened directory below Top with slashes; "" for Top itself.
func (r *Repo) Prefix() string { return r.prefix }

// URL is where Fetch fetches from, without credentials; "" without a remote.
func (r *Repo) URL() string { return Redact(r.url) }

// Exclude sees to it that git ignores the patterns (as in .gitignore, relative
// to Top) in this clone only: missing lines are added to .git/info/exclude.
func (r *Repo) Exclude(ctx context.Context, patterns ...string) error {
	for _, p := range patterns {
		if p == "" || strings.ContainsAny(p, "\n\x00") {
			return fmt.Errorf("exclude: %q is no pattern", p)
		}
	}
	path := filepath.Join(r.commonDir, "info", "exclude")
	old, text, err := excluding(path, patterns)
	if err != nil || bytes.Equal(old, text) {
		return err
	}
	return r.locked(ctx, func(*os.File) error {
		old, text, err := excluding(path, patterns)
		if err != nil || bytes.Equal(old, text) {
			return err
		}
		perm := fs.FileMode(0o644)
		if info, err := os.Stat(path); err == nil {
			perm = info.Mode().Perm()
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as git makes it
			return err
		}
		return atomicfile.WriteFile(path, text, perm)
	})
}

// excluding returns what a file of patterns holds, and what it holds with those
// that are missing.
func excluding(path string, patterns []string) (old, text []byte, err error) {
	old, err = os.ReadFile(path) //nolint:gosec // inside the git directory
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	text = bytes.Clone(old)
	for _, p := range patterns {
		if slices.Contains(strings.Split(string(text), "\n"), p) {
			continue
		}
		if len(text) > 0 && text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		text = append(text, p+"\n"...)
	}
	return old, text, nil
}

// Maintain lets git pack what has accumulated, when git thinks it is time; all
// that HEAD ever pointed to is kept. It may take minutes on large repositories.
func (r *Repo) Maintain(ctx context.Context) error {
	return r.locked(ctx, func(hold *os.File) error {
		_, err := r.git.run(ctx, call{
			args:   []string{"gc", "--auto", "--quiet"},
			config: []string{"gc.auto=6700", "gc.autoDetach=false", "gc.reflogExpire=never", "gc.reflogExpireUnreachable=never"},
			hold:   hold,
		})
		return err
	})
}
