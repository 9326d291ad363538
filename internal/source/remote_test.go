// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestLsRemote(t *testing.T) {
	sandbox(t)
	upstream := newRepo(t)
	first := put(t, upstream, "first", "a", "1")
	sh(t, upstream, "tag", "light")
	sh(t, upstream, "tag", "-m", "annotated", "v1.0.0")
	tagObject := sh(t, upstream, "rev-parse", "v1.0.0")
	sh(t, upstream, "branch", "side")
	second := put(t, upstream, "second", "a", "2")
	dir := clone(t, upstream)
	third := put(t, upstream, "third", "a", "3")
	root := filepath.Dir(upstream)

	addr, key, knownHosts := serveSSH(t)
	tests := []struct {
		name string
		opts Options
	}{
		{"file", Options{}},
		{"http", Options{URL: serveHTTP(t, root, "ada", "secret-of-ada") + "/upstream/.git", Credentials: &Credentials{Username: "ada", Password: "secret-of-ada"}}},
		{"ssh", Options{URL: "ssh://git@" + addr + upstream, Credentials: &Credentials{SSHPrivateKey: key, KnownHosts: knownHosts}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := open(t, dir, tt.opts)
			remote, err := r.LsRemote(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := Remote{Head: "refs/heads/main", Refs: []Ref{
				{Name: "refs/heads/main", SHA: third, Object: third},
				{Name: "refs/heads/side", SHA: first, Object: first},
				{Name: "refs/tags/light", SHA: first, Object: first},
				{Name: "refs/tags/v1.0.0", SHA: first, Object: tagObject},
			}}
			if remote.Head != want.Head || !slices.Equal(remote.Refs, want.Refs) {
				t.Errorf("got %+v", remote)
			}
			if here, err := r.Has(t.Context(), third); err != nil || here {
				t.Errorf("it was fetched: %v, %v", here, err)
			}
			if here, err := r.Has(t.Context(), second); err != nil || !here {
				t.Errorf("what is checked out is not here: %v", err)
			}
		})
	}
	if ref, ok := (Remote{Refs: []Ref{{Name: "refs/heads/x", SHA: "1"}, {Name: "refs/tags/x", SHA: "2"}}}).Find("x"); !ok || ref.SHA != "1" {
		t.Error("a branch goes before a tag")
	}
}

// A look takes no lock: an update is not held up by it, and does not hold it up.
func TestLsRemoteTakesNoLock(t *testing.T) {
	sandbox(t)
	upstream := newRepo(t)
	put(t, upstream, "first", "a", "1")
	r := open(t, clone(t, upstream), Options{})
	other := exec.CommandContext(t.Context(), "flock", filepath.Join(r.commonDir, lockName), "cat")
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 4)); err != nil { // cat runs, so the lock is held
		t.Fatal(err)
	}
	if _, err := r.LsRemote(t.Context()); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := other.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestLsRemoteErrors(t *testing.T) {
	sandbox(t)
	upstream := newRepo(t)
	put(t, upstream, "first", "a", "1")
	dir := clone(t, upstream)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for _, tt := range []struct {
		name string
		opts Options
		want error
	}{
		{"nobody listens", Options{URL: "http://" + closed + "/x.git"}, ErrUnreachable},
		{"gone", Options{URL: "file:///does/not/exist.git"}, ErrNotFound},
		{"wrong password", Options{URL: serveHTTP(t, filepath.Dir(upstream), "ada", "right-password") + "/upstream/.git",
			Credentials: &Credentials{Username: "ada", Password: "wrong-password"}}, ErrAuth},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := open(t, dir, tt.opts).LsRemote(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	sh(t, dir, "remote", "remove", "origin")
	if _, err := open(t, dir, Options{}).LsRemote(t.Context()); !errors.Is(err, ErrNoRemote) {
		t.Errorf("without a remote: %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, dir, Options{URL: upstream}).LsRemote(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDateTags(t *testing.T) {
	sandbox(t)
	upstream := newRepo(t)
	put(t, upstream, "first", "a", "1")
	r := open(t, clone(t, upstream), Options{})
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	t.Setenv("GIT_COMMITTER_DATE", at.Format(time.RFC3339))
	sh(t, upstream, "tag", "-m", "annotated", "annotated")
	sh(t, upstream, "tag", "light") // has the date of its commit
	remote, err := r.LsRemote(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, all, err := r.DateTags(t.Context(), remote.Tags(), false); err != nil || all {
		t.Errorf("they are not here: %v, %v", all, err)
	}
	dated, all, err := r.DateTags(t.Context(), remote.Tags(), true)
	if err != nil || !all || !dated[0].Time.Equal(at) || !dated[1].Time.Equal(time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)) {
		t.Errorf("got %+v, %v, %v", dated, all, err)
	}
	if tags := sh(t, r.Top(), "tag"); tags != "" {
		t.Errorf("the user's tags are %q now", tags)
	}
	// One that was moved has to be fetched again.
	t.Setenv("GIT_COMMITTER_DATE", at.Add(time.Hour).Format(time.RFC3339))
	sh(t, upstream, "tag", "-f", "-m", "moved", "annotated")
	if remote, err = r.LsRemote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, all, err := r.DateTags(t.Context(), remote.Tags(), false); err != nil || all {
		t.Errorf("the old date counts for the new tag: %v, %v", all, err)
	}
	if dated, _, err = r.DateTags(t.Context(), remote.Tags(), true); err != nil || !dated[0].Time.Equal(at.Add(time.Hour)) {
		t.Errorf("got %+v, %v", dated, err)
	}
}

func TestMirror(t *testing.T) {
	sandbox(t)
	upstream := newRepo(t)
	put(t, upstream, "old", "dir/a.yaml", "old")
	put(t, upstream, "first", "dir/a.yaml", "a", "dir/sub/b.yaml", "bb", "other/c.yaml", "c")
	dir := filepath.Join(t.TempDir(), "mirrors", "m.git")
	for range 2 { // it is made, and then found
		m, err := OpenMirror(t.Context(), dir, Options{URL: "file://" + upstream})
		if err != nil {
			t.Fatal(err)
		}
		remote, err := m.LsRemote(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sha, err := m.FetchTip(t.Context(), remote.Head)
		if err != nil || sha != sh(t, upstream, "rev-parse", "HEAD") {
			t.Fatalf("fetched %q: %v", sha, err)
		}
		files, err := m.Files(t.Context(), sha, "dir/")
		if err != nil || len(files) != 2 || files[1].Path != "dir/sub/b.yaml" || files[1].Size != 2 || !files[1].Regular() {
			t.Fatalf("got %+v, %v", files, err)
		}
		if data, err := m.ReadFile(t.Context(), files[1]); err != nil || string(data) != "bb" {
			t.Errorf("got %q, %v", data, err)
		}
		if _, err := m.Files(t.Context(), sha, "../etc"); !errors.Is(err, ErrNotFound) {
			t.Errorf("outside of the repository: %v", err)
		}
		if all, err := m.Files(t.Context(), sha, ""); err != nil || len(all) != 3 {
			t.Errorf("got %+v, %v", all, err)
		}
		noLocks(t, dir)
	}
	if n := sh(t, dir, "rev-list", "--count", "--all"); n != "1" {
		t.Errorf("%s commits were fetched, one is enough", n)
	}
	if _, err := OpenMirror(t.Context(), dir, Options{}); !errors.Is(err, ErrNoRemote) {
		t.Errorf("without a URL: %v", err)
	}
}
