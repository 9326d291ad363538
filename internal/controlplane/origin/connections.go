// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// claims are what a client may say of a request's origin. The audit log believes
// them, so they count only from this process, whose HTTP API passes on the address
// and the audit ID of its own clients.
var claims = []string{"Audit-Id", "Forwarded", "X-Forwarded-For", "X-Real-Ip"}

// Connections knows the connections that this process made to its own server.
type Connections struct {
	mu sync.Mutex
	// addresses are those of the client's ends.
	addresses map[string]bool
}

// NewConnections knows none yet.
func NewConnections() *Connections { return &Connections{addresses: map[string]bool{}} }

// Dial is the Dial of a rest.Config.
func (c *Connections) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	from := conn.LocalAddr().String()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addresses[from] = true
	return &ownConn{Conn: conn, forget: sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.addresses, from)
	})}, nil
}

func (c *Connections) has(address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addresses[address]
}

// WithoutClaims removes from the requests of others what would be believed.
func (c *Connections) WithoutClaims(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !c.has(r.RemoteAddr) {
			for _, name := range claims {
				r.Header.Del(name)
			}
		}
		next.ServeHTTP(w, r)
	})
}

type ownConn struct {
	net.Conn
	forget func()
}

// Close implements net.Conn. The address is free for others only after that.
func (c *ownConn) Close() error {
	c.forget()
	return c.Conn.Close()
}
