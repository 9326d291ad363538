// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestBodyDeadline(t *testing.T) {
	const short = 200 * time.Millisecond
	read := make(chan error, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
		if err == nil {
			_, _ = io.WriteString(w, "read")
		}
	})
	// As an answer that goes on for longer than a body may take.
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		select {
		case <-r.Context().Done():
		case <-time.After(3 * short):
			_, _ = io.WriteString(w, "end of the stream")
		}
	})
	mux.HandleFunc("/ignore", func(http.ResponseWriter, *http.Request) {})
	for name, start := range map[string]func(*httptest.Server){"HTTP/1": (*httptest.Server).Start, "HTTP/2": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(withBodyDeadline(mux, short, time.Hour))
			s.EnableHTTP2 = true
			start(s)
			defer s.Close()
			post := func(path string, body io.Reader) (*http.Response, error) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, body)
				if err != nil {
					t.Fatal(err)
				}
				return s.Client().Do(r)
			}
			half, more := io.Pipe()
			defer more.Close()
			go func() { _, _ = io.WriteString(more, "half") }()
			if res, err := post("/read", half); err == nil {
				_ = res.Body.Close()
			}
			if err := <-read; err == nil {
				t.Error("half a body was taken for a whole one")
			}
			res, err := post("/read", strings.NewReader("whole"))
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if err := <-read; err != nil {
				t.Errorf("a whole body: %v", err)
			}
			res, err = post("/stream", strings.NewReader("whole"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != "end of the stream" {
				t.Errorf("a stream after a body ends with %q, %v", got, err)
			}
			_ = res.Body.Close()
		})
	}

	// A handler that answers without reading does not hold the connection either.
	t.Run("not read", func(t *testing.T) {
		s := httptest.NewServer(withBodyDeadline(mux, short, time.Hour))
		defer s.Close()
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		if _, err := io.ReadAll(r); err != nil {
			t.Errorf("the connection is not closed: %v", err)
		}
	})
}
