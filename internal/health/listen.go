// SPDX-License-Identifier: Apache-2.0

package health

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// listenPoll is the pause between looks for new sockets, which cost next to
// nothing compared with a probe.
const listenPoll = 10 * time.Millisecond

// ears tell on which TCP addresses something listens in the network of a process
// of this host. A change is a good moment for a probe: a server that has just
// begun to listen is mostly ready. It is no more than that, so nothing depends on
// the process being the right one, nor on anything being heard: where the daemon
// may not enter the network of the process, nothing is.
type ears struct {
	pid  int
	conn *netlink.Conn
	last string
}

// anew reports whether the process began or ended to listen somewhere since the
// last call.
func (e *ears) anew(pid int) bool {
	if pid != e.pid {
		e.close()
		e.pid = pid
		if pid > 0 {
			e.conn = dialDiag(pid)
		}
	}
	now := strings.Join(e.listening(), " ")
	changed := now != e.last
	e.last = now
	return changed
}

// silent reports whether nothing listened at the last look. Where nothing can be
// heard, nobody knows.
func (e *ears) silent() bool { return e.conn != nil && e.last == "" }

func (e *ears) close() {
	if e.conn != nil {
		_ = e.conn.Close()
	}
	*e = ears{}
}

// dialDiag asks the kernel about the sockets of the network that a process is
// in; nil where that is not possible.
func dialDiag(pid int) *netlink.Conn {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil
	}
	defer func() { _ = ns.Close() }()
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, &netlink.Config{NetNS: int(ns.Fd())}) //nolint:gosec // a descriptor fits
	if err != nil {
		return nil
	}
	return conn
}

// Parts of the messages of sock_diag(7): struct inet_diag_req_v2, and of struct
// inet_diag_msg what comes before its end.
const (
	sockDiagByFamily = 20
	diagRequest      = 56
	diagPort, diagAt = 4, 8
	diagAtEnd        = 24
	tcpListen        = 10
)

// engineNames is the address of the name server that the engine puts into the network of every
// container, where it listens before the application does.
var engineNames = [4]byte{127, 0, 0, 11}

// listening asks for the listening sockets only: going through /proc/net/tcp
// takes the kernel milliseconds on a host with much memory.
func (e *ears) listening() []string {
	var found []string
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if e.conn == nil {
			return nil
		}
		request := make([]byte, diagRequest)
		request[0], request[1] = family, unix.IPPROTO_TCP
		binary.NativeEndian.PutUint32(request[4:], 1<<tcpListen)
		answers, err := e.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump}, Data: request,
		})
		if err != nil {
			return nil
		}
		for _, a := range answers {
			if len(a.Data) < diagAtEnd || family == unix.AF_INET && [4]byte(a.Data[diagAt:]) == engineNames {
				continue
			}
			found = append(found, fmt.Sprintf("%x:%d", a.Data[diagAt:diagAtEnd], binary.BigEndian.Uint16(a.Data[diagPort:])))
		}
	}
	slices.Sort(found)
	return found
}
