// SPDX-License-Identifier: Apache-2.0

package health

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ListeningPorts are the TCP ports on which something listens for others in the
// network of a container whose first process has the number pid, sorted; nil where
// that cannot be seen, as from another container.
func ListeningPorts(pid int, container string) []int {
	if pid <= 0 || !belongs(pid, container) {
		return nil
	}
	var ports []int
	for _, address := range strings.Fields(listening(pid)) {
		host, port, ok := strings.Cut(address, ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if ok && err == nil && !loopback(host) {
			ports = append(ports, int(n))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// belongs reports whether the process is one of the container: in another
// container than the host's numbering is of, it may be any.
func belongs(pid int, container string) bool {
	for _, name := range []string{"cgroup", "mountinfo"} {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
		if err == nil && container != "" && strings.Contains(string(text), container) {
			return true
		}
	}
	return false
}

// loopback reads an address as the kernel writes it: words of four bytes in the
// order of the machine, of which all that Docker runs on are little-endian.
func loopback(hex string) bool {
	switch len(hex) {
	case 8:
		return strings.HasSuffix(hex, "7F")
	case 32:
		mapped := strings.HasPrefix(hex, "0000000000000000FFFF0000")
		return hex == "00000000000000000000000001000000" || mapped && strings.HasSuffix(hex, "7F")
	}
	return false
}
