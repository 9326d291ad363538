// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

func TestBodiesOfAllSizesAndFramings(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(rw, "%d %x %v", n, sum.Sum(nil), r.TransferEncoding)
	}))
	c := client(t)
	for _, size := range []int{0, 1, 100, 16000, 16 << 10, 16<<10 + 1, 100_000, 5 << 20} {
		data := make([]byte, size)
		rand.Read(data)
		for _, chunked := range []bool{false, true} {
			var body io.Reader = bytes.NewReader(data)
			want := fmt.Sprintf("%d %x []", size, sha256.Sum256(data))
			if chunked && size > 0 {
				body = io.MultiReader(body) // of unknown length
				want = fmt.Sprintf("%d %x [chunked]", size, sha256.Sum256(data))
			}
			for range 2 {
				req, _ := http.NewRequest(http.MethodPost, "http://"+w.addr+"/", body)
				resp, err := c.Do(req)
				if err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if _, got := read(t, resp); got != want {
					t.Errorf("%d bytes, chunked %v: got %q, want %q", size, chunked, got, want)
				}
				body = bytes.NewReader(data)
				want = fmt.Sprintf("%d %x []", size, sha256.Sum256(data))
			}
		}
	}
	if s := w.service(); s.Errors != 0 {
		t.Errorf("%d errors", s.Errors)
	}
}

func TestAnswersOfAllSizesAndFramings(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	data := make([]byte, 3<<20)
	rand.Read(data)
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var size int
		var framing string
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%s", &size, &framing)
		switch framing {
		case "length":
			rw.Header().Set("Content-Length", fmt.Sprint(size))
		case "close":
			conn, out, err := rw.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(out, "HTTP/1.0 200 OK\r\nX-Kind: close\r\n\r\n")
			_, _ = out.Write(data[:size])
			out.Flush()
			return
		case "chunked":
			rw.Header().Set("Trailer", "X-Sum")
			defer rw.Header().Set("X-Sum", fmt.Sprintf("%x", sha256.Sum256(data[:size])))
			rw.(http.Flusher).Flush()
		}
		for rest := data[:size]; len(rest) > 0; {
			n := min(len(rest), 100_000)
			_, _ = rw.Write(rest[:n])
			rest = rest[n:]
			if framing == "chunked" {
				rw.(http.Flusher).Flush()
			}
		}
	}))
	c := client(t)
	for _, size := range []int{0, 1, 1000, 16 << 10, 100_000, 3 << 20} {
		for _, framing := range []string{"length", "chunked", "close"} {
			resp, err := c.Get(fmt.Sprintf("http://%s/%d/%s", w.addr, size, framing))
			if err != nil {
				t.Fatal(err)
			}
			_, got := read(t, resp)
			if got != string(data[:size]) {
				t.Errorf("%d bytes by %s: got %d others", size, framing, len(got))
			}
			if framing == "chunked" && resp.Trailer.Get("X-Sum") != fmt.Sprintf("%x", sha256.Sum256(data[:size])) {
				t.Errorf("%d bytes: the trailer is %v", size, resp.Trailer)
			}
			if resp.Close {
				t.Errorf("%d bytes by %s: the client's connection ends with the target's", size, framing)
			}
		}
	}
}

func TestStatusesWithoutBody(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			rw.Header().Set("Content-Length", "1000")
			return
		}
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		if status == 103 {
			rw.Header().Set("Link", "</a.css>; rel=preload")
			rw.WriteHeader(103)
			status = 200
		}
		rw.WriteHeader(status)
	}))
	c := client(t)
	for _, path := range []string{"/204", "/304", "/205", "/103", "/404"} {
		var early int
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { early = code; return nil }})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+path, nil)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		read(t, resp)
		if path == "/103" && (early != 103 || resp.StatusCode != 200) {
			t.Errorf("early hints: got %d and %d", early, resp.StatusCode)
		}
	}
	resp, err := c.Head("http://" + w.addr + "/")
	if err != nil || resp.ContentLength != 1000 {
		t.Errorf("HEAD: %v, %d", err, resp.ContentLength)
	}
	if _, body := get(t, c, "http://"+w.addr+"/200"); body != "" {
		t.Errorf("after HEAD: %q", body)
	}
}

func TestExpectContinue(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		says("ok").ServeHTTP(rw, r)
	}))
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	for path, want := range map[string]int{"/yes": 200, "/no": 403} {
		req, _ := http.NewRequest(http.MethodPut, "http://"+w.addr+path, strings.NewReader(strings.Repeat("x", 100_000)))
		req.Header.Set("Expect", "100-continue")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		status, body := read(t, resp)
		if status != want || path == "/yes" && body != "ok PUT /yes 100000" {
			t.Errorf("%s: got %d %q", path, status, body)
		}
	}
}

func TestPipelining(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("x"))
	got := w.raw("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	wantInOrder(t, got, "x GET /1 0", "x POST /2 3", "x POST /3 2", "x GET /4 0")
	// A client that asks whether to send a body may send it at once, and more behind it.
	got = w.raw("POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	wantInOrder(t, got, "x POST /1 3", "x GET /2 0")
}

func wantInOrder(t *testing.T, got string, all ...string) {
	t.Helper()
	for i, want := range all {
		at := strings.Index(got, want)
		if at < 0 {
			t.Fatalf("answer %d is missing in %q", i+1, got)
		}
		got = got[at+len(want):]
	}
}

func TestHTTP10(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("x"))
	got := w.raw("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n")
	if !strings.Contains(got, "x GET /1 0") || !strings.Contains(got, "x GET /2 0") || !strings.Contains(got, "Connection: keep-alive") {
		t.Errorf("got %q", got)
	}
}
