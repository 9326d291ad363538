// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func export(t *testing.T, r *Repo, sha string) string {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "releases", sha)
	if Exported(dest) {
		t.Fatal("exported before")
	}
	if err := r.Export(t.Context(), sha, dest); err != nil {
		t.Fatal(err)
	}
	if !Exported(dest) {
		t.Error("not exported")
	}
	if entries, err := os.ReadDir(filepath.Dir(dest)); err != nil || len(entries) != 2 || entries[0].Name() != ExportsName {
		t.Errorf("beside the export: %v, %v", entries, err)
	}
	return dest
}

func TestExport(t *testing.T) {
	sandbox(t)
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	up := newRepo(t)
	odd := "odd \"na\\me\n\t\xff é"
	write(t, up, "run.sh", "#!/bin/sh\n")
	if err := errors.Join(os.Chmod(filepath.Join(up, "run.sh"), 0o755), os.Symlink("../a", filepath.Join(up, "link")), os.Symlink("/nowhere", filepath.Join(up, "dangling"))); err != nil {
		t.Fatal(err)
	}
	sha := put(t, up, "one", "a", "1\n", odd, "odd", "deep/er/file", "d", "tests/kept", "k", "crlf.txt", "x\n", "up.shout", "whisper",
		".gitattributes", "tests export-ignore\n/a export-ignore export-subst\n*.txt text eol=crlf\n*.shout filter=shout\n", ".gitignore", "ignored\n", "ignored", "committed")
	sh(t, up, "config", "filter.shout.smudge", "tr a-z A-Z")
	sh(t, up, "config", "filter.shout.clean", "tr A-Z a-z")
	// The working tree and index differ in every way from the commit.
	put(t, up, "two", "a", "2", ".gitattributes", "*.txt text eol=lf\n")
	write(t, up, "a", "edited")
	write(t, up, "staged", "staged")
	sh(t, up, "add", "staged")
	sh(t, up, "config", "core.sparseCheckout", "true")
	write(t, up, ".git/info/sparse-checkout", "/staged\n")
	before, status := snapshot(t, up), sh(t, up, "status", "--porcelain")

	dest := export(t, open(t, up, Options{}), sha)
	want := map[string]string{
		"a": "1\n", odd: "odd", "deep/er/file": "d", "tests/kept": "k", "crlf.txt": "x\r\n", "up.shout": "WHISPER", "ignored": "committed", "run.sh": "#!/bin/sh\n",
		".gitattributes": "", ".gitignore": "ignored\n", "link": "../a", "dangling": "/nowhere",
	}
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	found := 0
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dest, path)
		if of := info.ModTime(); !of.Equal(at) && (!d.Type().IsRegular() || !of.Truncate(time.Second).Equal(at)) {
			t.Errorf("%q is of %v", rel, info.ModTime())
		}
		perm := fs.FileMode(0o644)
		switch {
		case d.IsDir():
			perm = 0o755
		case d.Type()&fs.ModeSymlink != 0:
			found++
			if target, err := os.Readlink(path); err != nil || target != want[rel] {
				t.Errorf("link %q leads to %q, %v", rel, target, err)
			}
			return nil
		default:
			found++
			if content, ok := want[rel]; !ok || rel != ".gitattributes" && read(t, dest, rel) != content {
				t.Errorf("%q is %q, want %q", rel, read(t, dest, rel), content)
			}
			if rel == "run.sh" {
				perm = 0o755
			}
		}
		if info.Mode().Perm() != perm {
			t.Errorf("%q has mode %v", rel, info.Mode())
		}
		return nil
	})
	if err != nil || found != len(want) {
		t.Errorf("%d files, %v; want %d", found, err, len(want))
	}
	if snapshot(t, up) != before || sh(t, up, "status", "--porcelain") != status {
		t.Error("the working tree changed")
	}
	if err := open(t, up, Options{}).Export(t.Context(), sha, dest); !errors.Is(err, fs.ErrExist) {
		t.Errorf("into an existing directory: %v", err)
	}
	if err := open(t, up, Options{}).Export(t.Context(), strings.Repeat("0", 40), dest+"x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing commit: %v", err)
	}
}

