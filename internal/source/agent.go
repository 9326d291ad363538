// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh/agent"
)

// sshAgent hands a private key to ssh over a socket, so that the key is
// never written to disk.
type sshAgent struct {
	dir      string
	listener net.Listener
	known    string

	running sync.WaitGroup
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
}

func startAgent(c *Credentials) (_ *sshAgent, err error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		return nil, fmt.Errorf("%w: SSH private key: %w", ErrCredentials, err)
	}
	dir, err := os.MkdirTemp("", "fairlead-ssh-")
	if err != nil {
		return nil, err
	}
	a := &sshAgent{dir: dir, conns: map[net.Conn]struct{}{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if len(c.KnownHosts) > 0 {
		a.known = filepath.Join(dir, "known_hosts")
		if err := os.WriteFile(a.known, append(c.KnownHosts[:len(c.KnownHosts):len(c.KnownHosts)], '\n'), 0o600); err != nil {
			return nil, err
		}
	}
	if a.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "unix", a.socket()); err != nil {
		return nil, err
	}
	a.running.Go(func() { a.accept(keys) })
	return a, nil
}

func (a *sshAgent) socket() string { return filepath.Join(a.dir, "agent") }

func (a *sshAgent) accept(keys agent.Agent) {
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			return
		}
		a.mu.Lock()
		a.conns[conn] = struct{}{}
		a.mu.Unlock()
		a.running.Go(func() {
			_ = agent.ServeAgent(keys, conn) // ends with EOF when ssh has authenticated
			_ = conn.Close()
			a.mu.Lock()
			delete(a.conns, conn)
			a.mu.Unlock()
		})
	}
}

// close ends the agent and waits for it.
func (a *sshAgent) close() {
	_ = a.listener.Close()
	a.mu.Lock()
	for conn := range a.conns {
		_ = conn.Close()
	}
	a.mu.Unlock()
	a.running.Wait()
	_ = os.RemoveAll(a.dir)
}

func (a *sshAgent) options() string {
	s := " -o IdentityAgent=" + shellQuote(a.socket()) + " -o IdentityFile=none -o StrictHostKeyChecking=yes"
	if a.known != "" {
		s += " -o UserKnownHostsFile=" + shellQuote(a.known) + " -o GlobalKnownHostsFile=none"
	}
	return s
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
