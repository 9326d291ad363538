// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/tmaxmax/go-sse"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

// reconnectAfter is how long a client of a stream waits before it comes back.
const reconnectAfter = 2 * time.Second

// streams bounds how many streams are open.
type streams struct {
	all, each int

	mu   sync.Mutex
	open map[string]int // by caller
	sum  int
}

func newStreams(limit int) *streams {
	return &streams{all: limit, each: max(1, limit*3/4), open: map[string]int{}}
}

// enter counts a stream of who until leave is called.
func (s *streams) enter(who string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sum >= s.all || s.open[who] >= s.each {
		return nil, false
	}
	s.sum++
	s.open[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sum--
		if s.open[who]--; s.open[who] == 0 {
			delete(s.open, who)
		}
	}, true
}

// untilStop ends a context when the daemon is told to stop.
func (a *API) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(*a.stopping.Load(), cancel)
	return ctx, func() { stop(); cancel() }
}

// streaming is the answer of an operation that streams: run is called with the
// client's side of it, after there was room for it.
func (a *API) streaming(ctx context.Context, run func(ctx context.Context, s *stream) error) (*huma.StreamResponse, error) {
	leave, ok := a.streams.enter(recordOf(ctx).who)
	if !ok {
		return nil, retryable(problem(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "too many streams are open"), reconnectAfter)
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		defer leave()
		ctx, cancel := a.untilStop(ctx)
		defer cancel()
		_, w := humago.Unwrap(h)
		s := &stream{w: w, control: http.NewResponseController(w), timeout: a.opts.WriteTimeout}
		err := run(ctx, s)
		// The connection may serve other requests after this one.
		_ = s.control.SetWriteDeadline(time.Time{})
		switch {
		case err == nil, errors.Is(err, errGone):
		case s.begun:
			if ctx.Err() == nil {
				a.log.V(1).Info("a stream was broken off", "path", h.URL().Path, "reason", err.Error())
			}
			// The status line is gone; a broken connection tells the client that this
			// is not the end.
			panic(http.ErrAbortHandler)
		default:
			a.writeError(ctx, w, err)
		}
	}}, nil
}

// errGone says that the client takes nothing more.
var errGone = errors.New("the client is gone or too slow")

// stream is the client's side of a stream. Its methods may be called by several
// goroutines; each piece is sent whole.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration

	mu    sync.Mutex
	begun bool
}

// begin sends the head of the answer, unless it was sent.
func (s *stream) begin(contentType string, header http.Header) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return nil
	}
	s.begun = true
	h := s.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Accel-Buffering", "no") // for proxies that would wait for more
	for key, values := range header {
		h[key] = values
	}
	s.w.WriteHeader(http.StatusOK)
	return s.flush()
}

// beginEvents begins a stream of server-sent events.
func (s *stream) beginEvents() error { return s.begin("text/event-stream", nil) }

// nothingLeft tells a client of events that comes back after the end not to do so
// again.
func (s *stream) nothingLeft() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
	s.w.WriteHeader(http.StatusNoContent)
	return nil
}

// Write sends a piece at once. A client that does not take it in time is gone.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.control.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, errGone
	}
	n, err := s.w.Write(p)
	if err != nil {
		return n, errGone
	}
	return n, s.flush()
}

func (s *stream) flush() error {
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone
	}
	return nil
}

// event sends a server-sent event with data as JSON; no ID if id is empty.
func (s *stream) event(name, id string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := encode(&b, name, id, string(text)); err != nil {
		return err
	}
	_, err = s.Write(b.Bytes())
	return err
}

// comment sends what clients of events ignore, to keep the connection and to
// notice when it is gone.
func (s *stream) comment() error {
	s.mu.Lock()
	begun := s.begun
	s.mu.Unlock()
	if !begun {
		return nil
	}
	_, err := s.Write([]byte(": still here\n\n"))
	return err
}

// retry tells the client how long to wait before it comes back.
func (s *stream) retry() error {
	var b bytes.Buffer
	if _, err := (&sse.Message{Retry: reconnectAfter}).WriteTo(&b); err != nil {
		return err
	}
	_, err := s.Write(b.Bytes())
	return err
}

// encode appends an event to b.
func encode(b *bytes.Buffer, name, id, data string) error {
	m := sse.Message{Type: sse.Type(name)}
	if id != "" {
		m.ID = sse.ID(id)
	}
	m.AppendData(data)
	_, err := m.WriteTo(b)
	return err
}

// heart calls beat and recheck, which may be nil, again and again until ctx ends or
// one of them fails, which ends the stream with that cause.
func (a *API) heart(ctx context.Context, cancel context.CancelCauseFunc, beat func() error, recheck func(context.Context) error) {
	beats, checks := time.NewTicker(a.opts.Heartbeat), time.NewTicker(a.opts.Recheck)
	defer beats.Stop()
	defer checks.Stop()
	asked := checks.C
	if recheck == nil {
		asked = nil
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-beats.C:
			err = beat()
		case <-asked:
			err = lasting(recheck(ctx))
		}
		if err != nil {
			cancel(err)
			return
		}
	}
}

// lasting leaves out errors of the API server that pass: it may just be
// restarting, and a stream outlives that.
func lasting(err error) error {
	var api apierrors.APIStatus
	if errors.As(err, &api) && !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		return nil
	}
	var own huma.StatusError
	if err == nil || errors.As(err, &api) || errors.As(err, &own) || errors.Is(err, errGone) {
		return err
	}
	return nil // the connection
}

// guarded calls f, in a goroutine where nobody else catches a fault of it: it ends
// what f is for, by failed, and not the daemon.
func (a *API) guarded(f func(), failed func(error)) {
	defer func() {
		if p := recover(); p != nil {
			err := failure.Panicked(p)
			a.log.Error(err, "a stream met a fault", "stack", failure.AsPanic(err).Stack)
			failed(err)
		}
	}()
	f()
}

// withHeart runs f with a heart beside it; what ends the heart ends f.
func (a *API) withHeart(ctx context.Context, beat func() error, recheck, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { a.guarded(func() { a.heart(ctx, cancel, beat, recheck) }, cancel) })
	err := f(ctx)
	cancel(nil)
	wg.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
