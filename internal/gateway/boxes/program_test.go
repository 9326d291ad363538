// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

func TestCurrent(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		accepted, image string
		want            bool
	}{
		"its own program":             {"", "fairlead-gateway:abababababab", true},
		"its own, of another daemon":  {"", "fairlead-gateway:cdcdcdcdcdcd", false},
		"of before images were named": {"", "sha256:ab", false},
		"a replaced one":              {digest, "fairlead-gateway:cdcdcdcdcdcd", true},
		"one replaced before":         {strings.Repeat("cd", 32), "fairlead-gateway:abababababab", false},
	} {
		if got := current(c.accepted, c.image, digest); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestProgramsInDirectories(t *testing.T) {
	program := filepath.Join(t.TempDir(), "daemon")
	if err := os.WriteFile(program, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	k := &Keeper{Dir: t.TempDir(), Program: program}
	names := []string{"shop-gateway-1", "shop-gateway-front-1"}
	put := func(digest string) (files []string) {
		for _, name := range names {
			file, err := k.putProgram(name, digest)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, filepath.Join(k.dir(name), file))
		}
		return files
	}
	for _, name := range names {
		if err := os.MkdirAll(k.dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	first := put(strings.Repeat("1", 64))
	a, err := os.Stat(first[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Stat(first[1])
	if err != nil || !os.SameFile(a, b) || a.Mode().Perm() != 0o700 {
		t.Errorf("%v and %v: %v; want one executable file", a, b, err)
	}
	if err := os.WriteFile(program, []byte("two"), 0o755); err != nil {
		t.Fatal(err)
	}
	second := put(strings.Repeat("2", 64))
	if got, err := os.ReadFile(second[0]); err != nil || string(got) != "two" {
		t.Errorf("got %q, %v", got, err)
	}
	note := filepath.Join(k.dir(names[0]), gatewayapi.ProgramName)
	if err := os.WriteFile(note, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.dropPrograms(names[0], filepath.Base(second[0])); err != nil {
		t.Fatal(err)
	}
	there := func(path string) bool { _, err := os.Stat(path); return err == nil }
	if there(first[0]) || !there(second[0]) || !there(note) || !there(first[1]) {
		t.Error("all but the first gateway's older program is to stay")
	}
	// A gateway that is made anew has no program but its own.
	if err := k.dropPrograms(names[0], ""); err != nil {
		t.Fatal(err)
	}
	if there(second[0]) || there(note) {
		t.Error("a program is left")
	}
	if err := k.dropPrograms(names[0], ""); err != nil {
		t.Errorf("nothing to drop: %v", err)
	}
}
