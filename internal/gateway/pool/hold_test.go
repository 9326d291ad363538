// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"net"
	"net/netip"
	"testing"
)

// TestHoldThatComesBetween holds a service between the choice of a connection and its use.
func TestHoldThatComesBetween(t *testing.T) {
	p := testPool(t)
	p.Prepare(serving("a"), false).Swap()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := p.Dial(t.Context(), ln.Addr().(*net.TCPAddr).Port, netip.Addr{}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	held := serving("a")
	held.Hold.Enabled = true
	p.Prepare(held, false).Swap()
	if c.Begin() {
		t.Error("it is used in the hold")
	}
	if s := p.Status().Targets[0]; s.InFlight != 0 || s.Requests != 0 {
		t.Errorf("got %+v", s)
	}
}
