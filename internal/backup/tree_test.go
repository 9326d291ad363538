// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listing describes the entries of a tar stream.
func listing(t *testing.T, data []byte) map[string]string {
	t.Helper()
	got := map[string]string{}
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		must(t, err)
		body, err := io.ReadAll(tr)
		must(t, err)
		if h.Uname != "" || h.Gname != "" {
			t.Errorf("%s has names of owners", h.Name)
		}
		got[h.Name] = fmt.Sprintf("%c %04o %s%s", h.Typeflag, h.Mode, h.Linkname, body)
	}
}

func TestTreeKeepsWhatFilesAre(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	writeFile(t, filepath.Join(dir, "a"), "hello")
	writeFile(t, filepath.Join(dir, "sub", "b"), "")
	writeFile(t, filepath.Join(dir, ".update", "backups", "x"), "not this")
	writeFile(t, filepath.Join(dir, "sub", ".update"), "but this")
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "hard")))
	must(t, os.Symlink("/etc/shadow", filepath.Join(dir, "link")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(t, os.Chmod(filepath.Join(dir, "sub"), 0o2750|os.ModeSetgid))
	must(t, os.Chmod(filepath.Join(dir, "a"), 0o640))
	stamp := time.Date(2020, 1, 2, 3, 4, 5, 678900000, time.UTC)
	must(t, os.Chtimes(filepath.Join(dir, "a"), stamp, stamp))
	note := "x\x00y"
	if err := unix.Setxattr(filepath.Join(dir, "a"), "user.note", []byte(note), 0); errors.Is(err, unix.ENOTSUP) {
		note = "" // a tmpfs before Linux 6.6
	} else {
		must(t, err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	must(t, err)
	defer func() { _ = l.Close() }()

	var buf bytes.Buffer
	c, err := bindSource{path: dir, exclude: []string{".update", ".git"}}.write(context.Background(), &buf)
	must(t, err)
	got := listing(t, buf.Bytes())
	want := map[string]string{
		"./": "5 0755 ", "./a": "0 0640 hello", "./hard": "1 0640 ./a", "./link": "2 0777 /etc/shadow", "./fifo": "6 0600 ",
		"./sub/": "5 2750 ", "./sub/b": "0 0644 ", "./sub/.update": "0 0644 but this",
	}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s: got %q, want %q", name, got[name], w)
		}
	}
	if len(got) != len(want) || c.entries != int64(len(want)) {
		t.Errorf("%d entries, reported %d, want %d: %v", len(got), c.entries, len(want), got)
	}
	if !slices.Equal(c.notes, []string{"1 socket left out"}) {
		t.Errorf("notes: %v", c.notes)
	}
	tr := tar.NewReader(&buf)
	for {
		h, err := tr.Next()
		must(t, err)
		if h.Name != "./a" {
			continue
		}
		if !h.ModTime.Equal(stamp) || h.PAXRecords["SCHILY.xattr.user.note"] != note {
			t.Errorf("time %v, records %q", h.ModTime, h.PAXRecords)
		}
		break
	}
}

func TestBindOfOneFileAndOfNothing(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "real", "conf.json"), "{}")
	must(t, os.Symlink("real/conf.json", filepath.Join(dir, "conf.json")))
	var buf bytes.Buffer
	_, err := bindSource{path: filepath.Join(dir, "conf.json")}.write(context.Background(), &buf)
	must(t, err)
	if got := listing(t, buf.Bytes()); len(got) != 1 || got["./conf.json"] != "0 0644 {}" {
		t.Errorf("got %v", got)
	}
	for _, s := range []source{bindSource{path: filepath.Join(dir, "gone")}, filesSource{paths: []string{filepath.Join(dir, "gone")}}} {
		var input *InputError
		if _, err := s.write(context.Background(), io.Discard); !errors.As(err, &input) || !strings.Contains(err.Error(), "gone") {
			t.Errorf("%T: %v", s, err)
		}
	}
}

