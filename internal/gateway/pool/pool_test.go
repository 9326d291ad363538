// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

func testPool(t *testing.T) *Pool {
	p := New("web", &Environment{
		Log: logr.Discard(),
		Resolve: func(context.Context, string) ([]netip.Addr, bool, error) {
			return nil, true, &net.DNSError{IsNotFound: true}
		},
	})
	t.Cleanup(func() {
		p.Cut()
		p.watches.Wait()
	})
	return p
}

func serving(ids ...string) *gatewayapi.Service {
	s := &gatewayapi.Service{Name: "web"}
	for _, id := range ids {
		s.Targets = append(s.Targets, gatewayapi.Target{ID: id, Addresses: []string{"127.0.0.1"}})
	}
	return s
}

// TestTargetThatComesBackAsItsLastUseEnds has a target that had gone be part of a state again, while its last
// use ends before that is in force.
func TestTargetThatComesBackAsItsLastUseEnds(t *testing.T) {
	p := testPool(t)
	p.Prepare(serving("a"), false).Swap()
	lease, err := p.Use(t.Context(), netip.Addr{}, nil, func() {})
	if err != nil {
		t.Fatal(err)
	}
	p.Prepare(serving("b"), false).Swap()
	change := p.Prepare(serving("a", "b"), false)
	lease.End()
	change.Swap()
	select {
	case <-lease.Target().stop:
		t.Fatal("nobody watches it any more")
	default:
	}
	p.Prepare(serving("b"), false).Swap()
	select {
	case <-lease.Target().stop:
	case <-time.After(10 * time.Second):
		t.Error("it is not forgotten when it has gone again")
	}
}
