// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"io"
	"net/http"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// TestWhatAHoldWaitsFor has uploads, downloads and streams of HTTP/2 under way, which have an end that a hold can
// wait for.
func TestWhatAHoldWaitsFor(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	goOn := make(chan struct{})
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.(http.Flusher).Flush()
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(rw, "done")
	})}
	ln := w.listen("127.0.0.2")
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	body, more := io.Pipe()
	answers := make(chan string, 3)
	ask := func(c *http.Client, body io.Reader) {
		req, _ := http.NewRequest(http.MethodPost, "http://"+w.addr+"/", body)
		resp, err := c.Do(req)
		if err != nil {
			answers <- err.Error()
			return
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		answers <- string(text)
	}
	go ask(client(t), body)         // an upload
	go ask(client(t), http.NoBody)  // a download
	go ask(client2(t), http.NoBody) // a stream
	eventually(t, "all are under way", func() bool {
		s := w.target("127.0.0.2")
		return s.Transfers == 1 && s.LongLived == 2
	})
	if s := w.target("127.0.0.2"); s.InFlight != 3 || s.Endless != 0 {
		t.Errorf("nobody would wait for them: %+v", s)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = true })
	more.Close()
	close(goOn)
	for range 3 {
		if got := <-answers; got != "done" {
			t.Errorf("got %q", got)
		}
	}
	eventually(t, "nothing is in flight", func() bool { return w.target("127.0.0.2").InFlight == 0 })
}
