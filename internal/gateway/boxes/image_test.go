// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
)

func TestOldImages(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration, tags ...string) image.Summary {
		return image.Summary{Created: now.Add(-ago).Unix(), RepoTags: tags}
	}
	got := old([]image.Summary{
		at(2*time.Hour, imageName+":one", imageName+":two"),
		at(2*time.Hour, "mine:kept", imageName+":three"), // somebody gave it another name
		at(2 * time.Hour),
		at(30*time.Minute, imageName+":young"),
		at(2*time.Hour, imageName+"-other:four"),
	}, now)
	if want := []string{imageName + ":one", imageName + ":two", imageName + ":three"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestFit(t *testing.T) {
	dir := t.TempDir()
	program := func(name string, parts ...elf.ProgType) string {
		var b bytes.Buffer
		h := elf.Header64{
			Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
			Phoff: 64, Phentsize: 56, Phnum: uint16(len(parts)), Shentsize: 64,
		}
		if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if err := binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(p)}); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		keeper *Keeper
		want   string
	}{
		"linked statically":       {&Keeper{Dir: dir, Program: program("static", elf.PT_LOAD)}, ""},
		"linked dynamically":      {&Keeper{Dir: dir, Program: program("dynamic", elf.PT_LOAD, elf.PT_INTERP)}, "CGO_ENABLED=0"},
		"no program":              {&Keeper{Dir: dir, Program: script}, "cannot be put into a gateway"},
		"nobody to make gateways": {&Keeper{Program: script}, ""},
	} {
		err := tt.keeper.Fit()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
