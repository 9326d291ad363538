// SPDX-License-Identifier: Apache-2.0

package health

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestListeners(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0000 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0000 100 0 0 10 0
`
	if got := listeners(table); !slices.Equal(got, []string{"0100007F:1F90", "00000000:0016"}) {
		t.Errorf("got %q", got)
	}
	if got := listening(0); got != "" {
		t.Errorf("no process listens on %q", got)
	}
}

func TestListening(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("0100007F:%04X", l.Addr().(*net.TCPAddr).Port)
	if got := listening(os.Getpid()); !strings.Contains(got, address) {
		t.Errorf("%s is not in %s", address, got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := listening(os.Getpid()); strings.Contains(got, address) {
		t.Errorf("%s is still in %s", address, got)
	}
}
