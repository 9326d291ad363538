// SPDX-License-Identifier: Apache-2.0

package controlplane

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

// own knows the connections that this process made to its own server.
type own struct {
	mu sync.Mutex
	// addresses are those of the client's ends.
	addresses map[string]bool
}

func newOwn() *own { return &own{addresses: map[string]bool{}} }

// dial is the Dial of a rest.Config.
func (o *own) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	from := c.LocalAddr().String()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.addresses[from] = true
	return &ownConn{Conn: c, forget: sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.addresses, from)
	})}, nil
}

func (o *own) has(address string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.addresses[address]
}

// withoutClaims removes from the requests of others what would be believed.
func (o *own) withoutClaims(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !o.has(r.RemoteAddr) {
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
