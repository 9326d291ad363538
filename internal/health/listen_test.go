// SPDX-License-Identifier: Apache-2.0

package health

import (
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Tests run in other threads than the first one, whose network is that of the process.
func init() { runtime.LockOSThread() }

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
	// In a network of its own, as other processes of this one begin and end to listen meanwhile. The thread ends
	// with this test, since it is not unlocked.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	alone := unix.Gettid()
	if e.anew(alone); e.conn == nil || !e.silent() {
		t.Fatalf("root may ask for the sockets of a network; in a new one it heard %q", e.last)
	}
	for network, address := range map[string]string{"tcp4": "0.0.0.0:0", "tcp6": "[::]:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if !e.anew(alone) || e.silent() {
			t.Errorf("%s: not heard that something listens", network)
		}
		if e.anew(alone) {
			t.Errorf("%s: nothing changed", network)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if !e.anew(alone) || !e.silent() {
			t.Errorf("%s: not heard that nothing listens any more", network)
		}
	}
	if e.anew(1 << 30); e.conn != nil || e.last != "" {
		t.Errorf("a process that is not there listens on %q", e.last)
	}
}
