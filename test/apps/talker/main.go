// SPDX-License-Identifier: Apache-2.0

// Command talker is the program of the test application talk. Whatever is said to
// it comes back with the version in front, on each of its ports:
//
//	8080      HTTP: GET /version, GET /healthz, a WebSocket at /ws, and at /events the version
//	          again and again, as server-sent events
//	9090      gRPC, the stream fairlead.test.Talk/Echo of string values
//	7000      TCP: a line for each line
//	7000/udp  a datagram for each datagram
//
// The version is what /version.txt says. LINE_PORTS are further ports for lines, which say their number before the line. With
// PROXY=required all ports for lines want a header of the PROXY protocol, and say the client's address from it before the line.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pires/go-proxyproto"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if len(args) == 1 && args[0] == "healthcheck" {
		return healthcheck(ctx)
	}
	text, err := os.ReadFile("/version.txt")
	if err != nil {
		return err
	}
	version := strings.TrimSpace(string(text))
	group, ctx := errgroup.WithContext(ctx)
	serve(ctx, group, version)
	fmt.Println("version", version)
	return group.Wait()
}

// serve listens on all ports until ctx ends. What is open then is cut: whoever
// wants to end it in order does so before.
func serve(ctx context.Context, group *errgroup.Group, version string) {
	group.Go(func() error {
		server := &http.Server{Addr: ":8080", Handler: web(version), ReadHeaderTimeout: 10 * time.Second}
		defer context.AfterFunc(ctx, func() { server.Close() })()
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":9090")
		if err != nil {
			return err
		}
		server := grpc.NewServer()
		server.RegisterService(&grpc.ServiceDesc{
			ServiceName: "fairlead.test.Talk", HandlerType: (*any)(nil),
			Streams: []grpc.StreamDesc{{StreamName: "Echo", ServerStreams: true, ClientStreams: true, Handler: echoGRPC(version)}},
		}, version)
		defer context.AfterFunc(ctx, server.Stop)()
		return server.Serve(ln)
	})
	for _, port := range append([]string{"7000"}, strings.Fields(os.Getenv("LINE_PORTS"))...) {
		group.Go(func() error { return lines(ctx, version, port) })
	}
	group.Go(func() error { return datagrams(ctx, version) })
}

func web(version string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			if _, err := fmt.Fprintf(w, "data: %s\n\n", version); err != nil || flush.Flush() != nil {
				return
			}
			select {
			case <-ticker.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	var upgrader websocket.Upgrader
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer c.Close()
		for {
			kind, said, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, []byte(version+" "+string(said))) != nil {
				return
			}
		}
	})
	return mux
}

func echoGRPC(version string) grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		for {
			var said wrapperspb.StringValue
			if err := stream.RecvMsg(&said); err != nil {
				return nil //nolint:nilerr // the end of what the client has to say
			}
			if err := stream.SendMsg(wrapperspb.String(version + " " + said.GetValue())); err != nil {
				return err
			}
		}
	}
}

func lines(ctx context.Context, version, port string) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+port)
	if err != nil {
		return err
	}
	proxied := os.Getenv("PROXY") == "required"
	if proxied {
		ln = &proxyproto.Listener{Listener: ln, ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.REQUIRE, nil }}
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		c, err := ln.Accept()
		if err != nil {
			return unlessOver(ctx, err)
		}
		go func() {
			defer c.Close()
			words := []any{version}
			if port != "7000" {
				words = append(words, port)
			}
			if proxied {
				words = append(words, c.RemoteAddr())
			}
			said := bufio.NewScanner(c)
			for said.Scan() {
				if _, err := fmt.Fprintln(c, append(words, said.Text())...); err != nil {
					return
				}
			}
		}()
	}
}

func datagrams(ctx context.Context, version string) error {
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", ":7000")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return unlessOver(ctx, err)
		}
		if _, err := c.WriteTo([]byte(version+" "+string(buf[:n])), from); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
	}
}

// unlessOver is err, unless it is what the end of ctx makes of a socket.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// healthcheck asks the web server in the same container.
func healthcheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:8080/healthz", http.NoBody)
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
