// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var then = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)

// entry of an archive; a name that ends with a slash is a directory.
type entry struct {
	name, content string
	change        func(*tar.Header)
}

func archive(t *testing.T, entries ...entry) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o640, Size: int64(len(e.content)), Typeflag: tar.TypeReg, ModTime: then, Uid: os.Getuid(), Gid: os.Getgid()}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o750
		}
		if e.change != nil {
			e.change(h)
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// tree lists a directory: names with the content of files.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			out = append(out, rel+"/")
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			out = append(out, rel+" -> "+target)
		case d.Type().IsRegular():
			data, _ := os.ReadFile(p)
			out = append(out, rel+"="+string(data))
		default:
			out = append(out, rel+" "+d.Type().String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func link(kind byte, to string) func(*tar.Header) {
	return func(h *tar.Header) { h.Typeflag, h.Linkname, h.Size = kind, to, 0 }
}

func TestUnpackReplacesTheContent(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, map[string]string{"old": "1", "sub/old": "2", "same": "before", "lost+found/x": "kept"})
	inode := func() uint64 {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	before := inode()
	a := archive(t,
		entry{name: "./"}, entry{name: "./same", content: "after"}, entry{name: "./sub/"}, entry{name: "./sub/new", content: "3"},
		entry{name: "./twin", change: link(tar.TypeLink, "./sub/new")}, entry{name: "./link", change: link(tar.TypeSymlink, "/etc/passwd")},
		entry{name: "./pipe", change: link(tar.TypeFifo, "")}, entry{name: "./set", content: "x", change: func(h *tar.Header) { h.Mode = 0o4755 }},
		entry{name: "./attr", content: "y", change: func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.colour": "blue"}
			h.Format = tar.FormatPAX
		}},
	)
	notes, err := Unpack(t.Context(), dir, a, []string{"lost+found"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"attr=y", "link -> /etc/passwd", "lost+found/", "lost+found/x=kept", "pipe p---------", "same=after", "set=x", "sub/", "sub/new=3", "twin=3"}
	if got := tree(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if inode() != before {
		t.Error("the directory itself was replaced: containers that mount it would not see the new content")
	}
	info := func(name string) fs.FileInfo {
		i, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if m := info("set").Mode(); m != 0o755|fs.ModeSetuid {
		t.Errorf("set has the mode %v", m)
	}
	for _, name := range []string{"same", "sub", "."} {
		if at := info(name).ModTime(); !at.Equal(then) {
			t.Errorf("%s is of %v", name, at)
		}
	}
	if m := info(".").Mode().Perm(); m != 0o750 {
		t.Errorf("the directory has the mode %v", m)
	}
	value := make([]byte, 16)
	if n, err := unix.Getxattr(filepath.Join(dir, "attr"), "user.colour", value); err == nil && string(value[:n]) != "blue" {
		t.Errorf("the attribute is %q", value[:n])
	} else if err != nil && len(notes) == 0 {
		t.Errorf("the attribute is lost (%v), and nobody is told", err)
	}
}

// An archive that cannot be unpacked leaves the old content as it is.
func TestUnpackLeavesTheOldContent(t *testing.T) {
	whole := archive(t, entry{name: "./a", content: strings.Repeat("x", 4000)}).Bytes()
	for name, a := range map[string]io.Reader{
		"cut off":         bytes.NewReader(whole[:2000]),
		"fails":           io.MultiReader(bytes.NewReader(whole[:2000]), failingReader{}),
		"leads outside":   archive(t, entry{name: "./l", change: link(tar.TypeSymlink, "/tmp")}, entry{name: "./l/evil", content: "x"}),
		"climbs out":      archive(t, entry{name: "../evil", content: "x"}),
		"links outside":   archive(t, entry{name: "./h", change: link(tar.TypeLink, "../old")}),
		"an unknown type": archive(t, entry{name: "./u", change: func(h *tar.Header) { h.Typeflag, h.Size = 'Z', 0 }}),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, map[string]string{"old": "1"})
			if _, err := Unpack(t.Context(), dir, a, nil); err == nil {
				t.Error("it was unpacked")
			}
			if got := tree(t, dir); !slices.Equal(got, []string{"old=1"}) {
				t.Errorf("there is %q", got)
			}
		})
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("the disk fails") }

// Whatever an attempt that was cut off in the middle of the swap left, the next
// one gives the content of the archive.
func TestUnpackGoesOn(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, map[string]string{".fairlead-replaced-0/old": "1", ".fairlead-restore/b": "half", "a": "new already", "old2": "2"})
	if _, err := Unpack(t.Context(), dir, archive(t, entry{name: "./a", content: "new"}, entry{name: "./b", content: "b"}), nil); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); !slices.Equal(got, []string{"a=new", "b=b"}) {
		t.Errorf("there is %q", got)
	}
	if _, err := Unpack(t.Context(), dir, emptyArchive(), nil); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) != 0 {
		t.Errorf("an empty archive left %q", got)
	}
}

func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside.env")
	fill(t, dir, map[string]string{".env": "old", "other": "stays", ".update/lock": ""})
	a := archive(t,
		entry{name: ".env", content: "A=1\n", change: func(h *tar.Header) { h.Mode = 0o600 }}, entry{name: "conf/"}, entry{name: "conf/app.yml", content: "x"},
		entry{name: "link", change: link(tar.TypeSymlink, "conf/app.yml")}, entry{name: ".outside" + outside, content: "B=2\n"},
		entry{name: ".update/lock", content: "never"}, entry{name: "../up", content: "never"},
	)
	written, err := writeFiles(t.Context(), a, placeIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(dir, ".env"), filepath.Join(dir, "conf/app.yml"), filepath.Join(dir, "link"), outside}; !slices.Equal(written, want) {
		t.Errorf("written: %q", written)
	}
	want := []string{".env=A=1\n", ".update/", ".update/lock=", "conf/", "conf/app.yml=x", "link -> conf/app.yml", "other=stays"}
	if got := tree(t, dir); !slices.Equal(got, want) {
		t.Errorf("there is %q", got)
	}
	if info, err := os.Stat(filepath.Join(dir, ".env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf(".env: %v, %v", info.Mode(), err)
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != "B=2\n" {
		t.Errorf("outside: %q, %v", data, err)
	}
}
