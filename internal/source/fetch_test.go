// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

func TestFetchPrunesAndFollowsForcePush(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	sh(t, up, "branch", "name")
	sh(t, up, "tag", "moving")
	dir := clone(t, up)
	r := open(t, dir, Options{})
	fetch(t, r, "name")
	sh(t, up, "branch", "-D", "name")
	sh(t, up, "branch", "name/below")
	sh(t, up, "commit", "-q", "--amend", "-m", "forced")
	sh(t, up, "tag", "-f", "moving")
	fetch(t, r, "main")
	for rev, want := range map[string]string{"main": "forced", "moving": "forced", "name/below": "one"} {
		if c, err := r.Resolve(t.Context(), rev); err != nil || c.Subject != want {
			t.Errorf("%s is %q, %v; want %q", rev, c.Subject, err, want)
		}
	}
	if _, err := r.Fetch(t.Context(), "name"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted branch: %v", err)
	}
	noLocks(t, dir)
}

func TestFetchCommitOutsideBranches(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	sh(t, up, "config", "uploadpack.allowAnySHA1InWant", "true")
	dir, shallow := clone(t, up), clone(t, "file://"+up, "--depth=1")
	sh(t, up, "checkout", "-q", "--detach")
	loose := put(t, up, "loose", "a", "2")
	sh(t, up, "checkout", "-q", "main")
	for _, dir := range []string{dir, shallow} {
		r := open(t, dir, Options{})
		fetch(t, r, loose)
		if c, err := r.Resolve(t.Context(), loose[:10]); err != nil || c.SHA != loose {
			t.Errorf("%v, %v", c, err)
		}
		if _, err := r.Fetch(t.Context(), strings.Repeat("12", 20)); !errors.Is(err, ErrNotFound) {
			t.Errorf("no such commit: %v", err)
		}
		noLocks(t, dir)
	}
	// What is here already needs no network.
	if err := os.Rename(up, up+".gone"); err != nil {
		t.Fatal(err)
	}
	fetch(t, open(t, dir, Options{}), loose)
	if _, err := open(t, dir, Options{}).Fetch(t.Context(), "main"); !errors.Is(err, ErrNotFound) {
		t.Errorf("upstream is gone: %v", err)
	}
}

func TestFetchIntoShallowClone(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	var shas []string
	for i := range 80 {
		shas = append(shas, put(t, up, fmt.Sprint(i), "a", fmt.Sprint(i)))
	}
	sh(t, up, "checkout", "-q", "-b", "old", shas[60])
	old := put(t, up, "on old", "b", "1")
	sh(t, up, "checkout", "-q", "main")
	sh(t, up, "tag", "-a", "-m", "x", "v0", shas[1])
	tests := []struct {
		name, ref, want string
		direction       Direction
		total           int
		stillShallow    bool
	}{
		{"newer commit of the branch", "main", "", Forward, 1, true},
		{"branch that forked before", "old", old, Diverged, 1, true},
		{"older full SHA", shas[70], shas[70], Backward, 9, true},
		{"older short SHA", shas[2][:12], shas[2], Backward, 77, false},
		{"older tag", "v0", shas[1], Backward, 78, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := clone(t, "file://"+up, "--depth=1")
			r := open(t, dir, Options{})
			if tt.want == "" {
				tt.want = put(t, up, "newest", "a", "newest")
				defer sh(t, up, "reset", "-q", "--hard", shas[79])
			}
			fetch(t, r, tt.ref)
			c, err := r.Resolve(t.Context(), tt.ref)
			if err != nil || c.SHA != tt.want {
				t.Fatalf("resolved %v, %v; want %s", c, err, tt.want)
			}
			changes, err := r.Changes(t.Context(), shas[79], tt.want, 0)
			if err != nil || changes.Direction != tt.direction || changes.Total != tt.total || changes.Truncated {
				t.Errorf("changes are %s, %d, %v, %v", changes.Direction, changes.Total, changes.Truncated, err)
			}
			if shallow, err := r.shallow(); err != nil || shallow && !tt.stillShallow {
				t.Errorf("shallow %v, %v", shallow, err)
			}
			moveTo(t, r, tt.want)
			noLocks(t, dir)
		})
	}
	dir := clone(t, "file://"+up, "--depth=1")
	r := open(t, dir, Options{})
	if _, err := r.Fetch(t.Context(), "nope"); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such branch: %v", err)
	}
}

