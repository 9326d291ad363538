// SPDX-License-Identifier: Apache-2.0

package health

import (
	"net"
	"os"
	"testing"
)

func TestEars(t *testing.T) {
	var e ears
	defer e.close()
	if e.anew(0) {
		t.Error("no process began to listen")
	}
	e.anew(os.Getpid())
	if os.Geteuid() != 0 { // may not enter the network of a process: nothing is heard, and nobody waits for it
		if e.conn != nil || e.silent() || e.anew(os.Getpid()) {
			t.Errorf("without the right to ask, it heard %q", e.last)
		}
		return
	}
	if e.conn == nil {
		t.Fatal("root may ask for the sockets of a network")
	}
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if !e.anew(os.Getpid()) {
			t.Errorf("%s: not heard that something listens", network)
		}
		if e.anew(os.Getpid()) {
			t.Errorf("%s: nothing changed", network)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if !e.anew(os.Getpid()) {
			t.Errorf("%s: not heard that nothing listens any more", network)
		}
	}
	if e.anew(1 << 30); e.conn != nil || e.last != "" {
		t.Errorf("a process that is not there listens on %q", e.last)
	}
}
