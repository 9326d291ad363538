// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

func TestKeepAliveConnectionsGoToTheNewTarget(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("old"))
	w.serve("127.0.0.3", says("new"))
	c := client(t)
	if _, body := get(t, c, "http://"+w.addr+"/a"); body != "old GET /a 0" {
		t.Fatalf("got %q", body)
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
	})
	eventually(t, "the old target drains", func() bool { return w.target("127.0.0.2").Drained() })
	reused := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/b", nil)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, body := read(t, resp); body != "new GET /b 0" || !reused {
		t.Errorf("got %q, connection reused: %v", body, reused)
	}
}

// Clients that keep their connections share a target that comes later.
func TestKeepAliveConnectionsAreShared(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	for _, ip := range []string{"127.0.0.2", "127.0.0.3"} {
		w.serve(ip, says(ip))
	}
	const clients = 12
	var all []*http.Client
	count := func() map[string]int {
		n := map[string]int{}
		for _, c := range all {
			status, body := get(t, c, "http://"+w.addr+"/")
			who, _, _ := strings.Cut(body, " ")
			if n[who]++; status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
		}
		return n
	}
	for range clients {
		all = append(all, client(t))
	}
	if n := count(); n["127.0.0.2"] != clients {
		t.Fatalf("%v", n)
	}
	w.put(targets("127.0.0.2", "127.0.0.3"))
	eventually(t, "both are used", func() bool { n := count(); return n["127.0.0.2"] < clients && n["127.0.0.3"] >= clients/3 })
	if n := w.target("127.0.0.2").OpenConnections + w.target("127.0.0.3").OpenConnections; n != clients {
		t.Errorf("%d connections for %d clients", n, clients)
	}
}

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

func TestForwardedHeaders(t *testing.T) {
	seen := make(chan http.Header, 1)
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	c := client(t)
	ask := func() http.Header {
		req, _ := http.NewRequest(http.MethodGet, "http://"+w.addr+"/", nil)
		req.Host = "shop.example"
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X_Forwarded_For"} {
			req.Header[name] = []string{"spoofed"}
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return <-seen
	}
	h := ask()
	if h.Get("X-Forwarded-For") != "127.0.0.1" || h.Get("X-Forwarded-Proto") != "http" || h.Get("X-Forwarded-Host") != "shop.example" {
		t.Errorf("from outside: %v", h)
	}
	if strings.Contains(fmt.Sprint(h), "spoofed") {
		t.Errorf("what a client says is believed: %v", h)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Listeners[0].TrustedProxies = []string{"127.0.0.0/8"} })
	if h = ask(); h.Get("X-Forwarded-For") != "spoofed, 127.0.0.1" || h.Get("X-Forwarded-Proto") != "spoofed" || h.Get("Forwarded") != "spoofed" {
		t.Errorf("from a trusted proxy: %v", h)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Listeners[0].TrustedProxies, s.Listeners[0].Internal = nil, true })
	if h = ask(); h.Get("X-Forwarded-For") != "spoofed" || h.Get("X-Forwarded-Host") != "spoofed" || !strings.Contains(strings.ToLower(fmt.Sprint(h)), "x_forwarded_for") {
		t.Errorf("between containers: %v", h)
	}
}

func TestHosts(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Services = append(s.Services, gatewayapi.Service{Name: "api", Targets: []gatewayapi.Target{{ID: "api", Addresses: []string{"127.0.0.3"}}}})
		api := s.Listeners[0]
		api.Name, api.Service, api.Hosts = "api", "api", []string{"api.example", "API"}
		s.Listeners = append(s.Listeners, api)
	})
	w.serve("127.0.0.2", says("web"))
	w.serve("127.0.0.3", says("api"))
	c := client(t)
	for host, want := range map[string]string{"api.example": "api", "api": "api", "Api:8080": "api", "www.example": "web"} {
		req, _ := http.NewRequest(http.MethodGet, "http://"+w.addr+"/", nil)
		req.Host = host
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, body := read(t, resp); !strings.HasPrefix(body, want) {
			t.Errorf("%s: got %q, want %s", host, body, want)
		}
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Listeners[0].Hosts = []string{"www"} })
	if status, _ := get(t, c, "http://"+w.addr+"/"); status != http.StatusMisdirectedRequest {
		t.Errorf("a host that nobody has: %d", status)
	}
}

