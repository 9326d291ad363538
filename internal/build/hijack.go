// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// refusedError is the engine's answer to an upgrade that it does not offer.
type refusedError struct {
	path   string
	status int
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the engine refused %s with HTTP status %d", e.path, e.status)
}

// dialer opens connections to the engine and remembers them, so that all of
// them can be cut at once.
type dialer struct {
	dial func(context.Context) (net.Conn, error)

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func newDialer(dial func(context.Context) (net.Conn, error)) *dialer {
	return &dialer{dial: dial, conns: map[net.Conn]struct{}{}}
}

// hijack turns a connection to the engine's path into one of another protocol.
// Unlike the Docker client's own it obeys ctx while the engine does not answer.
func (d *dialer) hijack(ctx context.Context, path, proto string, meta map[string][]string) (net.Conn, error) {
	conn, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	upgraded, err := upgrade(ctx, conn, path, proto, meta)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if !d.remember(upgraded) {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return upgraded, nil
}

func upgrade(ctx context.Context, conn net.Conn, path, proto string, meta map[string][]string) (net.Conn, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, http.NoBody)
	if err != nil {
		return nil, err
	}
	for k, v := range meta {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	req.Host = "docker"
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", proto)
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		_ = resp.Body.Close()
		return nil, &refusedError{path: path, status: resp.StatusCode}
	}
	return &upgradedConn{Conn: conn, r: r}, nil
}

// upgradedConn reads first what arrived together with the engine's answer.
type upgradedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *upgradedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

func (d *dialer) remember(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.conns[conn] = struct{}{}
	return true
}

// Close cuts every connection. Nothing can be dialled afterwards.
func (d *dialer) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for conn := range d.conns {
		_ = conn.Close()
	}
	d.conns = nil
}

// notOffered reports whether err is the engine's answer that it has no BuildKit,
// as opposed to a disturbance.
func notOffered(err error) bool {
	var refused *refusedError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.status {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusForbidden:
		return true
	}
	return false
}
