// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/pool"
)

// What a target sends as one is known to be a head alone.
func TestHeadsAloneAreKnown(t *testing.T) {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Grpc-Status", "5")
		if r.URL.Path == "/body" {
			_, _ = w.Write([]byte("body"))
		}
	}))
	target.Config.Protocols = protocols
	target.Start()
	defer target.Close()
	addr := target.Listener.Addr().(*net.TCPAddr).AddrPort()
	p := pool.New("web", &pool.Environment{Log: logr.Discard()})
	defer p.Cut()
	p.Prepare(&gatewayapi.Service{Name: "web", Targets: []gatewayapi.Target{{ID: "a", Addresses: []string{addr.Addr().String()}}}}, false).Swap()
	h := newHTTP2Server(NewServer(logr.Discard()))
	for path, want := range map[string]bool{"/head": true, "/body": false} {
		st := &stream{client: &client{}, backend: &backend{pool: p, port: int(addr.Port())}}
		r := httptest.NewRequest(http.MethodPost, "http://target"+path, strings.NewReader("small"))
		resp, err := h.RoundTrip(r.WithContext(context.WithValue(t.Context(), streamKey{}, st)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || st.ended != want || resp.Header.Get("Grpc-Status") != "5" {
			t.Errorf("%s: a head alone: %v, %v, %v", path, st.ended, resp.Header, err)
		}
		_ = resp.Body.Close()
	}
}

// A head that is all of an answer is sent with the end of the stream, as it came: as two, a head and an end, clients of gRPC take it for a
// server that broke off. Others are sent when they are there.
func TestHeadsThatAreAll(t *testing.T) {
	for name, ended := range map[string]bool{"a head alone": true, "a body follows": false} {
		got := httptest.NewRecorder()
		w := http.ResponseWriter(&answerWriter{ResponseWriter: got, stream: &stream{ended: ended}})
		if err := http.NewResponseController(w).Flush(); err != nil || got.Flushed == ended {
			t.Errorf("%s: sent before its end: %v, %v", name, got.Flushed, err)
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: the writer below is not reached: %v", name, err)
		}
	}
}
