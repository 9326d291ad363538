// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"net"
	"net/netip"
	"testing"

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
