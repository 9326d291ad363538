// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	gofs "io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/tonistiigi/fsutil"
)

// tree makes a directory with the files; a name that ends in / is a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestResolve(t *testing.T) {
	dir := tree(t, map[string]string{"ctx/Dockerfile": "a", "ctx/sub/Other": "b", "outside": "c", "ctx/dir/x": ""})
	ctx := filepath.Join(dir, "ctx")
	for _, tc := range []struct {
		spec Spec
		want sources
	}{
		{Spec{Context: ctx}, sources{context: ctx, dockerfile: "Dockerfile", dockerfileDir: ctx + "/"}},
		{Spec{Context: ctx, Dockerfile: "sub/Other"}, sources{context: ctx, dockerfile: "Other", dockerfileDir: ctx + "/sub/"}},
		{Spec{Context: ctx, Dockerfile: "../outside"}, sources{context: ctx, dockerfile: "outside", dockerfileDir: dir + "/"}},
		{Spec{Context: ctx, Dockerfile: dir + "/outside"}, sources{context: ctx, dockerfile: "outside", dockerfileDir: dir + "/"}},
		{Spec{Context: ctx, DockerfileInline: "FROM x"}, sources{context: ctx, dockerfile: "Dockerfile", inline: "FROM x"}},
		{Spec{Context: "https://h/x.git#main:d", Dockerfile: "D"}, sources{remote: "https://h/x.git#main:d", dockerfile: "D"}},
	} {
		got, err := tc.spec.resolve()
		if err != nil || *got != tc.want {
			t.Errorf("%v: %+v %v", tc.spec, got, err)
		}
	}
	for _, spec := range []Spec{
		{Context: dir + "/none"}, {Context: dir + "/outside"}, {Context: ctx, Dockerfile: "none"}, {Context: ctx, Dockerfile: "dir"},
		{Context: "https://h/x.git", Dockerfile: "/D"},
	} {
		var e *Error
		if _, err := spec.resolve(); !errors.As(err, &e) || e.Kind != KindInvalid {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}

// readTar returns the regular files of a tar with their owners checked.
func readTar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	got := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		if h.Typeflag == tar.TypeReg {
			if _, twice := got[h.Name]; twice {
				t.Errorf("%s is there twice", h.Name)
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			got[h.Name] = string(data)
		}
	}
}

func TestContextArchive(t *testing.T) {
	dir := tree(t, map[string]string{
		"ctx/Dockerfile": "A", "ctx/.dockerignore": "drop\nDockerfile\n*.log\n", "ctx/drop/a": "1", "ctx/keep/b": "2", "ctx/x.log": "3",
		"ctx/own/D": "B", "ctx/own/D.dockerignore": "keep\n", "outside": "C",
	})
	ctx := filepath.Join(dir, "ctx")
	for _, tc := range []struct {
		name       string
		spec       Spec
		dockerfile string
		files      string
	}{
		{"plain", Spec{Context: ctx}, "Dockerfile", ".dockerignore Dockerfile keep/b own/D own/D.dockerignore"},
		{"own ignore file", Spec{Context: ctx, Dockerfile: "own/D"}, "own/D", ".dockerignore Dockerfile drop/a own/D own/D.dockerignore x.log"},
		{"outside", Spec{Context: ctx, Dockerfile: "../outside"}, addedDockerfile, ".dockerfile.fairlead .dockerignore keep/b own/D own/D.dockerignore"},
		{"inline", Spec{Context: ctx, DockerfileInline: "D"}, addedDockerfile, ".dockerfile.fairlead .dockerignore keep/b own/D own/D.dockerignore"},
	} {
		src, err := tc.spec.resolve()
		if err != nil {
			t.Fatal(err)
		}
		a, err := newContextArchive(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		files := readTar(t, a)
		if err := a.failure(); err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		var names []string
		for n := range files {
			names = append(names, n)
		}
		sort.Strings(names)
		if got := strings.Join(names, " "); got != tc.files || a.dockerfile != tc.dockerfile {
			t.Errorf("%s: %s with %s", tc.name, got, a.dockerfile)
		}
		if tc.dockerfile == addedDockerfile && !strings.HasSuffix(files[".dockerignore"], "\n"+addedDockerfile+"\n") {
			t.Errorf("%s: ignore file %q", tc.name, files[".dockerignore"])
		}
	}
}

// A context that cannot be read whole must not be built from what could be.
func TestContextArchiveUnreadable(t *testing.T) {
	dir := tree(t, map[string]string{"a": "1"})
	broken := failingFS{}
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeArchive(t.Context(), w, broken, nil)) }()
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "I/O error") {
		t.Errorf("error %v", err)
	}
	// Closing early ends the writer.
	src := &sources{context: dir, inline: "x"}
	a, err := newContextArchive(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil || a.failure() != nil {
		t.Errorf("%v %v", err, a.failure())
	}
}

// failingFS has one file that cannot be read.
type failingFS struct{}

func (failingFS) Open(string) (io.ReadCloser, error) { return nil, errors.New("I/O error") }

func (failingFS) Walk(ctx context.Context, target string, fn gofs.WalkDirFunc) error {
	return memFS{name: "a", data: []byte("1")}.Walk(ctx, target, fn)
}

func TestMemFS(t *testing.T) {
	fs, err := fsutil.NewFilterFS(memFS{name: "Dockerfile", data: []byte("FROM x")}, &fsutil.FilterOpt{FollowPaths: []string{"Dockerfile", "Dockerfile.dockerignore"}})
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(fsutil.WriteTar(t.Context(), fs, w)) }()
	if got := readTar(t, r); len(got) != 1 || got["Dockerfile"] != "FROM x" {
		t.Errorf("%v", got)
	}
	if _, err := fs.Open("other"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
