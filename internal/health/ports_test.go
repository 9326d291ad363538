// SPDX-License-Identifier: Apache-2.0

package health

import "testing"

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"0100007F": true, "0B00007F": true, "00000000": false, "020011AC": false,
		"00000000000000000000000001000000": true, "00000000000000000000000000000000": false,
		"0000000000000000FFFF00000100007F": true, "0000000000000000FFFF0000020011AC": false,
	} {
		if got := loopback(address); got != want {
			t.Errorf("%s is loopback: %v, want %v", address, got, want)
		}
	}
	if ports := ListeningPorts(1, "no-such-container"); ports != nil {
		t.Errorf("the ports of another process are taken for a container's: %v", ports)
	}
}
