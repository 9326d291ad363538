// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
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

// TestHoldThatNobodyEnds has who held a service be gone.
func TestHoldThatNobodyEnds(t *testing.T) {
	p := testPool(t)
	held := serving("a")
	held.Hold = gatewayapi.Hold{Enabled: true, Until: time.Now().Add(100 * time.Millisecond)}
	p.Prepare(held, false).Swap()
	if !p.Held() {
		t.Fatal("it is not held")
	}
	// Who waits goes on at the end, and not before; a longer hold that is put meanwhile counts.
	longer := *held
	longer.Hold.Until = held.Hold.Until.Add(200 * time.Millisecond)
	waited := make(chan error, 1)
	go func() { waited <- p.Wait(t.Context(), 0) }()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for p.Status().Held == 0 {
		<-look.C
	}
	p.Prepare(&longer, false).Swap()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if p.Held() || time.Now().Before(longer.Hold.Until) {
		t.Error("it ended early, or is still held")
	}
	lease, err := p.Use(t.Context(), netip.Addr{}, nil, func() {})
	if err != nil || lease.Target().ID != "a" {
		t.Fatalf("%v, %v", lease, err)
	}
	lease.End()
}
