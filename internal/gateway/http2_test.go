// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// client2 is a client of HTTP/2 without TLS.
func client2(t *testing.T) *http.Client {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// serve2 serves HTTP/2 without TLS as a target.
func (w *world) serve2(ln net.Listener, h http.Handler) {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: protocols}
	go func() { _ = s.Serve(ln) }()
	w.t.Cleanup(func() { s.Close() })
}

func TestHTTP2TargetsGoOnAsTheyAre(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve2(w.listen("127.0.0.2"), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.RequestURI)
	}))
	c := client2(t)
	for _, target := range []string{"/a%2Fb?x=1;y=%zz&z", "/?", "/[x]?q=a+b%20c"} {
		if _, body := get(t, c, "http://"+w.addr+target); body != target {
			t.Errorf("%s came as %s", target, body)
		}
	}
}

// A client whose own half of a stream stays open, as that of gRPC may, learns of it when the target ends or breaks off its half:
// it waits for that, and says nothing which could let the gateway notice.
func TestHTTP2TargetEndsFirst(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve2(w.listen("127.0.0.2"), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		if r.URL.Path != "/breaks-off-before" {
			fmt.Fprint(rw, "so far")
			_ = http.NewResponseController(rw).Flush()
		}
		if r.URL.Path != "/ends" {
			panic(http.ErrAbortHandler)
		}
	}))
	for _, tt := range []struct {
		path, body string
		status     int
		breaks     bool
	}{
		{"/ends", "so far", http.StatusOK, false},
		{"/breaks-off", "so far", http.StatusOK, true},
		{"/breaks-off-before", "", http.StatusBadGateway, false},
	} {
		t.Run(tt.path[1:], func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			in, out := io.Pipe()
			defer context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })() // a client waits for it as well
			go func() { _, _ = out.Write([]byte("x")) }()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.addr+tt.path, in)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client2(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || string(body) != tt.body || (err != nil) != tt.breaks || ctx.Err() != nil {
				t.Errorf("got %s, %q, %v", resp.Status, body, err)
			}
			eventually(t, "the stream is over", func() bool { return w.target("127.0.0.2").InFlight == 0 })
		})
	}
}

// TestHTTP2AfterALongHold has a target come up a moment after the end of a hold that was longer than the
// attempts to connect may take.
func TestHTTP2AfterALongHold(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Services[0].Hold.Enabled = true
		s.Services[0].ConnectTimeout = gatewayapi.Duration(5 * time.Second)
	})
	status := make(chan int, 1)
	c := client2(t)
	go func() {
		resp, err := c.Post("http://"+w.addr+"/", "text/plain", strings.NewReader("x")) // which is not sent twice
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	eventually(t, "the request waits", func() bool { return w.service().Held == 1 })
	time.Sleep(5100 * time.Millisecond) //nolint:forbidigo // longer than that is what is tested
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = false })
	eventually(t, "the target was not there yet", func() bool { return w.target("127.0.0.2").Errors > 0 })
	w.serve2(w.listen("127.0.0.2"), says("x"))
	if got := <-status; got != http.StatusOK {
		t.Errorf("got %d", got)
	}
}

// connKey is the key of a target's connection in the context of its requests.
type connKey struct{}

// dying2 is a target that speaks HTTP/2, reads requests and ends their connections without an answer.
func (w *world) dying2(ip string) {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Protocols:   protocols,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Context().Value(connKey{}).(net.Conn).Close()
		}),
	}
	go func() { _ = s.Serve(w.listen(ip)) }()
	w.t.Cleanup(func() { s.Close() })
}

func TestHTTP2IsSentAgain(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2", "127.0.0.3"))
	w.dying2("127.0.0.2")
	w.serve2(w.listen("127.0.0.3"), says("alive"))
	send := func(method string, size int) (status int, body string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+w.addr+"/", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client2(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return read(t, resp)
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
		for _, size := range []int{0, 5, 9000} {
			before := w.target("127.0.0.2").Requests
			for w.target("127.0.0.2").Requests == before { // until it was tried
				if status, body := send(method, size); body != fmt.Sprintf("alive %s / %d", method, size) {
					t.Fatalf("%s with %d bytes: %d %q", method, size, status, body)
				}
			}
		}
	}
	if s := w.service(); s.Retried == 0 || s.Errors != 0 {
		t.Errorf("%d retried, %d errors", s.Retried, s.Errors)
	}
	w.put(targets("127.0.0.2"))
	for _, tt := range []struct {
		method string
		size   int
	}{{"POST", 5}, {"PUT", 1 << 20}} {
		before := w.target("127.0.0.2").Requests
		if status, _ := send(tt.method, tt.size); status != http.StatusBadGateway {
			t.Errorf("%s with %d bytes got %d", tt.method, tt.size, status)
		}
		if n := w.target("127.0.0.2").Requests - before; n != 1 {
			t.Errorf("%s with %d bytes was sent %d times", tt.method, tt.size, n)
		}
	}
}

// TestHTTP2ThatATargetDidNothingAbout has a target tell, in the ways of HTTP/2, that a request was not looked at:
// whatever that is, it is sent again. Where it may have been, it is not.
func TestHTTP2ThatATargetDidNothingAbout(t *testing.T) {
	for name, c := range map[string]struct {
		refuse func(f *http2.Framer, stream uint32) error
		again  bool
	}{
		"it goes away":    {func(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) }, true},
		"it refuses":      {func(f *http2.Framer, id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, true},
		"it is surprised": {func(f *http2.Framer, id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeProtocol) }, false},
		"it is tired":     {func(f *http2.Framer, id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeEnhanceYourCalm) }, false},
	} {
		w := newWorld(t, targets("127.0.0.2"))
		w.refuses2("127.0.0.2", c.refuse)
		resp, err := client2(t).Post("http://"+w.addr+"/", "text/plain", strings.NewReader("small"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		status, _ := read(t, resp)
		if want := map[bool]int{true: http.StatusOK, false: http.StatusBadGateway}[c.again]; status != want {
			t.Errorf("%s: got %d, want %d", name, status, want)
		}
	}
}

// refuses2 is a target of HTTP/2 that refuses its first request when it has all of it, and answers others.
func (w *world) refuses2(ip string, refuse func(f *http2.Framer, stream uint32) error) {
	serve := func(c net.Conn, refuse func(f *http2.Framer, stream uint32) error) {
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		err := f.WriteSettings()
		for err == nil {
			var frame http2.Frame
			if frame, err = f.ReadFrame(); err != nil {
				return
			}
			data, ok := frame.(*http2.DataFrame)
			switch {
			case !ok || !data.StreamEnded():
			case refuse != nil: // the body was read
				err, refuse = refuse(f, data.StreamID), nil
			default:
				var head bytes.Buffer
				err = errors.Join(
					hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "200"}),
					f.WriteHeaders(http2.HeadersFrameParam{StreamID: data.StreamID, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true}),
				)
			}
		}
	}
	ln := w.listen(ip)
	var all sync.WaitGroup
	ctx, end := context.WithCancel(context.Background())
	w.t.Cleanup(func() { end(); ln.Close(); all.Wait() })
	all.Go(func() {
		for ; ; refuse = nil {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			first := refuse
			all.Go(func() { serve(c, first) })
		}
	})
}
