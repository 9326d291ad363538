// SPDX-License-Identifier: Apache-2.0

package health

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listenPoll is the pause between looks for new sockets, which cost next to
// nothing compared with a probe.
const listenPoll = 20 * time.Millisecond

// listening tells on which addresses something listens in the network of a
// process of this host; "" where that cannot be seen. A change of it is a good
// moment for a probe: a server that has just begun to listen is mostly ready. It
// is no more than that, so nothing depends on pid being the right one.
func listening(pid int) string {
	if pid <= 0 {
		return ""
	}
	var found []string
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "net", name))
		if err != nil {
			continue
		}
		found = append(found, listeners(string(text))...)
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " ")
}

// listeners reads the local addresses of sockets in the state LISTEN from a
// table as in /proc/net/tcp.
func listeners(table string) []string {
	const listen = "0A"
	var found []string
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 3 && f[3] == listen {
			found = append(found, f[1])
		}
	}
	return found
}
