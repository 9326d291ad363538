// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

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
