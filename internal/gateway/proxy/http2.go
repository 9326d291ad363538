// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/http1"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// http2Server serves connections of HTTP/2, gRPC among them, with the HTTP/2 of the
// standard library on both sides: each stream goes to a target of its own.
type http2Server struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	proxy  *httputil.ReverseProxy
	ready  sync.Once
}

// streamKey is the key of a stream's *stream in its context.
type streamKey struct{}

// clientKey is the key of the *client.
type clientKey struct{}

// stream is where one goes and who sent it.
type stream struct {
	client  *client
	backend *backend
	trusted bool
	ended   bool // the answer is a head alone
}

// answerWriter sends a head that is all of an answer with the end of the stream, as the target did. httputil.ReverseProxy flushes
// heads by a timer, which may be faster than the end: clients of gRPC take a head and an end for a server that broke off.
type answerWriter struct {
	http.ResponseWriter
	stream *stream
}

// FlushError sends what was written.
func (w *answerWriter) FlushError() error {
	if w.stream.ended {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func newHTTP2Server(s *Server) *http2Server {
	h := &http2Server{conns: make(chan net.Conn), closed: make(chan struct{})}
	quiet := log.New(io.Discard, "", 0) // of clients that misbehave there is nothing to be said
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	h.server = &http.Server{
		Handler: h, Protocols: protocols, ErrorLog: quiet, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: 30 * time.Second,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: time.Minute, PingTimeout: 30 * time.Second},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, c.(*http2Conn).client)
		},
	}
	h.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: h, FlushInterval: -1, ErrorLog: quiet, BufferPool: copyBuffers{},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			st := r.Context().Value(streamKey{}).(*stream)
			if r.Context().Err() == nil { // the client still waits
				st.client.fail(st.backend, err)
			}
			status := http.StatusBadGateway
			if errors.Is(err, pool.ErrHoldFull) || errors.Is(err, pool.ErrHoldTimeout) || errors.Is(err, pool.ErrNoTarget) || errors.Is(err, pool.ErrConnect) {
				status = http.StatusServiceUnavailable
				w.Header().Set("Retry-After", "1")
			}
			w.WriteHeader(status)
		},
	}
	return h
}

type copyBuffers struct{}

func (copyBuffers) Get() []byte  { return getBuffer()[:] }
func (copyBuffers) Put(b []byte) { putBuffer((*[bufferSize]byte)(b)) }

// http2Conn is a client's connection with what was read of it before.
type http2Conn struct {
	*net.TCPConn
	client *client
	before []byte
	once   sync.Once
	ended  chan struct{}
}

// Read reads what was read before first.
func (c *http2Conn) Read(p []byte) (int, error) {
	if len(c.before) > 0 {
		n := copy(p, c.before)
		c.before = c.before[n:]
		return n, nil
	}
	return c.TCPConn.Read(p)
}

// Close also tells serveHTTP2.
func (c *http2Conn) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.TCPConn.Close()
}

// serveHTTP2 serves the connection, whose preface is in the inbox.
func (c *client) serveHTTP2(site *Site) {
	h := c.server.http2
	if site.proxyOut != "" {
		c.serveTCP(site) // streams of many clients share connections, which can name one client only
		return
	}
	h.ready.Do(func() { go func() { _ = h.server.Serve(h) }() })
	c.reads.exactly(time.Time{})
	// The server may still be reading when it has closed the connection: the inbox is not for it.
	conn := &http2Conn{TCPConn: c.conn, client: c, before: slices.Clone(c.in.bytes()), ended: make(chan struct{})}
	c.in.release()
	select {
	case h.conns <- conn:
		<-conn.ended
	case <-h.closed:
	}
}

// Accept gives the connections that serveHTTP2 has.
func (h *http2Server) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *http2Server) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is of no meaning.
func (h *http2Server) Addr() net.Addr { return &net.TCPAddr{} }

// shutdown has clients told to go (GOAWAY), lets streams end, and closes.
func (h *http2Server) shutdown(ctx context.Context) {
	go func() { _ = h.server.Shutdown(ctx) }()
}

func (h *http2Server) close() {
	_ = h.Close()
	_ = h.server.Close()
}

// ServeHTTP serves one stream.
func (h *http2Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(clientKey{}).(*client)
	site := c.sites.Site(c.local)
	if site == nil {
		w.WriteHeader(http.StatusMisdirectedRequest)
		return
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	b := site.routeHost(strings.Trim(host, "[]"))
	if b == nil {
		w.WriteHeader(http.StatusMisdirectedRequest)
		return
	}
	b.pool.Stats.Request()
	b.pool.Stats.Connected()
	begun := time.Now()
	defer func() {
		b.pool.Stats.Disconnected()
		b.pool.Stats.Took(time.Since(begun))
	}()
	st := &stream{client: c, backend: b, trusted: b.keep || site.trusts(c.remote.Addr())}
	h.proxy.ServeHTTP(&answerWriter{w, st}, r.WithContext(context.WithValue(r.Context(), streamKey{}, st)))
}

// rewrite makes the request that the target gets.
func rewrite(r *httputil.ProxyRequest) {
	st := r.In.Context().Value(streamKey{}).(*stream)
	r.Out.URL.Scheme, r.Out.URL.Host = "http", "target"
	r.Out.URL.RawQuery = r.In.URL.RawQuery // which was put in order, with parts that cannot be parsed left out
	r.Out.Host = r.In.Host
	tells := func(name string) bool { // also to servers that take one for the other
		return strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-forwarded")
	}
	for name := range r.Out.Header {
		if tells(name) {
			delete(r.Out.Header, name)
		}
	}
	if st.trusted {
		for name, values := range r.In.Header {
			if name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded") || st.backend.keep && tells(name) {
				r.Out.Header[name] = slices.Clone(values)
			}
		}
	}
	if _, ok := r.In.Header["User-Agent"]; !ok {
		r.Out.Header["User-Agent"] = nil // none is to be made up
	}
	if st.backend.keep {
		return
	}
	forwardedFor := st.client.remote.Addr().String()
	if before := r.Out.Header["X-Forwarded-For"]; len(before) > 0 {
		forwardedFor = strings.Join(before, ", ") + ", " + forwardedFor
	}
	r.Out.Header.Set("X-Forwarded-For", forwardedFor)
	if r.Out.Header.Get("X-Forwarded-Proto") == "" {
		r.Out.Header.Set("X-Forwarded-Proto", st.backend.proto)
	}
	if r.Out.Header.Get("X-Forwarded-Host") == "" {
		r.Out.Header.Set("X-Forwarded-Host", r.In.Host)
	}
}

