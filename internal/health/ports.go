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
	e := ears{pid: pid, conn: dialDiag(pid)}
	defer e.close()
	var ports []int
	for _, address := range e.listening() {
		host, port, ok := strings.Cut(address, ":")
		n, err := strconv.Atoi(port)
		if ok && err == nil && !loopback(host) {
			ports = append(ports, n)
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

// loopback reads sixteen bytes in hexadecimal digits: an IPv6 address, or an IPv4
// address with zeros behind it.
func loopback(address string) bool {
	const six, mapped = "00000000000000000000000000000001", "00000000000000000000ffff7f"
	return address == six || strings.HasPrefix(address, mapped) || strings.HasPrefix(address, "7f") && strings.HasSuffix(address, strings.Repeat("0", 24))
}