func TestFilesFollowLinksAndStayApart(t *testing.T) {
	base := t.TempDir()
	deploy := filepath.Join(base, "app")
	writeFile(t, filepath.Join(deploy, "docker-compose.yml"), "services: {}")
	writeFile(t, filepath.Join(deploy, "conf", "a.ini"), "a")
	writeFile(t, filepath.Join(deploy, ".update", "secret"), "no")
	writeFile(t, filepath.Join(base, "shared", "prod.env"), "K=V")
	must(t, os.Symlink("../shared/prod.env", filepath.Join(deploy, ".env")))
	s := filesSource{dirs: []string{deploy}, paths: []string{
		filepath.Join(deploy, "docker-compose.yml"), filepath.Join(deploy, ".env"), filepath.Join(deploy, "conf"), base}}
	var buf bytes.Buffer
	c, err := s.write(context.Background(), &buf)
	must(t, err)
	got := listing(t, buf.Bytes())
	shared := ".outside" + filepath.Join(base, "shared", "prod.env")
	for name, want := range map[string]string{
		"docker-compose.yml": "0 0644 services: {}", ".env": "2 0777 ../shared/prod.env", "conf/a.ini": "0 0644 a", shared: "0 0644 K=V",
	} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	for name := range got {
		if strings.Contains(name, ".update") {
			t.Errorf("%s is in the archive", name)
		}
	}
	if !slices.Contains(c.files, SavedFile{Path: filepath.Join(base, "shared", "prod.env"), Entry: shared}) {
		t.Errorf("files: %v", c.files)
	}
}

// changing calls fn at the first write after n bytes.
type changing struct {
	io.Writer
	n  int
	fn func()
}

func (c *changing) Write(p []byte) (int, error) {
	if c.n -= len(p); c.n < 0 && c.fn != nil {
		c.fn()
		c.fn = nil
	}
	return c.Writer.Write(p)
}

func TestTreeUnderChange(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct {
		change func(dir string) error
		torn   bool
		note   string
	}{
		"shrinks":  {change: func(dir string) error { return os.Truncate(filepath.Join(dir, "b"), 10) }, torn: true},
		"grows":    {change: func(dir string) error { return os.Truncate(filepath.Join(dir, "b"), 2<<20) }},
		"vanishes": {change: func(dir string) error { return os.Remove(filepath.Join(dir, "c")) }, note: "1 file removed by the application during the copy"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range []string{"a", "b", "c"} {
				writeFile(t, filepath.Join(dir, f), big)
			}
			var buf bytes.Buffer
			w := &changing{Writer: &buf, n: 1<<20 + 200<<10, fn: func() { must(t, c.change(dir)) }}
			got, err := bindSource{path: dir}.write(context.Background(), w)
			var torn *TornError
			if errors.As(err, &torn) != c.torn || err != nil && !c.torn {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				if _, err := scanTar(&buf); err != nil {
					t.Error(err)
				}
			}
			if c.note != "" && !slices.Contains(got.notes, c.note) {
				t.Errorf("notes %v", got.notes)
			}
		})
	}
}

func TestTreeEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a"), strings.Repeat("x", 4<<20))
	ctx, cancel := context.WithCancel(context.Background())
	w := &changing{Writer: io.Discard, n: 1 << 20, fn: cancel}
	if _, err := (bindSource{path: dir}).write(ctx, w); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := treeSize(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("size: %v", err)
	}
}

func TestTreeSizeSkipsHolesAndExcluded(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a"), strings.Repeat("x", 10000))
	writeFile(t, filepath.Join(dir, ".update", "b"), strings.Repeat("x", 10000))
	writeFile(t, filepath.Join(dir, "hole"), "")
	must(t, os.Truncate(filepath.Join(dir, "hole"), 1<<30))
	n, err := treeSize(context.Background(), dir, map[string]bool{".update": true})
	if err != nil || n < 4096 || n > 10000 {
		t.Errorf("got %d, %v", n, err)
	}
}
