// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/test/apps"
)

const (
	lfsUser, lfsPassword = "bot", "s3cret-password"
	lfsAttributes        = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
)

// withoutLFS makes the PATH one directory with all that is on it but git-lfs,
// which this machine may have.
func withoutLFS(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() == "git-lfs" {
				continue
			}
			if err := os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(bin, e.Name())); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", bin)
}

// lfsStore stands for the store of a hosting service, which cannot be had here:
// the batch API with the basic transfer, for those who know the password, beside
// the repositories.
type lfsStore struct {
	root, url, program string

	mu      sync.Mutex
	objects map[string]string
}

func serveLFS(t *testing.T, root string) *lfsStore {
	t.Helper()
	s := &lfsStore{root: root, objects: map[string]string{}}
	repositories := httpBackend(t, root)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != lfsUser || p != lfsPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		switch {
		case strings.HasSuffix(r.URL.Path, ".git/info/lfs/objects/batch"):
			s.batch(w, r)
		case strings.HasPrefix(r.URL.Path, "/objects/"):
			s.object(w, path.Base(r.URL.Path))
		default:
			repositories.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// install puts the real git-lfs on the PATH.
func (s *lfsStore) install(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(s.program, filepath.Join(bin, "git-lfs")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func (s *lfsStore) batch(w http.ResponseWriter, r *http.Request) {
	type object struct {
		OID     string         `json:"oid"`
		Size    int            `json:"size"`
		Actions map[string]any `json:"actions,omitempty"`
		Error   any            `json:"error,omitempty"`
	}
	var ask struct {
		Objects []object `json:"objects"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range ask.Objects {
		if _, ok := s.objects[o.OID]; ok {
			ask.Objects[i].Actions = map[string]any{"download": map[string]any{"href": s.url + "/objects/" + o.OID}}
		} else {
			ask.Objects[i].Error = map[string]any{"code": 404, "message": "Object does not exist"}
		}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": ask.Objects})
}

func (s *lfsStore) object(w http.ResponseWriter, oid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(w, s.objects[oid])
}

// put keeps the content and returns its pointer.
func (s *lfsStore) put(content string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	pointer, oid := pointerTo(content)
	s.objects[oid] = content
	return pointer
}

func pointerTo(content string) (pointer, oid string) {
	sum := sha256.Sum256([]byte(content))
	oid = hex.EncodeToString(sum[:])
	return fmt.Sprintf("%soid sha256:%s\nsize %d\n", lfsPointer, oid, len(content)), oid
}

// lfsApp is a repository with two files in Git LFS, and a clone of it that was
// made without git-lfs: it has the pointers. What is committed are pointers, as no
// filter is set up in the sandbox.
func lfsApp(t *testing.T) (store *lfsStore, up, dir string) {
	t.Helper()
	program, err := apps.BuildGitLFS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sandbox(t)
	withoutLFS(t)
	root := t.TempDir()
	store = serveLFS(t, root)
	store.program = program
	up = newRepo(t)
	if err := os.Symlink(up, filepath.Join(root, "up")); err != nil {
		t.Fatal(err)
	}
	put(t, up, "one", ".gitattributes", lfsAttributes, "same.bin", store.put("the same"), "sub/new.bin", store.put("first"))
	return store, up, clone(t, up)
}

func TestLFSWithCredentialsOfTheSource(t *testing.T) {
	store, up, dir := lfsApp(t)
	sha := put(t, up, "two", "sub/new.bin", store.put("second"))
	store.install(t)
	owner := os.Geteuid()
	if owner == 0 {
		owner = 12345
		chownAll(t, dir, owner)
	}
	r := open(t, dir, Options{URL: store.url + "/up", Credentials: &Credentials{Username: lfsUser, Password: lfsPassword}})
	fetch(t, r, "main")
	tree := export(t, r, sha)
	if got := read(t, tree, "same.bin") + ", " + read(t, tree, "sub/new.bin"); got != "the same, second" {
		t.Errorf("exported: %s", got)
	}
	if got := read(t, dir, "same.bin"); !strings.HasPrefix(got, string(lfsPointer)) {
		t.Errorf("the export changed the working tree: %s", got)
	}
	moveTo(t, r, sha)
	// Both: containers mount files of the working tree, also those that no
	// commit changed since it was cloned.
	if got := read(t, dir, "same.bin") + ", " + read(t, dir, "sub/new.bin"); got != "the same, second" {
		t.Errorf("in the working tree: %s", got)
	}
	ownedBy(t, dir, owner)
	if left, err := filepath.Glob(filepath.Join(dir, ".git/fairlead-lfs-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	// Content that was touched is no local edit, other content is.
	third := put(t, up, "three", "sub/new.bin", store.put("third"))
	fetch(t, r, "main")
	write(t, dir, "sub/new.bin", "second")
	if edits, err := r.LocalEdits(t.Context(), third); err != nil || len(edits) > 0 {
		t.Errorf("touched: %v, %v", edits, err)
	}
	write(t, dir, "sub/new.bin", "mine")
	if edits, err := r.LocalEdits(t.Context(), third); err != nil || len(edits) != 1 {
		t.Errorf("edited: %v, %v", edits, err)
	}
	write(t, dir, "sub/new.bin", "second")
	moveTo(t, r, third)
	if got := read(t, dir, "sub/new.bin"); got != "third" {
		t.Errorf("in the working tree: %s", got)
	}
}

func TestLFSOfAnExcludedFile(t *testing.T) {
	store, up, dir := lfsApp(t)
	sha := put(t, up, "two", ".lfsconfig", "[lfs]\n\tfetchexclude = *\n")
	store.install(t)
	r := open(t, dir, Options{URL: store.url + "/up", Credentials: &Credentials{Username: lfsUser, Password: lfsPassword}})
	fetch(t, r, "main")
	if got := read(t, export(t, r, sha), "same.bin"); got != "the same" {
		t.Errorf("exported: %s", got)
	}
}

// Submodules that the clone does not have are fetched into a store of ours, which
// has no remote; then the clone gets its own.
func TestLFSInSubmodules(t *testing.T) {
	store, up, dir := lfsApp(t)
	sub := newRepo(t)
	if err := os.Symlink(sub, filepath.Join(store.root, "sub")); err != nil {
		t.Fatal(err)
	}
	put(t, sub, "sub", ".gitattributes", lfsAttributes, "deep.bin", store.put("deep"))
	sh(t, sub, "config", "uploadpack.allowAnySHA1InWant", "true")
	sh(t, up, "submodule", "--quiet", "add", sub, "lib")
	sh(t, up, "config", "-f", ".gitmodules", "submodule.lib.url", "../sub")
	sha := commitAll(t, up, "submodule")
	store.install(t)
	r := open(t, dir, Options{URL: store.url + "/up", Credentials: &Credentials{Username: lfsUser, Password: lfsPassword}})
	fetch(t, r, "main")
	if got := read(t, export(t, r, sha), "lib/deep.bin"); got != "deep" {
		t.Errorf("exported: %s", got)
	}
	sh(t, dir, "remote", "set-url", "origin", store.url+"/up")
	named := open(t, dir, Options{Credentials: &Credentials{Username: lfsUser, Password: lfsPassword}})
	moveTo(t, named, sha)
	if got := read(t, dir, "lib/deep.bin") + ", " + read(t, dir, "same.bin"); got != "deep, the same" {
		t.Errorf("in the working tree: %s", got)
	}
	// One that was checked out without git-lfs.
	write(t, dir, "lib/deep.bin", store.put("deep"))
	sh(t, filepath.Join(dir, "lib"), "update-index", "deep.bin")
	moveTo(t, named, sha)
	if got := read(t, dir, "lib/deep.bin"); got != "deep" {
		t.Errorf("in the working tree: %s", got)
	}
}

func TestLFSThatCannotBeHad(t *testing.T) {
	store, up, dir := lfsApp(t)
	gone, oid := pointerTo("never pushed")
	missing := put(t, up, "two", "gone.bin", gone)
	credentials := &Credentials{Username: lfsUser, Password: lfsPassword}
	out := func() string { return filepath.Join(t.TempDir(), "out") }
	without := open(t, dir, Options{URL: store.url + "/up", Credentials: credentials})
	fetch(t, without, "main")
	err := without.Export(t.Context(), missing, out())
	for _, want := range []string{"gone.bin", "same.bin", "sub/new.bin", "install git-lfs"} {
		if !errors.Is(err, ErrLFS) || !strings.Contains(err.Error(), want) {
			t.Errorf("without git-lfs: %v; want %q", err, want)
		}
	}
	if err := without.MoveTo(t.Context(), missing); !errors.Is(err, ErrLFS) || !strings.Contains(err.Error(), "same.bin") {
		t.Errorf("without git-lfs: %v", err)
	}

	store.install(t)
	r := open(t, dir, Options{URL: store.url + "/up", Credentials: credentials})
	if err := r.Export(t.Context(), missing, out()); !errors.Is(err, ErrLFS) || !strings.Contains(err.Error(), "gone.bin") {
		t.Errorf("not in the store: %v", err)
	}
	store.put("never pushed")
	wrong := open(t, dir, Options{URL: store.url + "/up", Credentials: &Credentials{Username: lfsUser, Password: "wrong"}})
	if err := wrong.Export(t.Context(), missing, out()); !errors.Is(err, ErrAuth) {
		t.Errorf("with a wrong password: %v", err)
	}
	nobody := httptest.NewServer(nil)
	nobody.Close()
	away := open(t, dir, Options{URL: nobody.URL + "/up", Credentials: credentials})
	if err := away.Export(t.Context(), missing, out()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("with the store away: %v", err)
	}
	// A move that was begun without it is finished with it.
	moveTo(t, r, missing)
	if got := read(t, dir, "gone.bin") + ", " + read(t, dir, "same.bin"); got != "never pushed, the same" {
		t.Errorf("in the working tree: %s (%s)", got, oid)
	}
	if status := sh(t, dir, "-c", "filter.lfs.clean=git-lfs clean -- %f", "status", "--porcelain", "-uno"); status != "" {
		t.Errorf("git status: %s", status)
	}
}
