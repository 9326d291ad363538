// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"net"
	"os"
)

// What systemd understands, as in sd_notify(3).
const (
	stateReady    = "READY=1"
	stateStopping = "STOPPING=1"
)

// supervisor is the socket on which systemd hears of the state of a service of
// Type=notify; empty where nobody listens.
type supervisor string

// takeSupervisor takes the socket out of the environment: the API server's
// library would tell systemd of its own readiness, at which no controller runs
// yet, and git and hooks have no business there.
func takeSupervisor() (supervisor, error) {
	const name = "NOTIFY_SOCKET"
	s := supervisor(os.Getenv(name))
	return s, os.Unsetenv(name)
}

func (s supervisor) tell(state string) error {
	if s == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: string(s), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte(state))
	return err
}
