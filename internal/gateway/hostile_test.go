// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/test/hostile"
)

func TestSlowClients(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Listeners[0].Protocol = gatewayapi.ProtocolHTTP
		s.Listeners[0].HTTP = gatewayapi.HTTPLimits{
			HeaderTimeout: gatewayapi.Duration(100 * time.Millisecond), IdleTimeout: gatewayapi.Duration(200 * time.Millisecond),
			BodyTimeout: gatewayapi.Duration(100 * time.Millisecond), MaxHeaderBytes: 4096,
		}
	})
	w.serve("127.0.0.2", says("a"))
	for name, c := range map[string]struct{ said, want string }{
		"stops within its head": {"GET / HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 408 "},
		"stops within a body":   {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhal", "HTTP/1.1 408 "},
		"says nothing":          {"", ""},
		"has a huge head":       {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 5000) + "\r\n\r\n", "HTTP/1.1 431 "},
	} {
		if got := w.raw(c.said); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("a client that %s: got %q", name, got)
		}
	}
	if n := w.target("127.0.0.2").Requests; n != 0 {
		t.Errorf("%d requests came to the target", n)
	}
}

// Malformed requests end here, whatever is behind them on the connection: the target must not see a
// request that nobody sent.
func TestSmuggledRequestsReachNobody(t *testing.T) {
	for _, protocol := range []gatewayapi.Protocol{gatewayapi.ProtocolAuto, gatewayapi.ProtocolHTTP} {
		w := newWorld(t, func(s *gatewayapi.DesiredState) {
			targets("127.0.0.2")(s)
			s.Listeners[0].Protocol = protocol
		})
		var asked atomic.Int32
		w.serve("127.0.0.2", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if strings.Contains(r.URL.Path, hostile.Path) {
				asked.Add(1)
			}
		}))
		for name, data := range hostile.Requests() {
			if got, err := hostile.Send(t.Context(), w.addr, data, 5*time.Second); err != nil || !hostile.Refused(got) {
				t.Errorf("%s, protocol %q: got %.300q, %v", name, protocol, got, err)
			}
			if n := asked.Swap(0); n > 0 {
				t.Errorf("%s, protocol %q: the target got a request that was hidden", name, protocol)
			}
		}
		// In the middle of a body that is passed on while it comes, too.
		long := strings.Repeat("x", 20_000)
		got := w.raw(fmt.Sprintf("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n3\nabc\r\n0\r\n\r\n%s", len(long), long, hostile.Pipelined))
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Count(got, "HTTP/1.1 ") != 1 || asked.Load() > 0 {
			t.Errorf("in the middle of a body: got %q", got)
		}
		if got := w.raw(hostile.Pipelined); strings.Count(got, "HTTP/1.1 200 ") != 2 || asked.Load() != 1 {
			t.Errorf("two good requests: got %q", got)
		}
	}
}

// answers is a target that does something with each connection, until it is closed.
func (w *world) answers(ip string, f func(c net.Conn)) {
	ln := w.listen(ip)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
}

// What a target says late, when nothing is asked any more, is no answer to the next request.
func TestLateAnswersThatNobodyAskedFor(t *testing.T) {
	for _, unasked := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", // as servers end idle connections
	} {
		w := newWorld(t, targets("127.0.0.2"))
		said := make(chan struct{}, 10)
		w.answers("127.0.0.2", func(c net.Conn) {
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%s", req.URL.Path)
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // late is what is tested
			_, _ = io.WriteString(c, unasked)
			if strings.Contains(unasked, "close") {
				c.Close()
			}
			said <- struct{}{}
			_, _ = io.Copy(io.Discard, c)
		})
		c := client(t)
		for _, path := range []string{"/a", "/b", "/c"} {
			if status, body := get(t, c, "http://"+w.addr+path); status != http.StatusOK || body != path {
				t.Errorf("%s: got %d %q", path, status, body)
			}
			<-said
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // for it to arrive, which nobody can see here
		}
		if s := w.service(); s.Errors != 0 {
			t.Errorf("%d errors", s.Errors)
		}
	}
}

// A target that answers more than it was asked must not have its answer given to the next client.
func TestAnswersThatNobodyAskedFor(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	ln := w.listen("127.0.0.2")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%sHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nevil %s", req.URL.Path[:2], req.URL.Path[:2])
				}
			}()
		}
	}()
	c := client(t)
	for _, path := range []string{"/a", "/b", "/c"} {
		if _, body := get(t, c, "http://"+w.addr+path); body != path {
			t.Errorf("%s: got %q", path, body)
		}
	}
}
