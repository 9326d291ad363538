// SPDX-License-Identifier: Apache-2.0

// Package hostile has requests of HTTP/1 that two servers could read in two ways, or that are none at all. Whoever passes
// requests on must end the connection at each of them.
package hostile

import (
	"context"
	"io"
	"net"
	"strings"
	"time"
)

// Path is asked for by the requests that are hidden behind others. Nobody may ever see it.
const Path = "/admin"

const (
	hidden = "GET " + Path + " HTTP/1.1\r\nHost: a\r\n\r\n"
	post   = "POST /x HTTP/1.1\r\nHost: a\r\n"
)

// heads are what is behind the request line and the Host, and before a hidden request.
var heads = map[string]string{
	"CL.TE":                              "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"TE.CL":                              "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n",
	"TE.TE, the second unknown":          "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
	"TE.TE, the first unknown":           "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"TE.TE, chunked is not the last":     "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
	"TE, nearly chunked":                 "Transfer-Encoding: xchunked\r\n\r\n",
	"TE, in quotes":                      "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
	"TE, behind a vertical tab":          "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
	"TE, behind a NUL":                   "Transfer-Encoding: \x00chunked\r\n\r\n0\r\n\r\n",
	"TE, in another field's value":       "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"space before the colon of TE":       "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"tab before the colon of TE":         "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
	"space before the colon of CL":       "Content-Length : 40\r\n\r\n",
	"space before a name":                " Content-Length: 40\r\n\r\n",
	"no name":                            ": x\r\n\r\n",
	"no colon":                           "Content-Length\r\n\r\n",
	"two lengths":                        "Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
	"two lengths in one field":           "Content-Length: 0, 40\r\n\r\n",
	"a length with a sign":               "Content-Length: +40\r\n\r\n",
	"a negative length":                  "Content-Length: -40\r\n\r\n",
	"a hexadecimal length":               "Content-Length: 0x28\r\n\r\n",
	"a length with an exponent":          "Content-Length: 4e1\r\n\r\n",
	"a length of more than 64 bits":      "Content-Length: 18446744073709551656\r\n\r\n",
	"a length that is empty":             "Content-Length: \r\n\r\n",
	"a length with a space in it":        "Content-Length: 4 0\r\n\r\n",
	"bare LF":                            "X: y\nContent-Length: 40\r\n\r\n",
	"bare CR":                            "X: y\rContent-Length: 40\r\n\r\n",
	"bare LF at the end of the head":     "X: y\r\n\n",
	"folded line":                        "X: y\r\n Content-Length: 40\r\n\r\n",
	"folded TE":                          "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
	"two hosts":                          "Host: b\r\n\r\n",
	"bare LF behind a chunk's size":      "Transfer-Encoding: chunked\r\n\r\n0\n\r\n",
	"bare LF in a chunk's extension":     "Transfer-Encoding: chunked\r\n\r\n2;x\nxx\r\nab\r\n0\r\n\r\n",
	"bare CR in a chunk's extension":     "Transfer-Encoding: chunked\r\n\r\n2;\rx\r\nab\r\n0\r\n\r\n",
	"a chunk's extension without an end": "Transfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("x", 70_000) + "\r\nab\r\n0\r\n\r\n",
	"a chunk longer than its size":       "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
	"a chunk of negative size":           "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
	"a chunk's size with 0x":             "Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
	"a chunk of more than 64 bits":       "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n",
	"a chunk without a size":             "Transfer-Encoding: chunked\r\n\r\n;x\r\nab\r\n0\r\n\r\n",
	"a length in a trailer":              "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 40\r\n\r\n",
	"a head of 1 MiB":                    "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
	"ten thousand fields":                strings.Repeat("X: y\r\n", 10_000) + "\r\n",
}

// lines are heads that go wrong before their first field.
var lines = map[string]string{
	"no version":             "GET /x\r\n\r\n",
	"an unknown version":     "GET /x HTTP/9.9\r\nHost: a\r\n\r\n",
	"a version in lowercase": "GET /x http/1.1\r\nHost: a\r\n\r\n",
	"two spaces":             "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
	"four words":             "GET /x " + Path + " HTTP/1.1\r\nHost: a\r\n\r\n",
	"a space in the target":  "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
	"a NUL in the target":    "GET /x\x00y HTTP/1.1\r\nHost: a\r\n\r\n",
	"a target that is none":  "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
	"no method":              " /x HTTP/1.1\r\nHost: a\r\n\r\n",
	"a method that is none":  "G(T /x HTTP/1.1\r\nHost: a\r\n\r\n",
	"no host":                "GET /x HTTP/1.1\r\n\r\n",
	"a host that is none":    "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
	"a target of 1 MiB":      "GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n",
}

// Requests are what a client sends on a connection, by what is wrong with it. In most, another request is hidden.
func Requests() map[string]string {
	all := map[string]string{}
	for name, head := range heads {
		all[name] = post + head + hidden
	}
	for name, line := range lines {
		all[name] = line + hidden
	}
	return all
}

// Pipelined are two requests with which nothing is wrong, the second for Path: who looks for that must find it.
const Pipelined = post + "Content-Length: 2\r\n\r\nab" + "GET " + Path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

// Send says all of it on a new connection, and returns what is answered until the end of the connection, for which it waits no longer
// than patience. An error is that the connection could not be made, or did not end.
func Send(ctx context.Context, address, data string, patience time.Duration) (answer string, err error) {
	c, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	go func() { _, _ = io.Copy(c, strings.NewReader(data)) }()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	got, err := io.ReadAll(c)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() { //nolint:errorlint // of a connection, as it comes
		err = nil // a reset is an end
	}
	return string(got), err
}

// Refused reports whether an answer is at most one, which says that the request is refused. None at all is as good.
func Refused(answer string) bool {
	if answer == "" {
		return true
	}
	refused := strings.HasPrefix(answer, "HTTP/1.1 4") || strings.HasPrefix(answer, "HTTP/1.1 501 ") || strings.HasPrefix(answer, "HTTP/1.1 505 ")
	return refused && strings.Count(answer, "HTTP/1.1 ") == 1
}
