// SPDX-License-Identifier: Apache-2.0

// Package filepages gives back memory that a long-lived process needed for its
// start only.
package filepages

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Release gives back the pages of files, mostly of this program itself, that
// only the start needed: initialisers, tables and the like, half of an idle
// daemon's resident memory. They stay in the page cache, so that those
// that are needed again come back without reading the disk.
func Release() error {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	for _, m := range cleanFileMappings(smaps) {
		// The mappings are addressed by number: they are no Go memory. Without
		// huge pages a touched page brings back its neighbours and not 2 MiB; a
		// kernel that has none refuses the advice.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_NOHUGEPAGE)
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return nil
}

type mapping struct{ start, length uintptr }

// cleanFileMappings finds, in the format of /proc/self/smaps, the mappings of
// files that hold exactly what the file holds: they cannot be written to and
// none of their pages has been replaced (as relocations do before they make
// their part read-only). Dropping such pages loses nothing.
func cleanFileMappings(smaps []byte) []mapping {
	var found []mapping
	var current *mapping
	lines := bufio.NewScanner(bytes.NewReader(smaps))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case !strings.HasSuffix(fields[0], ":"):
			current = fileMapping(fields)
		case fields[0] == "Anonymous:" && current != nil:
			if len(fields) == 3 && fields[1] == "0" {
				found = append(found, *current)
			}
			current = nil
		}
	}
	return found
}

// fileMapping parses the head of an entry, "start-end perms offset device inode
// path"; it returns nil for anything but an unwritable mapping of a file.
func fileMapping(fields []string) *mapping {
	if len(fields) < 6 || !strings.HasPrefix(fields[5], "/") || !strings.HasPrefix(fields[1], "r-") {
		return nil
	}
	from, to, ok := strings.Cut(fields[0], "-")
	if !ok {
		return nil
	}
	start, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return nil
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil || end <= start {
		return nil
	}
	return &mapping{start: uintptr(start), length: uintptr(end - start)}
}
