// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTimesFollowContents(t *testing.T) {
	clone := func(content string) map[string]time.Time {
		t.Chdir(t.TempDir())
		for path, data := range map[string]string{"a/one": "1", "a/b/two": content} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := run(strings.NewReader("a/one\x00a/b/two\x00a/removed\x00")); err != nil {
			t.Fatal(err)
		}
		times := map[string]time.Time{}
		for _, path := range []string{".", "a", "a/b", "a/one", "a/b/two"} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			times[path] = info.ModTime()
		}
		return times
	}
	first, again, other := clone("2"), clone("2"), clone("3")
	for path, at := range first {
		if !at.Equal(again[path]) {
			t.Errorf("%s has the times %s and %s with the same contents", path, at, again[path])
		}
		if age := time.Since(at); age < time.Minute {
			t.Errorf("%s has the time %s, which is too young", path, at)
		}
		if changed := path != "a/one"; changed == at.Equal(other[path]) {
			t.Errorf("%s has the time %s, and %s when a/b/two is another", path, at, other[path])
		}
	}
}

func TestPathsOutsideAreRefused(t *testing.T) {
	for _, list := range []string{"", "/etc/passwd\x00", "a\x00../b\x00"} {
		if err := run(strings.NewReader(list)); err == nil {
			t.Errorf("%q was taken", list)
		}
	}
}
