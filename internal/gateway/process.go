// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// handoverDrain is how long what is in flight may take when another program has taken over. Nobody waits for its end:
// requests are over soon, and connections of databases and WebSockets go on as if nothing had been. A switch to other
// containers ends them by its own deadlines before that.
const handoverDrain = 24 * time.Hour

// Options are what a gateway process is made of.
type Options struct {
	// Dir is the directory that is shared with the daemon. It must exist.
	Dir string
	// Build is the version of this program.
	Build string
	// Metrics is an address for metrics, or empty.
	Metrics string
	// Drain is how long what is in flight may take when the process is told to stop.
	Drain time.Duration
	// Env is what pools need.
	Env *pool.Environment
	// Log gets what happens.
	Log logr.Logger
	// Trim gives memory back that is not needed. It is called when everything is served, and regularly, and for the last
	// time when another program has taken over and this one only waits for its end.
	Trim func(last bool)
}

// trimEvery is the time between two calls of Trim.
const trimEvery = 30 * time.Second

// Run runs a gateway until ctx ends, or until another program has taken over and what was in flight has ended. In
// the second case, if this process is the first one of a container, it stays until its
// successors end, since the container would end with it.
func Run(ctx context.Context, o Options) error {
	info, err := os.Stat(o.Dir)
	if err != nil {
		return fmt.Errorf("the directory of the gateway: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", o.Dir)
	}
	if err := execAccepted(o.Dir, o.Build); err != nil {
		o.Log.Error(err, "the program that took this one's place before cannot be run; going on with the container's own")
	}
	g := New(o.Dir, o.Build, o.Env, o.Log)
	tell, err := g.inherit()
	if err != nil {
		return err
	}
	if err := g.Load(); err != nil {
		return err
	}
	control, err := Listen(g)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	tell()
	background, cancel := context.WithCancel(ctx)
	defer cancel()
	group, running := errgroup.WithContext(background)
	group.Go(control.Serve)
	group.Go(func() error { g.Run(running); return nil })
	measured, handOver := context.WithCancel(running)
	defer handOver()
	group.Go(func() error { return serveMetrics(measured, o.Metrics, g.Metrics(), o.Log) })
	o.Log.Info("gateway is up", "dir", o.Dir, "version", o.Build)
	group.Go(func() error { o.trim(running); return nil })
	var successor bool
	select {
	case <-running.Done():
	case <-g.replaced:
		successor = true
		handOver()
	}
	drain := o.Drain
	if successor {
		drain = handoverDrain
	}
	stopping, stop := context.WithTimeout(context.Background(), drain)
	defer stop()
	if successor { // which is told to stop together with this process
		defer context.AfterFunc(ctx, func() {
			endSuccessors()
			stop()
		})()
	}
	if err := g.Shutdown(stopping, successor); err != nil {
		o.Log.Info("not everything in flight ended in time", "after", drain.String())
	}
	cancel()
	if successor {
		_ = os.Remove(g.previousPath()) // if it is there
	}
	err = errors.Join(control.Close(), group.Wait())
	if successor && os.Getpid() == 1 {
		if o.Trim != nil {
			o.Trim(true)
		}
		err = errors.Join(err, waitForSuccessors())
	}
	return err
}

func (o Options) trim(ctx context.Context) {
	if o.Trim == nil {
		return
	}
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for {
		o.Trim(false)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// serveMetrics serves metrics on an address of their own. A successor gets it when its
// predecessor has given it up.
func serveMetrics(ctx context.Context, address string, handler http.Handler, log logr.Logger) error {
	if address == "" {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	config := net.ListenConfig{}
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for told := false; ; {
		ln, err := config.Listen(ctx, "tcp", address)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { server.Close() })
			defer stop()
			if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		}
		if !told {
			log.Error(err, "metrics cannot be served; it is tried again", "address", address)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
