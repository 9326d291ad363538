// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// BenchmarkExport exports a tree with a program of 7 MB, with and without a
// working tree that has it.
func BenchmarkExport(b *testing.B) {
	sandbox(b)
	up := newRepo(b)
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	program := read(b, "", path)
	program = program[:min(len(program), 7<<20)]
	for i := range 40 {
		write(b, up, fmt.Sprintf("src/%d", i), "1\n")
	}
	small := commitAll(b, up, "small")
	large := put(b, up, "large", "bin/app", program)
	for _, bb := range []struct{ name, commit, file string }{{"small", small, "bin/app"}, {"copied", large, "bin/app"}, {"unpacked", large, "elsewhere"}} {
		b.Run(bb.name, func(b *testing.B) {
			if err := os.Remove(filepath.Join(up, "bin/app")); err != nil && !errors.Is(err, fs.ErrNotExist) {
				b.Fatal(err)
			}
			write(b, up, bb.file, program)
			parent := b.TempDir()
			r := open(b, up, Options{})
			for i := range b.N {
				if err := r.Export(b.Context(), bb.commit, filepath.Join(parent, strconv.Itoa(i))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
