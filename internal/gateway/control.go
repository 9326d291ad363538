// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// maxState bounds a state that is put.
const maxState = 16 << 20

// Control serves the control API on the socket in the gateway's directory.
type Control struct {
	path   string
	made   os.FileInfo
	server *http.Server
	ln     *net.UnixListener
}

// Listen takes the socket: whoever had it before is not reached any more.
func Listen(g *Gateway) (*Control, error) {
	c := &Control{path: filepath.Join(g.dir, gatewayapi.SocketName)}
	// Made under another name, so that nobody connects before the mode is right.
	temporary := filepath.Join(g.dir, fmt.Sprintf(".%s.%d", gatewayapi.SocketName, os.Getpid()))
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temporary, 0o600), os.Rename(temporary, c.path)); err != nil {
		ln.Close()
		return nil, err
	}
	if c.made, err = os.Stat(c.path); err != nil {
		ln.Close()
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+gatewayapi.PathState, g.putState)
	mux.HandleFunc("GET "+gatewayapi.PathState, func(w http.ResponseWriter, _ *http.Request) {
		state := g.Desired()
		if state == nil {
			state = &gatewayapi.DesiredState{Version: gatewayapi.Version}
		}
		answer(w, state)
	})
	mux.HandleFunc("GET "+gatewayapi.PathObserved, func(w http.ResponseWriter, r *http.Request) { answer(w, g.observedInAll(r.Context())) })
	mux.HandleFunc("PUT "+gatewayapi.PathFollow, g.putFollow)
	mux.HandleFunc("PUT "+gatewayapi.PathUnhealthy, g.putUnhealthy)
	mux.Handle("GET "+gatewayapi.PathMetrics, g.Metrics())
	mux.HandleFunc("PUT "+gatewayapi.PathProgram, g.putProgram)
	ended := make(chan struct{})
	mux.HandleFunc("GET "+gatewayapi.PathChanges, func(w http.ResponseWriter, r *http.Request) { g.serveChanges(w, r, ended) })
	c.ln = ln
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute}
	c.server.RegisterOnShutdown(sync.OnceFunc(func() { close(ended) }))
	return c, nil
}

// Serve serves until Close.
func (c *Control) Serve() error {
	if err := c.server.Serve(c.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close lets the calls under way end, and removes the socket if nobody else has taken it.
func (c *Control) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := c.server.Shutdown(ctx)
	if now, statErr := os.Stat(c.path); statErr == nil && os.SameFile(now, c.made) {
		err = errors.Join(err, os.Remove(c.path))
	}
	return err
}

func (g *Gateway) putState(w http.ResponseWriter, r *http.Request) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxState))
	// What this gateway does not know it would not do: better to say so.
	decoder.DisallowUnknownFields()
	state := &gatewayapi.DesiredState{}
	if err := decoder.Decode(state); err != nil {
		status := http.StatusBadRequest
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, err.Error(), status)
		return
	}
	switch err := g.Put(state); {
	case errors.Is(err, gatewayapi.ErrInvalid):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, gatewayapi.ErrRevision):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, gatewayapi.ErrEnding):
		http.Error(w, err.Error(), http.StatusGone)
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		g.tellPrevious(r.Context(), state)
		answer(w, g.observedInAll(r.Context()))
	}
}

// putFollow serves PathFollow. What is not known of the state is for the successor, which may be of another version.
func (g *Gateway) putFollow(w http.ResponseWriter, r *http.Request) {
	state := &gatewayapi.DesiredState{}
	take(w, r, state, func() error { return g.Follow(state) })
}

// putUnhealthy serves PathUnhealthy.
func (g *Gateway) putUnhealthy(w http.ResponseWriter, r *http.Request) {
	u := &gatewayapi.Unhealthy{}
	take(w, r, u, func() error {
		if err := u.Validate(); err != nil {
			return err
		}
		g.env.Marks.Set(u.Targets, time.Duration(u.For))
		return nil
	})
}

// take reads what is put into v and has it used.
func take(w http.ResponseWriter, r *http.Request, v any, use func() error) {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxState)).Decode(v)
	if err == nil {
		err = use()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// The client may have gone; there is nobody to be told.
	_ = json.NewEncoder(w).Encode(v)
}

// Metrics serves the metrics in Prometheus' format.
func (g *Gateway) Metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{g})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}
