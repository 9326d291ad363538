// SPDX-License-Identifier: Apache-2.0

// Package engineproxy stands between a daemon and its Docker engine, to let
// tests see what the daemon changes there and break the connection at will.
package engineproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"sync"
	"time"
)

// Action is a request that changes containers.
type Action struct {
	// Number counts from 1.
	Number int
	// Name is what the request does, as "create", "start" or "remove".
	Name string
}

// Proxy forwards what comes to its socket. Methods may be called by several
// goroutines.
type Proxy struct {
	// Host is the address for DOCKER_HOST.
	Host string

	engine  string // path of the engine's socket
	path    string // of the own socket
	server  *http.Server
	forward *httputil.ReverseProxy

	mu      sync.Mutex
	open    map[net.Conn]bool // accepted and not closed
	closed  bool
	actions []Action
	hook    func(Action)
	seen    func(*http.Request)
}

// Start listens on the socket at path, in front of the engine whose socket is
// at engine.
func Start(engine, path string) (*Proxy, error) {
	p := &Proxy{Host: "unix://" + path, engine: engine, path: path, open: map[net.Conn]bool{}}
	p.forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker"
			r.Out.Host = r.In.Host
		},
		Transport:      &http.Transport{DialContext: p.dial, DisableCompression: true, DisableKeepAlives: true},
		FlushInterval:  -1,
		ModifyResponse: p.answered,
		// Told by closing the connection, as an engine that went away would.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return p, p.Restore()
}

// OnAction has fn called when the engine has carried out an action, before
// the daemon is told of it. The count of actions begins anew.
func (p *Proxy) OnAction(fn func(Action)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook, p.actions = fn, nil
}

// OnAnswer has fn called for each request when the engine has begun to answer it, or has given
// up its connection for it, before the daemon is told.
func (p *Proxy) OnAnswer(fn func(*http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = fn
}

func (p *Proxy) see(r *http.Request) {
	p.mu.Lock()
	seen := p.seen
	p.mu.Unlock()
	if seen != nil {
		seen(r)
	}
}

// Actions are those since the last call of OnAction.
func (p *Proxy) Actions() []Action {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Action(nil), p.actions...)
}

// Cut breaks all connections, also in the middle of an answer, and refuses
// others until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	server := p.server
	p.server = nil
	conns := p.open
	p.open = map[net.Conn]bool{}
	p.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
	for c := range conns {
		_ = c.Close()
	}
}

// Restore lets connections through again.
func (p *Proxy) Restore() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil || p.closed {
		return nil
	}
	if err := os.Remove(p.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", p.path)
	if err != nil {
		return err
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, ConnState: p.track}
	go func(s *http.Server) { _ = s.Serve(l) }(p.server)
	return nil
}

// Close ends the proxy.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Cut()
}

func (p *Proxy) track(c net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		p.open[c] = true
	case http.StateClosed:
		delete(p.open, c)
	}
}

func (p *Proxy) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", p.engine)
}

// ServeHTTP forwards one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		p.tunnel(w, r)
		return
	}
	p.forward.ServeHTTP(w, r)
}

// tunnel passes a connection on that becomes something else than HTTP. Each
// direction is closed by itself, as for the input of a command.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	engine, err := p.dial(r.Context(), "", "")
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer engine.Close()
	if err := r.Write(engine); err != nil {
		panic(http.ErrAbortHandler)
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer client.Close()
	p.see(r)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(engine, buffered)
		closeWrite(engine)
	}()
	_, _ = io.Copy(client, engine)
	closeWrite(client)
	_ = client.Close() // ends the other direction too
	<-done
	p.mu.Lock()
	delete(p.open, client)
	p.mu.Unlock()
}

func closeWrite(c net.Conn) {
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.CloseWrite()
	}
}

// containerPath matches requests about containers, as they are or will be.
var containerPath = regexp.MustCompile(`^(?:/v[0-9.]+)?/containers/(?:(create)|[^/]+(?:/(\w+))?)$`)

// actionOf names what a request changes, or nothing.
func actionOf(r *http.Request) string {
	m := containerPath.FindStringSubmatch(r.URL.Path)
	switch {
	case m == nil:
		return ""
	case r.Method == http.MethodDelete && m[2] == "":
		return "remove"
	case r.Method != http.MethodPost:
		return ""
	case m[1] != "":
		return m[1]
	}
	switch m[2] {
	case "start", "stop", "kill", "restart", "rename", "update", "pause", "unpause":
		return m[2]
	}
	return ""
}

// answered counts what the engine has carried out.
func (p *Proxy) answered(resp *http.Response) error {
	p.see(resp.Request)
	name := actionOf(resp.Request)
	if name == "" || resp.StatusCode >= http.StatusBadRequest {
		return nil
	}
	p.mu.Lock()
	a := Action{Number: len(p.actions) + 1, Name: name}
	p.actions = append(p.actions, a)
	hook := p.hook
	p.mu.Unlock()
	if hook != nil {
		hook(a)
	}
	return nil
}
