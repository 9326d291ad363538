// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"io"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// TestHeldClientsThatSendNoMore has clients say all that they will say while their service is held.
func TestHeldClientsThatSendNoMore(t *testing.T) {
	for _, protocol := range []gatewayapi.Protocol{gatewayapi.ProtocolTCP, gatewayapi.ProtocolAuto} {
		w := newWorld(t, func(s *gatewayapi.DesiredState) {
			targets("127.0.0.2")(s)
			s.Listeners[0].Protocol = protocol
			s.Services[0].Hold.Enabled = true
		})
		w.echoTCP("127.0.0.2", "")
		c := dial(t, w.addr)
		_, _ = io.WriteString(c, "\x01x")
		_ = c.CloseWrite()
		broken := dial(t, w.addr)
		_, _ = io.WriteString(broken, "\x01x")
		_ = broken.CloseWrite()
		eventually(t, "both wait", func() bool { return w.service().Held == 2 })
		_ = broken.SetLinger(0)
		broken.Close()
		if protocol == gatewayapi.ProtocolAuto { // what was read already is not in the way of seeing more
			eventually(t, "one has gone", func() bool { return w.service().Held == 1 })
		}
		w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = false })
		if got, err := io.ReadAll(c); err != nil || string(got) != "\x01xbye" {
			t.Errorf("%s: got %q, %v", protocol, got, err)
		}
	}
}