func TestIdempotentRequestsAreSentAgain(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2", "127.0.0.3"))
	// One target takes requests and dies before it answers.
	dying := w.listen("127.0.0.2")
	go func() {
		for {
			c, err := dying.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			c.Close()
		}
	}()
	w.serve("127.0.0.3", says("alive"))
	for range 6 {
		c := client(t) // a connection of its own
		req, _ := http.NewRequest(http.MethodPut, "http://"+w.addr+"/", strings.NewReader("small"))
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := read(t, resp); body != "alive PUT / 5" {
			t.Errorf("got %d %q", status, body)
		}
	}
	if s := w.service(); s.Retried == 0 || s.Errors != 0 {
		t.Errorf("%d retried, %d errors", s.Retried, s.Errors)
	}
	// A POST may have been carried out: it is not sent twice.
	w.put(targets("127.0.0.2"))
	resp, err := client(t).Post("http://"+w.addr+"/", "text/plain", strings.NewReader("small"))
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := read(t, resp); status != http.StatusBadGateway {
		t.Errorf("POST to a dying target: %d", status)
	}
}

func TestTargetsThatCloseIdleConnections(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	s := w.serve("127.0.0.2", says("x"))
	c := client(t)
	for _, method := range []string{"GET", "POST", "GET", "POST"} {
		req, _ := http.NewRequest(method, "http://"+w.addr+"/", nil)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := read(t, resp); status != 200 {
			t.Errorf("%s: %d %q", method, status, body)
		}
		s.CloseClientConnections()
	}
}

func TestSlowStart(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	answered := make(chan string, 1)
	go func() {
		resp, err := client(t).Get("http://" + w.addr + "/")
		if err != nil {
			answered <- err.Error()
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		answered <- string(body)
	}()
	eventually(t, "the target is tried in vain", func() bool { return w.target("127.0.0.2").Errors > 0 })
	w.serve("127.0.0.2", says("late"))
	if got := <-answered; got != "late GET / 0" {
		t.Errorf("got %q", got)
	}
}

func TestNoTarget(t *testing.T) {
	w := newWorld(t, targets())
	resp, err := client(t).Get("http://" + w.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	read(t, resp)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %s, %v", resp.Status, resp.Header)
	}
}

func TestHold(t *testing.T) {
	w := newWorld(t, func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2")(s)
		s.Services[0].Hold = gatewayapi.Hold{Enabled: true, MaxRequests: 5}
	})
	w.serve("127.0.0.2", says("x"))
	type result struct {
		status int
		err    error
	}
	results := make(chan result, 10)
	for range 5 {
		go func() {
			resp, err := client(t).Post("http://"+w.addr+"/", "text/plain", strings.NewReader(strings.Repeat("x", 50_000)))
			if err != nil {
				results <- result{0, err}
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			results <- result{resp.StatusCode, nil}
		}()
	}
	eventually(t, "five requests wait", func() bool { return w.service().Held == 5 })
	if status, _ := get(t, client(t), "http://"+w.addr+"/"); status != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", status)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.Enabled = false })
	for range 5 {
		if r := <-results; r.err != nil || r.status != 200 {
			t.Errorf("got %d, %v", r.status, r.err)
		}
	}
	if s := w.service(); s.HeldTotal != 5 || s.HoldRefused != 1 || s.Held != 0 {
		t.Errorf("got %+v", s)
	}
	// One that lasts too long, and a client that does not wait.
	w.put(func(s *gatewayapi.DesiredState) {
		s.Services[0].Hold = gatewayapi.Hold{Enabled: true, MaxWait: gatewayapi.Duration(50 * time.Millisecond)}
	})
	if status, _ := get(t, client(t), "http://"+w.addr+"/"); status != http.StatusServiceUnavailable {
		t.Errorf("held for too long: %d", status)
	}
	w.put(func(s *gatewayapi.DesiredState) { s.Services[0].Hold.MaxWait = 0 })
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/", nil)
	gone := make(chan struct{})
	go func() { _, _ = client(t).Do(req); close(gone) }()
	eventually(t, "it waits", func() bool { return w.service().Held == 1 })
	cancel()
	<-gone
	eventually(t, "nobody waits for who has gone", func() bool { return w.service().Held == 0 })
}

func TestServerSentEventsComeAtOnce(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	next := make(chan string)
	left := make(chan struct{})
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.(http.Flusher).Flush()
		for {
			select {
			case text := <-next:
				fmt.Fprintf(rw, "data: %s\n\n", text)
				rw.(http.Flusher).Flush()
			case <-r.Context().Done():
				close(left)
				return
			}
		}
	}))
	resp, err := client(t).Get("http://" + w.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(resp.Body)
	for i := range 3 {
		next <- fmt.Sprint(i)
		line, err := r.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = r.ReadString('\n')
	}
	// The stream goes on across a switch, and counts as one that has no end.
	w.serve("127.0.0.3", says("new"))
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
		s.Services[0].DrainTimeout = gatewayapi.Duration(time.Millisecond)
	})
	next <- "still"
	if line, err := r.ReadString('\n'); line != "data: still\n" {
		t.Errorf("after the switch: %q, %v", line, err)
	}
	if s := w.target("127.0.0.2"); s.LongLived != 1 || s.Endless != 1 || s.Drained() {
		t.Errorf("got %+v", s)
	}
	resp.Body.Close() // the client goes, and the target learns of it
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the target does not learn that the client has gone")
	}
	eventually(t, "the old target drains", func() bool { return w.target("127.0.0.2").Drained() })
}

