// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/failure"
	"github.com/fairlead-dev/fairlead/internal/httpapi"
	"github.com/fairlead-dev/fairlead/internal/webui/session"
)

const (
	// tickPause is the least time between two ticks: what happens together is
	// fetched together.
	tickPause = 150 * time.Millisecond
	// streamWrite is how long a browser may take to receive what was sent.
	streamWrite = 30 * time.Second
)

// Events that pages get besides those of a log.
const (
	// eventChange says that the page is to be fetched again. It carries nothing.
	eventChange = "change"
	// eventOver says that nothing more will come.
	eventOver = "over"
	// eventSignedOut says that the session has ended.
	eventSignedOut = "signed-out"
)

// source is a stream of the API that a page's stream is made of.
type source struct {
	// path below /api/v1/.
	path string
	// raw events are sent on as they are, with their IDs. Others become ticks: the
	// page only needs to know that something has changed.
	raw bool
	// untilSynced says that the events before "synced" are the state that the page
	// has shown.
	untilSynced bool
	// again says that there may be more after the end: the browser comes back for it.
	again bool
}

// stream answers with what the sources bring, in one stream: browsers have few
// connections for each host. It lasts as long as the session, and ends by itself
// when all sources have.
func (c *call) stream(sources ...source) error {
	ctx, cancel := context.WithTimeout(c.Context(), c.streamTime())
	defer cancel()
	// The browser comes back when the daemon does.
	stopping := *c.s.stopping.Load()
	defer context.AfterFunc(stopping, cancel)()

	out := &pageStream{w: c.w, control: http.NewResponseController(c.w)}
	c.w.Header().Set("Content-Type", "text/event-stream")
	c.w.Header().Set("X-Accel-Buffering", "no") // for proxies that would wait for more
	if out.write([]byte("retry: 1000\n\n")) != nil {
		return nil
	}
	last := c.r.Header.Get("Last-Event-ID")
	if last == "" {
		// A page that has read up to here by other means cannot set the header.
		last = c.r.URL.Query().Get("after")
	}
	ticks := make(chan struct{}, 1)
	ends := make(chan error, len(sources))
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, src := range sources {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, httpapi.Prefix+src.path, http.NoBody)
		if err != nil {
			return err
		}
		r.RemoteAddr, r.RequestURI = c.r.RemoteAddr, r.URL.RequestURI()
		r.Header.Set("Authorization", "Bearer "+c.Session.Token)
		if src.raw && last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		s := &sink{source: src, header: http.Header{}, out: out, ticks: ticks}
		running.Go(func() {
			err := s.run(c.s.opts.API, r)
			if fault := failure.AsPanic(err); fault != nil {
				c.s.log.Error(err, "a stream of the API met a fault", "path", r.URL.Path, "stack", fault.Stack)
			}
			if err == nil && s.again {
				err = errAgain
			}
			ends <- err
		})
	}
	return c.pump(ctx, out, ticks, ends, len(sources))
}

// streamTime is how long a stream may last: as long as the session, or until the
// token has to be renewed. The browser comes back then, with what it has.
func (c *call) streamTime() time.Duration {
	now := c.s.opts.Now()
	left := c.Session.Expires.Sub(now)
	if c.Session.Refresh == "" {
		return left
	}
	return min(left, max(renewPause, c.Session.TokenExpires.Sub(now)-renewBefore))
}

