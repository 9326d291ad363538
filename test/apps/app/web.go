// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// webPort is where the web server listens, in the container and for the healthcheck.
const webPort = "8080"

// web serves until ctx ends, then lets the requests under way finish.
func web(ctx context.Context, v version) error {
	var db *sql.DB
	if url := os.Getenv("DATABASE_URL"); url != "" {
		var err error
		if db, err = openStore(ctx, url); err != nil {
			return err
		}
		defer db.Close()
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", net.JoinHostPort("", envOr("PORT", webPort)))
	if err != nil {
		return err
	}
	fmt.Println("web: listening on", listener.Addr())

	server := &http.Server{Handler: handler(v, db), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// The signal has come; what follows must not be cut short by it.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := pause(stopping, time.Duration(v.does.StopDelay)); err != nil {
		return err
	}
	fmt.Println("web: stopping")
	return server.Shutdown(stopping)
}

// handler is the web service. db is nil for an application without a database.
func handler(v version, db *sql.DB) http.Handler {
	host, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, v.name)
	})
	health := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case v.does.Unhealthy:
			http.Error(w, "told to be unhealthy by behaviour.json", http.StatusServiceUnavailable)
		case db != nil && db.PingContext(r.Context()) != nil:
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
		}
	}
	mux.HandleFunc("GET /healthz", health)
	mux.HandleFunc("GET /api/health", health)
	mux.HandleFunc("GET /api/version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, v.name)
	})
	// A request that is under way for a while, for whoever wants to see it drained.
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("d"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if pause(r.Context(), d) == nil {
			fmt.Fprintln(w, v.name)
		}
	})
	// Server-sent events, until one of both sides goes.
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		for {
			if _, err := fmt.Fprintf(w, "data: %s\n\n", v.name); err != nil || flush.Flush() != nil {
				return
			}
			if pause(r.Context(), 100*time.Millisecond) != nil {
				return
			}
		}
	})
	// A body of many bytes that takes its time, for whoever wants to see it come whole.
	mux.HandleFunc("GET /download", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.FormValue("kib"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n<<10))
		block := make([]byte, 1<<10)
		for range n {
			if _, err := w.Write(block); err != nil || pause(r.Context(), 5*time.Millisecond) != nil {
				return
			}
		}
	})
	// What another service answers, for whoever wants to see it found from within a network.
	mux.HandleFunc("GET /ask", func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.FormValue("url"), http.NoBody)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		if _, err := io.Copy(w, resp.Body); err != nil {
			panic(http.ErrAbortHandler) // what came is not all
		}
	})
	// How often something was asked for that is not there, for whoever wants to see that nobody did.
	var missed sync.Map
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n, _ := missed.LoadOrStore(r.URL.Path, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		http.NotFound(w, r)
	})
	mux.HandleFunc("GET /missed", func(w http.ResponseWriter, r *http.Request) {
		n, _ := missed.LoadOrStore(r.FormValue("path"), new(atomic.Int64))
		fmt.Fprintln(w, n.(*atomic.Int64).Load())
	})
	// Without a database: who answers. With one: a row is written, then the same.
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if db != nil {
			if err := insert(r.Context(), db, "visits", v.name, host); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		fmt.Fprintf(w, "version %s on %s\n", v.name, host)
	})
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, r *http.Request) {
		if db == nil {
			http.NotFound(w, r)
			return
		}
		counts, err := count(r.Context(), db)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(counts); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
	})
	return mux
}

// healthcheck asks the web server in the same container.
func healthcheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	url := "http://" + net.JoinHostPort("127.0.0.1", envOr("PORT", webPort)) + "/healthz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New("GET /healthz: " + resp.Status)
	}
	return nil
}