func TestWebSocketAcrossASwitchAndItsDeadline(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	echo := func(name string) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			conn, err := (&websocket.Upgrader{}).Upgrade(rw, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for {
				kind, data, err := conn.ReadMessage()
				if err != nil {
					return
				}
				if err := conn.WriteMessage(kind, append([]byte(name+" "), data...)); err != nil {
					return
				}
			}
		})
	}
	w.serve("127.0.0.2", echo("old"))
	w.serve("127.0.0.3", echo("new"))
	say := func(conn *websocket.Conn, text string) string {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			return err.Error()
		}
		_, data, err := conn.ReadMessage()
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
	dial := func() *websocket.Conn {
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+w.addr+"/chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	first := dial()
	if got := say(first, "a"); got != "old a" {
		t.Fatal(got)
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
		s.Services[0].DrainTimeout = gatewayapi.Duration(time.Millisecond)
		s.Services[0].LongLivedDeadline = gatewayapi.Duration(300 * time.Millisecond)
	})
	if got := say(first, "b"); got != "old b" {
		t.Errorf("across the switch: %s", got)
	}
	if got := say(dial(), "c"); got != "new c" {
		t.Errorf("after the switch: %s", got)
	}
	if _, _, err := first.ReadMessage(); err == nil {
		t.Error("the old connection outlives its deadline")
	}
	eventually(t, "the old target drains", func() bool { return w.target("127.0.0.2").Drained() })
}

func TestSlowRequestsEndOnTheOldTarget(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	begun, goOn := make(chan struct{}), make(chan struct{})
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-goOn
		_, _ = io.WriteString(rw, "slow")
	}))
	w.serve("127.0.0.3", says("new"))
	answered := make(chan string, 1)
	go func() {
		resp, err := client(t).Get("http://" + w.addr + "/")
		if err != nil {
			answered <- err.Error()
			return
		}
		_, body := read(t, resp)
		answered <- body
	}()
	<-begun
	w.put(targets("127.0.0.3")) // the old one is not even part of the state any more
	if s := w.target("127.0.0.2"); s.State != gatewayapi.TargetDraining || s.InFlight != 1 {
		t.Errorf("got %+v", s)
	}
	if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "new GET / 0" {
		t.Errorf("got %q", body)
	}
	close(goOn)
	if got := <-answered; got != "slow" {
		t.Errorf("got %q", got)
	}
	eventually(t, "the old target is forgotten", func() bool { return w.target("127.0.0.2").ID == "" })
}