// pump sends ticks and comments until all sources have ended.
func (c *call) pump(ctx context.Context, out *pageStream, ticks <-chan struct{}, ends <-chan error, open int) error {
	beat := time.NewTicker(c.s.opts.StreamBeat)
	defer beat.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	var waiting <-chan struct{} // nil during the pause
	for {
		select {
		case <-pause.C:
			waiting = ticks
		case <-waiting:
			waiting = nil
			pause.Reset(tickPause)
			if out.event(eventChange) != nil {
				return nil
			}
		case <-beat.C:
			// A page that only follows a log asks for nothing else that would notice.
			if _, err := c.s.sessions.Load().Get(c.s.cookie(c.r, sessionCookie), false); errors.Is(err, session.ErrNone) {
				return out.last(eventSignedOut)
			}
			if out.write([]byte(": still here\n\n")) != nil {
				return nil
			}
		case <-c.Session.Ended:
			return out.last(eventSignedOut)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && c.Session.Refresh == "" {
				return out.last(eventSignedOut)
			}
			panic(http.ErrAbortHandler) // a broken connection tells the browser to come back
		case err := <-ends:
			open--
			var status statusError
			switch {
			case errors.As(err, &status) && status == http.StatusUnauthorized && c.Session.Subject != "":
				panic(http.ErrAbortHandler) // it may be renewed, or not be known yet: see fail
			case errors.As(err, &status) && status == http.StatusUnauthorized:
				return out.last(eventSignedOut)
			case errors.As(err, &status) && status < http.StatusInternalServerError && status != http.StatusTooManyRequests:
				// Not for this person, or gone: the page says so when it is fetched.
			case errors.Is(err, errAgain):
				return out.pause(ctx)
			case err != nil:
				panic(http.ErrAbortHandler)
			}
			if open > 0 {
				continue
			}
			if out.event(eventChange) != nil {
				return nil
			}
			return out.last(eventOver)
		}
	}
}

// errAgain ends a stream whose browser is to come back.
var errAgain = errors.New("there may be more")

// againAfter is how long a browser that is to come back is kept: it asks once in
// that time.
const againAfter = 2 * time.Second

// pause breaks the connection off after a while.
func (p *pageStream) pause(ctx context.Context) error {
	timer := time.NewTimer(againAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	panic(http.ErrAbortHandler)
}

// statusError is an answer of the API that is no stream.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("the stream was refused: %d", int(e)) }

// pageStream is the browser's side of a stream.
type pageStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	mu      sync.Mutex
}

func (p *pageStream) write(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.control.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := p.w.Write(data); err != nil {
		return err
	}
	return p.control.Flush()
}

func (p *pageStream) event(name string) error {
	return p.write([]byte("event: " + name + "\ndata: {}\n\n"))
}

// last sends the last event; the connection may serve other requests after it.
func (p *pageStream) last(name string) error {
	_ = p.event(name)
	_ = p.control.SetWriteDeadline(time.Time{})
	return nil
}

// sink takes what one source sends, as the API's http.ResponseWriter.
type sink struct {
	source
	header http.Header
	status int
	out    *pageStream
	ticks  chan<- struct{}
}

// run serves r into the sink until the source ends. A fault of the API is an error,
// as it would be for a server of it: here nobody else catches it.
func (s *sink) run(api http.Handler, r *http.Request) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		// The API breaks off so.
		if broken, ok := p.(error); ok && errors.Is(broken, http.ErrAbortHandler) {
			err = http.ErrAbortHandler
			return
		}
		err = failure.Panicked(p)
	}()
	api.ServeHTTP(s, r)
	if s.status >= http.StatusBadRequest {
		return statusError(s.status)
	}
	return nil
}

// Header implements http.ResponseWriter.
func (s *sink) Header() http.Header { return s.header }

// WriteHeader implements http.ResponseWriter.
func (s *sink) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
}

// Write implements http.ResponseWriter. The API writes whole events.
func (s *sink) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	if s.status != http.StatusOK {
		return len(p), nil // a problem, or nothing
	}
	if s.raw {
		if bytes.HasPrefix(p, []byte("retry:")) || bytes.HasPrefix(p, []byte(":")) {
			return len(p), nil // the page's stream has its own
		}
		return len(p), s.out.write(p)
	}
	for line := range bytes.SplitSeq(p, []byte("\n")) {
		name, ok := bytes.CutPrefix(line, []byte("event:"))
		if !ok {
			continue
		}
		if string(bytes.TrimSpace(name)) == "synced" {
			s.untilSynced = false
		}
		if !s.untilSynced {
			select {
			case s.ticks <- struct{}{}:
			default:
			}
		}
	}
	return len(p), nil
}
