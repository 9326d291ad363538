// SPDX-License-Identifier: Apache-2.0

// Command mtimes gives files, and the directories that they are in, times of modification
// that follow from their contents. It reads their paths from its standard input, each ended
// by a zero byte, as `git ls-files -z` writes them.
//
// Go's test cache knows a file that a test has read by its size and its time. In a fresh
// clone all times are new, and whatever reads as much as a file of testdata is tested again,
// though nothing has changed. With times that follow from the contents it is tested again
// when the contents are others.
package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "mtimes:", err)
		os.Exit(1)
	}
}

func run(list io.Reader) error {
	paths, err := read(list)
	if err != nil {
		return err
	}
	directories := map[string]hash.Hash{}
	for _, path := range paths {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, not yet from the index
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		if err := os.Chtimes(path, time.Time{}, timeOf(sum[:])); err != nil {
			return err
		}
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			if directories[dir] == nil {
				directories[dir] = sha256.New()
			}
			fmt.Fprintf(directories[dir], "%s %x\n", path, sum)
			if dir == "." {
				break
			}
		}
	}
	for dir, sum := range directories {
		if err := os.Chtimes(dir, time.Time{}, timeOf(sum.Sum(nil))); err != nil {
			return err
		}
	}
	return nil
}

// read returns the paths in a fixed order.
func read(list io.Reader) ([]string, error) {
	data, err := io.ReadAll(bufio.NewReader(list))
	if err != nil {
		return nil, err
	}
	paths := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	for _, path := range paths {
		if !filepath.IsLocal(path) {
			return nil, fmt.Errorf("%q is no path below the working directory", cmp.Or(path, "(nothing)"))
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// timeOf is a time between 2001 and 2018, to the nanosecond: what is younger than two
// seconds is not taken from the cache.
func timeOf(sum []byte) time.Time {
	return time.Unix(1e9+int64(binary.BigEndian.Uint32(sum)>>3), int64(binary.BigEndian.Uint32(sum[4:])%1e9))
}
