// SPDX-License-Identifier: Apache-2.0

package health

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestLoopback(t *testing.T) {
	pad := strings.Repeat("0", 24)
	for address, want := range map[string]bool{
		"7f000001" + pad: true, "7f00000b" + pad: true, "00000000" + pad: false, "ac110002" + pad: false,
		"00000000000000000000000000000001": true, "00000000000000000000ffff7f000001": true,
		"00000000000000000000ffffac110002": false, "fd00" + strings.Repeat("0", 27) + "1": false,
	} {
		if got := loopback(address); got != want {
			t.Errorf("%s is loopback: %v, want %v", address, got, want)
		}
	}
	if ports := ListeningPorts(1, "no-such-container"); ports != nil {
		t.Errorf("the ports of another process are taken for a container's: %v", ports)
	}
}

// What listens for others is found, in this process's own network.
func TestListeningPorts(t *testing.T) {
	var lc net.ListenConfig
	open, err := lc.Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	own, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	// The root of the mounts is in every mountinfo, as an ID would be.
	got := ListeningPorts(os.Getpid(), " / ")
	if !slices.Contains(got, port(open)) || slices.Contains(got, port(own)) {
		t.Errorf("%v; want %d, and not %d, which is on the loopback", got, port(open), port(own))
	}
}