func TestExportIsWholeOrNotThere(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	sha := put(t, up, "one", "a", "1", "b.slow", "1", ".gitattributes", "*.slow filter=slow\n")
	started := filepath.Join(t.TempDir(), "started")
	sh(t, up, "config", "filter.slow.required", "true")
	sh(t, up, "config", "filter.slow.smudge", "echo > "+started+"; exec sleep 600")
	r := open(t, up, Options{})
	parent := t.TempDir()
	dest := filepath.Join(parent, "out")
	write(t, parent, ".out.tmp-123/tree/half", "left by a killed export")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Export(ctx, sha, dest) }()
	for !exists(started) {
		if err := pause(t.Context(), 5*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if Exported(dest) {
		t.Error("there before it is whole")
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	sh(t, up, "config", "filter.slow.smudge", "false")
	if err := r.Export(t.Context(), sha, dest); err == nil || Exported(dest) {
		t.Errorf("a required filter failed: %v", err)
	}
}

func TestExportLFSPointers(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	pointer := string(lfsPointer) + "oid sha256:abc\nsize 1\n"
	sha := put(t, up, "one", "big.bin", pointer, "doc.txt", pointer, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
	only := put(t, up, "two", "big.bin", "x")
	withoutLFS(t)
	r := open(t, up, Options{})
	err := r.Export(t.Context(), sha, filepath.Join(t.TempDir(), "out"))
	if !errors.Is(err, ErrLFS) || !strings.Contains(err.Error(), "big.bin") || !strings.Contains(err.Error(), "install git-lfs") || strings.Contains(err.Error(), "doc.txt") {
		t.Errorf("error is %v", err)
	}
	export(t, r, only)
	// As `git lfs install` leaves it when the program is gone later.
	sh(t, up, "config", "filter.lfs.process", "git-lfs filter-process")
	sh(t, up, "config", "filter.lfs.required", "true")
	if err := r.Export(t.Context(), sha, filepath.Join(t.TempDir(), "out")); !errors.Is(err, ErrLFS) {
		t.Errorf("error is %v", err)
	}
}

func TestExportSubmodules(t *testing.T) {
	sandbox(t)
	root := t.TempDir()
	const user, password = "bot", "s3cret-password"
	server := serveHTTP(t, root, user, password)
	nested, sub, up := newRepo(t), newRepo(t), newRepo(t)
	for name, dir := range map[string]string{"nested": nested, "sub": sub, "up": up} {
		if err := os.Symlink(dir, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		sh(t, dir, "config", "uploadpack.allowAnySHA1InWant", "true")
	}
	put(t, nested, "nested", "n", "nested")
	sh(t, sub, "submodule", "--quiet", "add", nested, "inner")
	sh(t, sub, "config", "-f", ".gitmodules", "submodule.inner.url", "../nested")
	put(t, sub, "sub", "s", "sub")
	sh(t, up, "submodule", "--quiet", "add", sub, "libs/sub dir")
	sh(t, up, "config", "-f", ".gitmodules", "submodule.libs/sub dir.url", "../sub")
	sha := put(t, up, "up", "a", "1")
	sh(t, up, "config", "-f", ".gitmodules", "submodule.libs/sub dir.url", sub)
	stranger := commitAll(t, up, "submodule by path")

	dir := clone(t, up)
	cred := &Credentials{Username: user, Password: password}
	r := open(t, dir, Options{URL: server + "/up", Credentials: cred})
	if err := open(t, dir, Options{URL: server + "/up"}).Export(t.Context(), sha, filepath.Join(t.TempDir(), "out")); !errors.Is(err, ErrAuth) {
		t.Errorf("without credentials: %v", err)
	}
	dest := export(t, r, sha)
	for name, want := range map[string]string{"a": "1", "libs/sub dir/s": "sub", "libs/sub dir/inner/n": "nested"} {
		if got := read(t, dest, name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if d.Name() == ".git" {
			t.Errorf("%s is there", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// A repository from elsewhere must not name directories of this machine.
	if err := r.Export(t.Context(), stranger, filepath.Join(t.TempDir(), "out")); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "path on this machine") {
		t.Errorf("submodule by path: %v", err)
	}
	// Once fetched, the network is not needed.
	offline := open(t, dir, Options{URL: server + "/up"})
	export(t, offline, sha)
	// What the clone has itself is used too.
	full := clone(t, up)
	sh(t, full, "checkout", "-q", sha)
	sh(t, full, "config", "submodule.libs/sub dir.url", sub)
	sh(t, full, "submodule", "--quiet", "update", "--init")
	sh(t, filepath.Join(full, "libs/sub dir"), "config", "submodule.inner.url", nested)
	sh(t, filepath.Join(full, "libs/sub dir"), "submodule", "--quiet", "init")
	sh(t, filepath.Join(full, "libs/sub dir"), "config", "submodule.inner.url", nested)
	sh(t, filepath.Join(full, "libs/sub dir"), "submodule", "--quiet", "update")
	if err := os.RemoveAll(filepath.Join(full, "libs")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, export(t, open(t, full, Options{}), sha), "libs/sub dir/inner/n"); got != "nested" {
		t.Errorf("from the clone's own submodule: %q", got)
	}
}

func TestExportFromSubdirectoryAndShallow(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	put(t, up, "one", "deploy/compose.yaml", "1", "src/x", "1")
	sha := put(t, up, "two", "src/x", "2")
	dir := clone(t, "file://"+up, "--depth=1")
	r := open(t, filepath.Join(dir, "deploy"), Options{})
	dest := export(t, r, sha)
	if read(t, dest, "src/x") != "2" || read(t, filepath.Join(dest, r.Prefix()), "compose.yaml") != "1" {
		t.Error("not the whole repository")
	}
}

func TestTreeDigest(t *testing.T) {
	sandbox(t)
	sub := newRepo(t)
	subSHA := put(t, sub, "sub", "s", "1")
	up := newRepo(t)
	odd := "odd \"na\\me\n*é"
	sh(t, up, "submodule", "--quiet", "add", sub, "lib")
	one := put(t, up, "one", "api/a", "1", "api/deep/b", "1", "web/a", "1", odd, "1", "star/x", "1")
	two := put(t, up, "two", "web/a", "2")
	if err := os.Chmod(filepath.Join(up, "api/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	three := commitAll(t, up, "three")
	r := open(t, filepath.Join(up, "api"), Options{})
	paths := []string{"api", "api/", "./api/a", "api/deep/b", "web", odd, "lib", "none", "st*", ".", ""}
	digests := map[string]map[string]string{}
	for _, sha := range []string{one, two, three} {
		d, err := r.TreeDigests(t.Context(), sha, paths...)
		if err != nil {
			t.Fatal(err)
		}
		digests[sha] = d
		for _, p := range paths {
			if single, err := r.TreeDigest(t.Context(), sha, p); err != nil || single != d[p] {
				t.Errorf("%q alone is %q, %v; with others %q", p, single, err, d[p])
			}
			if absent := p == "none" || p == "st*"; (d[p] == "") != absent {
				t.Errorf("digest of %q is %q", p, d[p])
			}
		}
	}
	for _, tt := range []struct {
		path  string
		a, b  string
		equal bool
	}{
		{"api", one, two, true}, {"web", one, two, false}, {".", one, two, false}, {"api", two, three, false},
		{"./api/a", two, three, false}, {"api/deep/b", one, three, true}, {odd, one, three, true}, {"lib", one, three, true},
	} {
		if got := digests[tt.a][tt.path] == digests[tt.b][tt.path]; got != tt.equal {
			t.Errorf("%q: equal is %v", tt.path, got)
		}
	}
	if d := digests[one]; d["api"] != d["api/"] || d["."] != d[""] || !strings.HasSuffix(d["lib"], subSHA) {
		t.Errorf("digests are %v", d)
	}
	for _, p := range []string{"../x", "/etc", "a/../../b"} {
		if _, err := r.TreeDigest(t.Context(), one, p); err == nil {
			t.Errorf("%q was taken", p)
		}
	}
}

func TestTracked(t *testing.T) {
	sandbox(t)
	sub := newRepo(t)
	put(t, sub, "sub", "s", "1")
	up := newRepo(t)
	odd := "odd \"na\\me\n*é"
	sh(t, up, "submodule", "--quiet", "add", sub, "lib")
	one := put(t, up, "one", "compose.yaml", "1", "api/deep/b", "1", odd+"/x", "1")
	two := put(t, up, "two", "api/.env", "1")
	r := open(t, filepath.Join(up, "api"), Options{})
	for _, tt := range []struct {
		commit, path string
		want         bool
	}{
		{one, "compose.yaml", true}, {one, "./compose.yaml", true}, {one, "compose.override.yaml", false}, {one, ".", true},
		{one, "api", true}, {one, "api/deep", true}, {one, "api/deep/b", true}, {one, "api/deep/none", false}, {one, "none/x", false},
		{one, "api/.env", false}, {two, "api/.env", true}, {one, odd + "/x", true}, {one, odd, true}, {one, "od*", false},
		{one, "lib", true}, {one, "lib/s", false}, {one, "compose.yaml/x", false}, {one, "../x", false}, {one, "/etc/passwd", false},
	} {
		if got, err := r.Tracked(t.Context(), tt.commit, tt.path); err != nil || got != tt.want {
			t.Errorf("%q at %.7s: %t, %v", tt.path, tt.commit, got, err)
		}
	}
	if _, err := r.Tracked(t.Context(), "main", "compose.yaml"); err == nil {
		t.Error("a branch was taken for a commit")
	}
}

// A dry run may want the tree that an update is just exporting.
func TestExportsToOnePlace(t *testing.T) {
	sandbox(t)
	up := newRepo(t)
	sha := put(t, up, "one", "a", "1", "b.slow", "1", ".gitattributes", "*.slow filter=slow\n")
	dir := t.TempDir()
	started, going := filepath.Join(dir, "started"), filepath.Join(dir, "going")
	sh(t, up, "config", "filter.slow.required", "true")
	sh(t, up, "config", "filter.slow.smudge", "echo >> "+started+"; until [ -e "+going+" ]; do sleep 0.01; done; cat")
	dest := filepath.Join(t.TempDir(), "out")
	alias := filepath.Join(dir, "alias")
	if err := os.Symlink(filepath.Dir(dest), alias); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	export := func(dest string) {
		r := open(t, up, Options{})
		go func() { ended <- r.Export(t.Context(), sha, dest) }()
	}
	export(dest)
	for !exists(started) {
		if err := pause(t.Context(), 5*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := underWay.begin(gone, filepath.Join(alias, "out")); !errors.Is(err, context.Canceled) {
		t.Errorf("a second one could begin, by another name of the place: %v", err)
	}
	export(filepath.Join(alias, "out"))
	write(t, dir, "going", "")
	var there int
	for range 2 {
		if err := <-ended; errors.Is(err, fs.ErrExist) {
			there++
		} else if err != nil {
			t.Error(err)
		}
	}
	if there != 1 || !Exported(dest) || read(t, dest, "a") != "1" || read(t, dest, "b.slow") != "1" {
		t.Errorf("%d found it there, it is there: %t", there, Exported(dest))
	}
	if lines := strings.Count(read(t, dir, "started"), "\n"); lines != 1 {
		t.Errorf("it was exported %d times", lines)
	}
}
