// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// What a connection that could not be made says of a target, by why it was not.
func TestFailuresThatSayNothingOfATarget(t *testing.T) {
	for name, c := range map[string]struct {
		errno    error
		answered int // a port on which it had answered
		want     gatewayapi.TargetHealth
		proven   bool
	}{
		"nothing listens":             {unix.ECONNREFUSED, 0, gatewayapi.TargetUnhealthy, false},
		"nothing listens any more":    {unix.ECONNREFUSED, 80, gatewayapi.TargetUnhealthy, true},
		"it listens on another":       {unix.ECONNREFUSED, 81, gatewayapi.TargetHealthy, false},
		"no port is left":             {unix.EADDRNOTAVAIL, 80, gatewayapi.TargetHealthy, false},
		"no descriptor is left":       {unix.EMFILE, 80, gatewayapi.TargetHealthy, false},
		"no descriptor, at the first": {unix.EMFILE, 0, gatewayapi.TargetUnknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPool(t)
			var told []gatewayapi.TargetChange
			p.env.Changed = func(change gatewayapi.TargetChange) { told = append(told, change) }
			target := newTarget(p, "a") // nobody looks at this one
			target.addrs.Store(&[]netip.Addr{netip.MustParseAddr("127.0.0.1")})
			p.Prepare(serving(), false).Swap()
			if c.answered != 0 {
				target.connected(c.answered)
				told = nil
			}
			for range defaultFailing {
				target.refusedOnce(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", c.errno)}, 80, defaultFailing)
			}
			if got := target.status(); got.Health != c.want || got.Errors != defaultFailing || got.LastError == "" {
				t.Errorf("got %+v, want %s", got, c.want)
			}
			bad := c.want == gatewayapi.TargetUnhealthy
			if len(told) != 0 != bad || bad && (told[0].Proven != c.proven || told[0].Target != "a") {
				t.Errorf("told was %+v", told)
			}
		})
	}
}