func TestFetchHTTP(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	first := put(t, up, "one", "a", "1")
	const user, password = "bot", "s3cr%t/'x"
	server := serveHTTP(t, filepath.Dir(up), user, password)
	url := server + "/upstream"
	dir := clone(t, up)
	sh(t, dir, "remote", "set-url", "origin", url)
	sh(t, dir, "config", "credential.helper", "store")
	two := put(t, up, "two", "a", "2")

	good := &Credentials{Username: user, Password: password}
	withUser := strings.Replace(url, "http://", "http://bot:s3cr%25t%2F'x@", 1)
	tests := []struct {
		name string
		opts Options
		want error
	}{
		{"credentials", Options{Credentials: good}, nil},
		{"other URL", Options{URL: url + "/", Credentials: good}, nil},
		{"password in the URL", Options{URL: withUser}, nil},
		{"none", Options{}, ErrAuth},
		{"wrong password", Options{Credentials: &Credentials{Username: user, Password: "wr0ng"}}, ErrAuth},
		{"token of another server", Options{Credentials: &Credentials{Password: "t0ken"}}, ErrAuth},
		{"no repository", Options{URL: server + "/none", Credentials: good}, ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := open(t, dir, tt.opts)
			_, err := r.Fetch(t.Context(), "main")
			if !errors.Is(err, tt.want) {
				t.Fatalf("error is %v, want %v", err, tt.want)
			}
			if err != nil {
				var remote *RemoteError
				if !errors.As(err, &remote) || remote.Advice == "" {
					t.Errorf("no advice in %v", err)
				}
				for _, secret := range []string{password, "wr0ng", "t0ken", "s3cr"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%q gives a secret away", err)
					}
				}
				return
			}
			if strings.Contains(r.URL(), "s3cr") {
				t.Errorf("URL is %s", r.URL())
			}
			if c, err := r.Resolve(t.Context(), "main"); err != nil || c.SHA != two {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
	// Nothing of the secret is kept, anywhere.
	for _, root := range []string{filepath.Join(dir, ".git"), os.Getenv("HOME")} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.Contains(read(t, filepath.Dir(path), filepath.Base(path)), "s3cr") {
				t.Errorf("%s has the password", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if h := head(t, open(t, dir, Options{})); h.Commit != first {
		t.Error("fetch moved HEAD")
	}
	moveTo(t, open(t, dir, Options{}), two) // offline
}

func TestFetchPasswordInOrigin(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	url := serveHTTP(t, filepath.Dir(up), "bot", "s3cret") + "/upstream"
	dir := clone(t, up)
	sh(t, dir, "remote", "set-url", "origin", strings.Replace(url, "http://", "http://bot:s3cret@", 1))
	r := open(t, dir, Options{})
	fetch(t, r, "main")
	if r.URL() != url || r.remote != url {
		t.Errorf("git is given %q", r.remote)
	}
}

func TestFetchUnreachable(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer broken.Close()
	for _, url := range []string{"http://u:p@" + closed.Addr().String() + "/timed-certificate", broken.URL + "/a", "ssh://git@" + closed.Addr().String() + "/a"} {
		_, err := open(t, up, Options{URL: url}).Fetch(t.Context(), "main")
		if !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "u:p") || strings.Contains(err.Error(), "authorities") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestFetchSSH(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	addr, key, known := serveSSH(t)
	_, otherKey, _ := serveSSH(t)
	_, port, _ := strings.Cut(addr, ":")
	url := "ssh://git@127.0.0.1:" + port + up
	dir := clone(t, up)
	sha := put(t, up, "two", "a", "2")
	tests := []struct {
		name string
		cred *Credentials
		want error
	}{
		{"key and known host", &Credentials{SSHPrivateKey: key, KnownHosts: known}, nil},
		{"unknown host", &Credentials{SSHPrivateKey: key}, ErrAuth},
		{"wrong host key", &Credentials{SSHPrivateKey: key, KnownHosts: []byte(strings.Replace(string(known), "AAAAI", "AAAAJ", 1))}, ErrAuth},
		{"wrong key", &Credentials{SSHPrivateKey: otherKey, KnownHosts: known}, ErrAuth},
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := open(t, dir, Options{URL: url, Credentials: tt.cred})
			_, err := r.Fetch(t.Context(), "main")
			if !errors.Is(err, tt.want) {
				t.Fatalf("error is %v, want %v", err, tt.want)
			}
			if c, err := r.Resolve(t.Context(), "main"); tt.want == nil && (err != nil || c.SHA != sha) {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}

func TestCancelledFetchLeavesNoLock(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "a", "1")
	dir := clone(t, "file://"+up, "--depth=1")
	put(t, up, "two", "a", "2")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked, ended := make(chan struct{}, 16), make(chan struct{})
	defer close(ended)
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	defer hanging.Close()
	go func() {
		<-asked
		cancel()
	}()
	start := time.Now()
	_, err := open(t, dir, Options{URL: hanging.URL + "/x"}).Fetch(ctx, "main")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(start); took > killDelay {
		t.Errorf("git did not heed the end of its context, it took %v", took)
	}
	noLocks(t, dir)
	// The directory is usable at once.
	fetch(t, open(t, dir, Options{}), "main")
}

func TestClassify(t *testing.T) {
	for text, want := range map[string]error{
		"remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found":                                         ErrNotFound,
		"fatal: could not read Username for 'https://github.com': terminal prompts disabled":                                           ErrAuth,
		"remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://gitlab.com/a/'":                                  ErrAuth,
		"git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.":                                ErrAuth,
		"Host key verification failed.\nfatal: Could not read from remote repository.":                                                 ErrAuth,
		"ERROR: Repository not found.\nfatal: Could not read from remote repository.":                                                  ErrNotFound,
		"fatal: unable to access 'https://h/': Could not resolve host: h":                                                              ErrUnreachable,
		"fatal: unable to access 'https://h/': The requested URL returned error: 503":                                                  ErrUnreachable,
		"fatal: unable to access 'https://h/': The requested URL returned error: 403":                                                  ErrAuth,
		"ssh: connect to host h port 22: Connection timed out\nfatal: Could not read from remote repository.":                          ErrUnreachable,
		"error: RPC failed; curl 18 transfer closed\nfatal: the remote end hung up unexpectedly":                                       ErrUnreachable,
		"fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none":                                   ErrUnreachable,
		"fatal: couldn't find remote ref refs/heads/x":                                                                                 ErrNotFound,
		"error: Server does not allow request for unadvertised object 123":                                                             ErrNotFound,
		"fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output":                                    nil,
		"fatal: Unable to create '/x/.git/shallow.lock': File exists.\nAnother git process seems to be running in this repository":     nil,
		"error: insufficient permission for adding an object to repository database .git/objects\nfatal: failed to write object":       nil,
		"ssh: Could not resolve hostname h: Temporary failure in name resolution\r\nfatal: Could not read from remote repository.\n\n": ErrUnreachable,
	} {
		err := classify(&gitError{command: "fetch", code: 128, stderr: text}, "https://u:p@h/")
		var remote *RemoteError
		if want == nil {
			if errors.As(err, &remote) {
				t.Errorf("%q is taken for %v", text, remote.Kind)
			}
			continue
		}
		if !errors.Is(err, want) {
			t.Errorf("%q is %v, want %v", text, err, want)
		}
	}
}

// Git has no status for a full disk, only words.
func TestFullDisk(t *testing.T) {
	for text, want := range map[string]error{
		"fatal: unable to write loose object file: No space left on device\nfatal: unpack-objects failed":                       syscall.ENOSPC,
		"fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output":                             syscall.ENOSPC,
		"fatal: cannot create directory at 'a': No space left on device":                                                        syscall.ENOSPC,
		"error: unable to write file a/b\nfatal: sha1 file '/x/index-1.lock' write error: No space left on device":              syscall.ENOSPC,
		"fatal: write error: Disk quota exceeded\nfatal: fetch-pack: invalid index-pack output":                                 syscall.EDQUOT,
		"Downloading a (1 KB)\nerror: external filter 'git-lfs filter-process' failed\nwrite /x/tmp/1: no space left on device": syscall.ENOSPC,
		// That of the server is not ours.
		"remote: fatal: write error: No space left on device\nfatal: the remote end hung up unexpectedly": nil,
		"fatal: unable to access 'https://h/': Could not resolve host: h":                                 nil,
	} {
		failed := &gitError{command: "fetch", code: 128, stderr: text}
		for _, err := range []error{classify(failed, "https://h/"), contentError(failed, "https://h/")} {
			if got := failure.IsNoSpace(err); got != (want != nil) || want != nil && !errors.Is(err, want) {
				t.Errorf("%q: a full disk: %v, as %v", text, got, err)
			}
		}
	}
}

// Of a file that could not be checked out git does not say why: the file system is asked.
func TestFullDiskThatGitDoesNotName(t *testing.T) {
	const unwritten = "error: unable to write file a"
	for name, tt := range map[string]struct {
		stderr string
		fs     unix.Statfs_t
		want   bool
	}{
		"no blocks":        {unwritten, unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 10, Files: 10, Ffree: 5}, true},
		"no inodes":        {unwritten, unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 1 << 19, Files: 10}, true},
		"room":             {unwritten, unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 1 << 19, Files: 10, Ffree: 5}, false},
		"without inodes":   {unwritten, unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 1 << 19}, false},
		"without figures":  {unwritten, unix.Statfs_t{Bsize: 4096}, false},
		"another failure":  {"fatal: bad object", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20}, false},
		"among other ones": {"error: unable to write file a\nerror: unable to write file b\n", unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20}, true},
	} {
		statfs := func(_ string, fs *unix.Statfs_t) error { *fs = tt.fs; return nil }
		err := &gitError{command: "read-tree", code: 128, stderr: tt.stderr, full: git{workTree: "/srv/shop"}.filled(tt.stderr, statfs)}
		if got := failure.IsNoSpace(err); got != tt.want || got && !strings.Contains(err.Error(), "/srv/shop") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"fatal: 'https://user:pa:ss@host/a' x": "fatal: 'https://host/a' x",
		"https://token@host/a?b=c@d":           "https://host/a?b=c@d",
		"git@host:a/b":                         "git@host:a/b",
		"ssh://git@host/a http://a:b@c":        "ssh://host/a http://c",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}
