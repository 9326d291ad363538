// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// smuggling is what has been published of ways to make two servers see two requests where
// the other sees one, and the status that ends it. CL and TE are Content-Length and Transfer-Encoding.
var smuggling = []struct {
	name, message string
	status        int
}{
	{"CL.TE", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400},
	{"TE.CL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", 400},
	{"CL.CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\nContent-Length: 7\r\n\r\n12345678", 400},
	{"CL twice the same", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\nContent-Length: 8\r\n\r\n12345678", 400},
	{"CL list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8, 8\r\n\r\n12345678", 400},
	{"CL plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +8\r\n\r\n12345678", 400},
	{"CL minus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
	{"CL hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x8\r\n\r\n12345678", 400},
	{"CL empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
	{"CL too large", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nx", 400},
	{"CL with a space inside", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\n", 400},
	{"CL space colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", 400},
	{"CL underscore", "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\nhello", 400},
	{"TE.TE xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
	{"TE.TE space colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400},
	{"TE.TE two fields", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", 501},
	{"TE.TE chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"TE.TE tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n", 400},
	{"TE.TE leading space", "POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n", 400},
	{"TE.TE in a folded line", "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n\r\n", 400},
	{"TE.TE after a bare LF", "POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"TE.TE after a bare CR", "POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n", 400},
	{"TE list", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
	{"TE identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501},
	{"TE quoted", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 501},
	{"TE parameter", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n", 501},
	{"TE underscore", "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", 400},
	{"TE with NUL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x00\r\n\r\n", 400},
	{"TE of HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
	{"Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
	{"Host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
	{"Host against the target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"name is empty", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400},
	{"name with a space", "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n", 400},
	{"line without colon", "GET / HTTP/1.1\r\nHost: a\r\nGET /admin HTTP/1.1\r\n\r\n", 400},
	{"two spaces in the request line", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"tab in the request line", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"more behind the version", "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", 400},
	{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
	{"HTTP/0.9", "GET /\r\n\r\n", 400},
	{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
	{"leading space", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"LF only", "GET / HTTP/1.1\nHost: a\n\n", 400},
	{"CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400},
	{"target without slash", "GET admin HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT to a path", "CONNECT /admin HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with a body", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 400},
	{"unknown expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n", 417},
	{"chunk size of nothing", chunkedHead + "\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk size with 0x", chunkedHead + "0x3\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk size with plus", chunkedHead + "+3\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk size with minus", chunkedHead + "-3\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk size too large", chunkedHead + "10000000000000003\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk size of many zeros", chunkedHead + "00000000000000003\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk size ends with LF", chunkedHead + "3\nabc\r\n0\r\n\r\n", 400},
	{"chunk size with leading space", chunkedHead + " 3\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk longer than its size", chunkedHead + "3\r\nabcd\r\n0\r\n\r\n", 400},
	{"chunk data ends with LF", chunkedHead + "3\r\nabc\n0\r\n\r\n", 400},
	{"chunk extension with a bare LF", chunkedHead + "3;a\nb\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk extension with a bare CR", chunkedHead + "3;a\rb\r\nabc\r\n0\r\n\r\n", 400},
	{"chunk extension without end", chunkedHead + "3;" + strings.Repeat("a", 300) + "\r\nabc\r\n0\r\n\r\n", 400},
	{"trailer that frames", chunkedHead + "0\r\nContent-Length: 5\r\n\r\n", 400},
	{"trailer that routes", chunkedHead + "0\r\nHost: b\r\n\r\n", 400},
	{"trailer that is folded", chunkedHead + "0\r\nX: y\r\n Z: y\r\n\r\n", 400},
	{"trailer with LF only", chunkedHead + "0\r\nX: y\n\r\n", 400},
	{"last chunk ends with LF", chunkedHead + "0\n\n", 400},
}

const chunkedHead = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

// parse reads a request with its body as a proxy does. It gives what is left behind it.
func parse(message []byte, step int) (r Request, body int, rest []byte, err error) {
	var end, scanned int
	for n := min(step, len(message)); ; n = min(n+step, len(message)) {
		if end, scanned, err = HeadEnd(message[:n], scanned, 4096); err != nil {
			return r, 0, nil, err
		}
		if end > 0 {
			break
		}
		if n == len(message) {
			return r, 0, nil, io.ErrUnexpectedEOF
		}
	}
	if err := r.Parse(message[:end]); err != nil {
		return r, 0, nil, err
	}
	rest = message[end:]
	switch r.Framing {
	case ByLength:
		if int64(len(rest)) < r.Length {
			return r, 0, nil, io.ErrUnexpectedEOF
		}
		return r, int(r.Length), rest[r.Length:], nil
	case Chunked:
		var s ChunkScanner
		for !s.Done() {
			if len(rest) == 0 {
				return r, 0, nil, io.ErrUnexpectedEOF
			}
			n, err := s.Scan(rest[:min(step, len(rest))])
			if err != nil {
				return r, 0, nil, err
			}
			rest = rest[n:]
			body += n
		}
	}
	return r, body, rest, nil
}

func TestSmuggling(t *testing.T) {
	for _, c := range smuggling {
		for _, step := range []int{1, 7, 1 << 20} {
			_, _, _, err := parse([]byte(c.message), step)
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != c.status {
				t.Errorf("%s, %d bytes at a time: got %v, want status %d", c.name, step, err, c.status)
			}
		}
	}
}

func TestRequests(t *testing.T) {
	for name, c := range map[string]struct {
		message string
		check   func(*Request) bool
	}{
		"plain":          {"GET /a?b HTTP/1.1\r\nHost: a:80\r\nAccept:  x \r\n\r\n", func(r *Request) bool { return r.Plain && r.KeepAlive && string(r.Fields[1].Value) == "x" }},
		"close":          {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", func(r *Request) bool { return !r.Plain && !r.KeepAlive }},
		"1.0":            {"GET / HTTP/1.0\r\n\r\n", func(r *Request) bool { return !r.KeepAlive && r.Minor == 0 }},
		"1.0 keep-alive": {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", func(r *Request) bool { return r.KeepAlive }},
		"upgrade":        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", func(r *Request) bool { return r.Upgrade }},
		"upgrade to h2c": {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", func(r *Request) bool { return !r.Upgrade && !r.Passes(&r.Fields[2]) && !r.Passes(&r.Fields[3]) }},
		"upgrade with a body": {"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\nx", func(r *Request) bool {
			return !r.Upgrade && r.Length == 1
		}},
		"listed": {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-a, host\r\nX-A: 1\r\nX-B: 2\r\n\r\n", func(r *Request) bool {
			return r.Passes(&r.Fields[0]) && !r.Passes(&r.Fields[2]) && r.Passes(&r.Fields[3])
		}},
		"absolute": {"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", func(r *Request) bool { return string(r.HostName()) == "a" }},
		"asterisk": {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", func(r *Request) bool { return r.Idempotent() }},
		"connect":  {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", func(r *Request) bool { return string(r.Target) == "a:443" }},
		"IPv6":     {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", func(r *Request) bool { return string(r.HostName()) == "::1" }},
		"chunked":  {chunkedHead + "3;x=y\r\nabc\r\n00\r\nX: y\r\n\r\n", func(r *Request) bool { return r.Framing == Chunked }},
		"length 0": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", func(r *Request) bool { return r.Framing == NoBody }},
		"expect":   {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", func(r *Request) bool { return r.Expect }},
		"no Host":  {"GET / HTTP/1.1\r\nHost:\r\n\r\n", func(r *Request) bool { return len(r.Host) == 0 }},
	} {
		for _, step := range []int{1, 1 << 20} {
			r, _, rest, err := parse([]byte(c.message+"NEXT"), step)
			if err != nil || string(rest) != "NEXT" || !c.check(&r) {
				t.Errorf("%s, %d bytes at a time: %v, %q is left, %+v", name, step, err, rest, r)
			}
		}
	}
}

func TestHeadLimit(t *testing.T) {
	long := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 5000) + "\r\n\r\n")
	var refused *Error
	if _, _, err := HeadEnd(long, 0, 4096); !errors.As(err, &refused) || refused.Status != 431 {
		t.Errorf("too large: %v", err)
	}
	many := []byte("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 300) + "\r\n")
	if err := new(Request).Parse(many); !errors.As(err, &refused) || refused.Status != 431 {
		t.Errorf("too many: %v", err)
	}
}

func TestResponses(t *testing.T) {
	for name, c := range map[string]struct {
		head, method string
		framing      Framing
		keepAlive    bool
		bad          bool
	}{
		"length":             {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", ByLength, true, false},
		"length twice":       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "GET", ByLength, true, false},
		"two lengths":        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "GET", 0, false, true},
		"chunked":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", Chunked, true, false},
		"chunked and length": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "GET", Chunked, true, false},
		"until close":        {"HTTP/1.1 200 OK\r\n\r\n", "GET", UntilClose, false, false},
		"1.0":                {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", ByLength, false, false},
		"HEAD":               {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", NoBody, true, false},
		"204":                {"HTTP/1.1 204\r\n\r\n", "GET", NoBody, true, false},
		"304":                {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", NoBody, true, false},
		"close":              {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", "GET", ByLength, false, false},
		"connected":          {"HTTP/1.1 200 OK\r\n\r\n", "CONNECT", NoBody, true, false},
		"gzip":               {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "GET", 0, false, true},
		"two digits":         {"HTTP/1.1 20 OK\r\n\r\n", "GET", 0, false, true},
		"HTTP/2":             {"HTTP/2.0 200 OK\r\n\r\n", "GET", 0, false, true},
		"folded":             {"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", "GET", 0, false, true},
	} {
		var r Response
		err := r.Parse([]byte(c.head), []byte(c.method))
		if (err != nil) != c.bad || err == nil && (r.Framing != c.framing || r.KeepAlive != c.keepAlive) {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
}

// FuzzRequest looks for requests in which the standard library sees another end, or another
// method, target or host, than this package.
func FuzzRequest(f *testing.F) {
	for _, c := range smuggling {
		f.Add([]byte(c.message))
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /"))
	f.Add([]byte(chunkedHead + "3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\nGET /"))
	f.Fuzz(func(t *testing.T, message []byte) {
		r, _, rest, err := parse(message, 1<<20)
		slow, _, slowRest, slowErr := parse(message, 1)
		if (err == nil) != (slowErr == nil) || err == nil && (!bytes.Equal(rest, slowRest) || !bytes.Equal(r.Target, slow.Target)) {
			t.Fatalf("it matters how the bytes come: %v and %v", err, slowErr)
		}
		if err != nil {
			return
		}
		if string(r.Method) == "CONNECT" || r.Minor == 0 || len(r.Target) == 0 || r.Target[0] != '/' {
			return // the standard library has other rules for these
		}
		in := bufio.NewReaderSize(bytes.NewReader(message), 1<<16)
		std, err := http.ReadRequest(in)
		if err != nil {
			return // it is stricter
		}
		if _, err := io.Copy(io.Discard, std.Body); err != nil {
			return
		}
		stdRest, _ := io.ReadAll(in)
		if !bytes.Equal(stdRest, rest) {
			t.Fatalf("%q: %d bytes are left, the standard library leaves %d", message, len(rest), len(stdRest))
		}
		if std.Method != string(r.Method) || std.Host != string(r.Host) || std.RequestURI != string(r.Target) {
			t.Fatalf("%q: %s %s %s, the standard library has %s %s %s", message, r.Method, r.Target, r.Host, std.Method, std.RequestURI, std.Host)
		}
	})
}

// FuzzResponse looks for answers whose bodies end elsewhere for the standard library.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcX"), "GET")
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nX"), "GET")
	f.Add([]byte("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nX"), "GET")
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nX"), "HEAD")
	f.Fuzz(func(t *testing.T, message []byte, method string) {
		if method != "GET" && method != "HEAD" && method != "POST" {
			return
		}
		end, _, err := HeadEnd(message, 0, 4096)
		if err != nil || end == 0 {
			return
		}
		var r Response
		if r.Parse(message[:end], []byte(method)) != nil || r.Interim() || r.Status == 101 {
			return
		}
		rest := message[end:]
		switch r.Framing {
		case ByLength:
			if int64(len(rest)) < r.Length {
				return
			}
			rest = rest[r.Length:]
		case Chunked:
			var s ChunkScanner
			n, err := s.Scan(rest)
			if err != nil || !s.Done() {
				return
			}
			rest = rest[n:]
		case UntilClose:
			return
		}
		in := bufio.NewReaderSize(bytes.NewReader(message), 1<<16)
		std, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, std.Body); err != nil {
			return
		}
		if stdRest, _ := io.ReadAll(in); std.StatusCode != r.Status || !bytes.Equal(stdRest, rest) {
			t.Fatalf("%q: status %d and %d bytes left, the standard library has %d and %d", message, r.Status, len(rest), std.StatusCode, len(stdRest))
		}
	})
}