func TestRequestsThatTakeTooLongAreCutOff(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	begun := make(chan struct{})
	w.serve("127.0.0.2", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(begun); <-r.Context().Done() }))
	answered := make(chan int, 1)
	go func() {
		resp, err := client(t).Post("http://"+w.addr+"/", "text/plain", nil)
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-begun
	w.put(func(s *gatewayapi.DesiredState) {
		targets()(s)
		s.Services[0].DrainTimeout = gatewayapi.Duration(50 * time.Millisecond)
	})
	if got := <-answered; got != http.StatusBadGateway {
		t.Errorf("got %d", got)
	}
}

func TestEarlyAnswerToALargeBody(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Connection", "close")
		rw.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
		t.Errorf("got %+v, %v", resp, err)
	}
}

func TestClientThatLeavesInTheMiddleOfItsBody(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	ended := make(chan error, 1)
	w.serve("127.0.0.2", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}))
	for _, head := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", head)
		fmt.Fprintf(c, "5\r\nhello\r\n")
		c.Close()
		if err := <-ended; err == nil {
			t.Errorf("%s: the target takes a part for the whole", head)
		}
	}
	eventually(t, "nothing is left", func() bool { return w.target("127.0.0.2").Drained() })
}

func TestTargetThatDiesWithALargeBody(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	all := make(chan bool, 1)
	dying := w.listen("127.0.0.2")
	go func() {
		for {
			c, err := dying.Accept()
			if err != nil {
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err == nil && <-all {
				_, _ = io.Copy(io.Discard, req.Body)
			}
			c.Close()
		}
	}()
	for _, whole := range []bool{true, false} {
		all <- whole
		resp, err := client(t).Post("http://"+w.addr+"/", "text/plain", strings.NewReader(strings.Repeat("x", 1_000_000)))
		if err != nil {
			if whole {
				t.Error(err)
			}
			continue // the gateway has nobody to give the rest to, and may close before it is sent
		}
		if status, _ := read(t, resp); status != http.StatusBadGateway {
			t.Errorf("read whole: %v: got %d", whole, status)
		}
	}
	eventually(t, "nothing is left", func() bool { return w.target("127.0.0.2").Drained() })
}

func TestFiftySwitchesUnderLoad(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", says("a"))
	w.serve("127.0.0.3", says("b"))
	ctx, cancel := context.WithCancel(t.Context())
	const clients = 20
	failures := make(chan error, clients)
	counts := make(chan int, clients)
	for i := range clients {
		go func() {
			c := client(t)
			n := 0
			for ctx.Err() == nil {
				req, _ := http.NewRequest(http.MethodGet, "http://"+w.addr+"/", nil)
				if i%3 == 0 {
					req, _ = http.NewRequest(http.MethodPost, "http://"+w.addr+"/", strings.NewReader(strings.Repeat("x", i*3000)))
				}
				resp, err := c.Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 {
						err = errors.New(resp.Status)
					}
				}
				if err != nil {
					failures <- err
					break
				}
				n++
			}
			counts <- n
		}()
	}
	addr := []string{"127.0.0.2", "127.0.0.3"}
	for i := range 50 {
		from := w.service().Requests
		eventually(t, "requests between switches", func() bool { return w.service().Requests > from+50 })
		w.put(func(s *gatewayapi.DesiredState) {
			targets(addr...)(s)
			s.Services[0].Targets[i%2].State = gatewayapi.TargetDraining
		})
	}
	cancel()
	total := 0
	for range clients {
		total += <-counts
	}
	select {
	case err := <-failures:
		t.Errorf("a request failed: %v", err)
	default:
	}
	if s := w.service(); s.Errors != 0 || total < 2500 || w.target("127.0.0.2").Requests == 0 || w.target("127.0.0.3").Requests == 0 {
		t.Errorf("%d requests, %+v", total, s)
	}
}
