// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"archive/tar"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// archive makes a tar file with one file per name, of size bytes each,
// or a directory where the name ends with a slash.
func archive(t *testing.T, size int, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range names {
		size := size
		if strings.HasSuffix(name, "/") {
			size = 0
		}
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(size), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(bytes.Repeat([]byte{'x'}, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestScanTarFindsEveryCut(t *testing.T) {
	data := archive(t, 700, "./a", "./b")
	if n, err := scanTar(bytes.NewReader(data)); err != nil || n != 2 {
		t.Fatalf("whole archive: %d entries, %v", n, err)
	}
	if n, err := scanTar(iotest.OneByteReader(bytes.NewReader(data))); err != nil || n != 2 {
		t.Fatalf("whole archive in small pieces: %d entries, %v", n, err)
	}
	for n := range len(data) {
		if _, err := scanTar(bytes.NewReader(data[:n])); err == nil {
			t.Errorf("an archive of %d bytes that was cut after %d was taken for whole", len(data), n)
		}
	}
	if _, err := scanTar(bytes.NewReader(make([]byte, 1024))); err == nil {
		t.Error("an empty archive was taken for one")
	}
}

const sampleDump = `--
-- PostgreSQL database cluster dump
--
\connect template1
COPY public.t (c) FROM stdin;
\\connect fake
\.
\connect postgres
\connect shop
\connect -reuse-previous=on "dbname='we ird\\\'""x'"
\connect -reuse-previous=on "dbname='a-b'"
--
-- PostgreSQL database cluster dump complete
--

`

func TestDumpScanner(t *testing.T) {
	for _, piece := range []int{1, 7, len(sampleDump)} {
		s := newDumpScanner()
		for chunk := range slices.Chunk([]byte(sampleDump), piece) {
			if _, err := s.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.check([]string{"postgres", "shop", `we ird\'"x`, "a-b"}); err != nil {
			t.Errorf("pieces of %d: %v; found %v", piece, err, s.databases)
		}
		if s.databases["fake"] {
			t.Error("a row was taken for a command")
		}
		if err := s.check([]string{"postgres", "fake"}); err == nil || !strings.Contains(err.Error(), `"fake"`) {
			t.Errorf("a missing database was not noticed: %v", err)
		}
		if err := s.check(nil); err == nil {
			t.Error("a dump without databases was accepted")
		}
	}
	s := newDumpScanner()
	fmt.Fprint(s, strings.TrimSuffix(sampleDump, " dump complete\n--\n\n"))
	if err := s.check([]string{"shop"}); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("a dump that was cut off: %v", err)
	}
	s = newDumpScanner()
	fmt.Fprint(s, sampleDump, strings.Repeat("something else follows\n", 100))
	if err := s.check([]string{"shop"}); err == nil {
		t.Error("a marker in the middle was taken for the end")
	}
}

func TestParseServer(t *testing.T) {
	srv, err := parseServer([]byte("a\x00100\x00t\x00b c\x0020\x00t\x00"))
	if err != nil || !slices.Equal(srv.databases, []string{"a", "b c"}) || srv.bytes != 120 || !srv.superuser {
		t.Errorf("got %+v, %v", srv, err)
	}
	for _, bad := range []string{"", "a", "a\x00b\x00t", "a\x001\x00t\x00b"} {
		if _, err := parseServer([]byte(bad)); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
}