// RoundTrip sends a stream to a target, and to another one, or later, if that cannot be connected to. One whose
// target went before it answered is sent again if it is idempotent and its body, if it has one, small.
func (h *http2Server) RoundTrip(r *http.Request) (*http.Response, error) {
	st := r.Context().Value(streamKey{}).(*stream)
	var kept *recorder
	if r.Body != nil && r.Body != http.NoBody {
		kept = &recorder{src: r.Body}
		defer kept.stop()
	}
	var tried []*pool.Target
	var deadline time.Time // from the first time that there is no connection: a hold before that counts for itself
	for attempt := 1; ; attempt++ {
		if kept != nil {
			var err error
			if r.Body, err = kept.body(); err != nil {
				return nil, err
			}
		}
		ctx, cancel := context.WithCancel(r.Context())
		lease, err := st.backend.pool.Use(ctx, st.client.remote.Addr(), tried, cancel)
		if err != nil {
			cancel()
			return nil, err
		}
		target := lease.Target()
		transport := target.Keep(st.backend.port, func() any { return newTargetTransport(target, st.backend.port) }).(*targetTransport)
		resp, err := transport.RoundTrip(r.WithContext(ctx))
		if err == nil {
			if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType == "text/event-stream" {
				lease.Endless()
			}
			st.ended = resp.ContentLength == 0
			resp.Body = &streamBody{ReadCloser: resp.Body, end: func() {
				lease.End()
				cancel()
				transport.used()
			}}
			return resp, nil
		}
		lease.End()
		cancel()
		if r.Context().Err() != nil {
			return nil, err
		}
		var dial *dialError
		again := errors.As(err, &dial)
		if again {
			now := time.Now()
			if deadline.IsZero() {
				deadline = now.Add(st.backend.pool.ConnectTimeout())
			}
			again = now.Before(deadline)
		}
		if !again {
			target.Broke(err)
			again = (http1.Idempotent(r.Method) || untouched(err)) && attempt < maxAttempts
		}
		if !again || kept != nil && !kept.whole() {
			if dial != nil {
				err = errors.Join(pool.ErrConnect, err)
			}
			return nil, err
		}
		st.backend.pool.Stats.Retried()
		if slices.Contains(tried, target) { // all were tried
			tried = nil
			if err := pause(r.Context(), 50*time.Millisecond); err != nil {
				return nil, err
			}
		}
		tried = append(tried, target)
	}
}

// untouched says that the target told that it did nothing about a stream whose body was sent. The transport has no
// errors for that which could be told apart but by their words. It sends such streams without a body again by itself.
func untouched(err error) bool {
	reason, ok := strings.CutPrefix(err.Error(), "http2: Transport: cannot retry err [")
	return ok && (strings.HasPrefix(reason, "http2: Transport received Server's graceful shutdown GOAWAY]") ||
		strings.HasPrefix(reason, "stream error: ") && strings.Contains(reason, "; REFUSED_STREAM"))
}

// streamBody ends the lease of its target when it is closed.
type streamBody struct {
	io.ReadCloser
	once sync.Once
	end  func()
}

// Close closes the body.
func (b *streamBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.end)
	return err
}

// targetTransport is the connections of HTTP/2 to one port of a target.
type targetTransport struct {
	*http.Transport
	target *pool.Target
	open   atomic.Int64
}

// dialError is that there was no connection, so that nothing was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

func newTargetTransport(target *pool.Target, port int) *targetTransport {
	t := &targetTransport{target: target}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	t.Transport = &http.Transport{
		Protocols: protocols, DisableCompression: true, IdleConnTimeout: 90 * time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := target.Connect(ctx, port)
			if err != nil {
				return nil, &dialError{err}
			}
			t.open.Add(1)
			return &countedConn{TCPConn: c, open: &t.open}, nil
		},
	}
	return t
}

// OpenConnections is how many there are.
func (t *targetTransport) OpenConnections() int64 { return t.open.Load() }

// used says that a stream has ended. Connections to a target that is not wanted any more end with the last one,
// which the transport notices a little later.
func (t *targetTransport) used() {
	if !t.target.Active() {
		time.AfterFunc(100*time.Millisecond, t.CloseIdleConnections)
	}
}

type countedConn struct {
	*net.TCPConn
	once sync.Once
	open *atomic.Int64
}

// Close closes the connection.
func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.TCPConn.Close()
}
