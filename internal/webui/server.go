// SPDX-License-Identifier: Apache-2.0

// Package webui is the web UI: pages rendered on the server, embedded in the
// binary, which work without scripts; small JavaScript modules keep them up to
// date. It is a client of the HTTP API with the identity of the person who is
// signed in, and has no powers of its own: every call goes through the API's
// handler with that person's token and address, so that its RBAC, rate limits and
// audit lines hold here too.
//
// How to add a page is described in docs/ui.md.
package webui

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/klauspost/compress/gzhttp"
	"golang.org/x/sync/singleflight"
	"k8s.io/utils/lru"

	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/webui/session"
)

// Prefix of all pages.
const Prefix = "/ui/"

// Options of a Server.
type Options struct {
	// API is the handler of the HTTP API. Required.
	API http.Handler
	// DataDir is where the sessions are kept. Required.
	DataDir string
	// Version of the binary, shown at the foot of each page.
	Version string
	// Secure says that browsers reach the UI by HTTPS although it is served
	// without, as behind a proxy.
	Secure bool
	// PublicURL is where browsers reach the server that the UI is part of, such as
	// https://fairlead.example.com. Default: what they say in the header Host.
	PublicURL string
	// Provider that people can sign in with, besides with a token; nil for none.
	Provider Provider
	// Limits of sessions. Default: 2 h without use, 12 h in all.
	Limits session.Limits
	// StreamBeat is how often a stream without news sends a comment, and sees whether its
	// session has ended. Default: 15 s.
	StreamBeat time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Limiter limits how often an address may ask for pages. Default: 100 a second,
	// and 1000 at once.
	Limiter Limiter
	// Log of what goes wrong.
	Log logr.Logger
}

// Limiter limits how often an address may call; *guard.Guard is one.
type Limiter interface {
	// Allow returns 0, or how long to wait before the next try.
	Allow(addr netip.Prefix) time.Duration
}

// Server serves the web UI.
type Server struct {
	opts     Options
	log      logr.Logger
	assets   *assets
	pages    *pages
	handler  http.Handler
	origin   *http.CrossOriginProtection
	sessions atomic.Pointer[session.Store]
	stopping atomic.Pointer[context.Context]
	rows     *lru.Cache // *row by rowKey
	offers   *lru.Cache // *offers by token of the session against forgery

	renewals singleflight.Group
	// renewAfter is when the provider is asked again, in ns since 1970.
	renewAfter atomic.Int64
}

// New makes a Server. It answers 503 until Connect.
func New(o Options) (*Server, error) {
	if o.Limits.Idle <= 0 {
		o.Limits.Idle = 2 * time.Hour
	}
	if o.Limits.Absolute <= 0 {
		o.Limits.Absolute = 12 * time.Hour
	}
	if o.StreamBeat <= 0 {
		o.StreamBeat = 15 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Limiter == nil {
		o.Limiter = guard.New(guard.Options{})
	}
	s := &Server{opts: o, log: o.Log, origin: http.NewCrossOriginProtection(), rows: lru.New(maxRows), offers: lru.New(maxOffers)}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = loadPages(s.assets); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	// Streams are sent as they come. The jitter keeps the length of compressed
	// pages from telling what is in them.
	compress, err := gzhttp.NewWrapper(gzhttp.RandomJitter(32, 0, false), gzhttp.MinSize(512))
	if err != nil {
		return nil, err
	}
	for _, r := range append(s.routes(), s.administration()...) {
		var h http.Handler = r.handler
		if !r.stream {
			h = compress(h)
		}
		mux.Handle(r.pattern, h)
	}
	mux.Handle("GET "+s.assets.prefix, compress(s.assets))
	mux.Handle(Prefix, compress(s.page(anybody, s.notFound)))
	s.handler = mux
	return s, nil
}

// Connect opens the sessions. Streams end with ctx.
func (s *Server) Connect(ctx context.Context) error {
	store, err := session.Open(s.opts.DataDir, s.opts.Limits, s.opts.Now, func(err error) { s.log.Error(err, "sessions") })
	if err != nil {
		return err
	}
	s.stopping.Store(&ctx)
	s.sessions.Store(store)
	return nil
}

// ServeHTTP implements http.Handler for all paths below Prefix.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setSecurityHeaders(w.Header())
	if wait := s.opts.Limiter.Allow(guard.Address(r)); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		http.Error(w, "too many requests from your address", http.StatusTooManyRequests)
		return
	}
	if s.sessions.Load() == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// Root serves "/": browsers are led to the UI, everything else is left to next; nil
// for a 404.
func Root(next http.Handler) http.Handler {
	if next == nil {
		next = http.NotFoundHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && wantsHTML(r) {
			setSecurityHeaders(w.Header())
			http.Redirect(w, r, Prefix, http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}
