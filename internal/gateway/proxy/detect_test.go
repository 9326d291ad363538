// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	for said, want := range map[string]kind{
		"":                         kindUnknown,
		"G":                        kindUnknown,
		"GET /":                    kindUnknown,
		"GET / HTTP/1.1\r\n":       kindHTTP,
		"PRI * HTTP/2.0\r\n\r\nSM": kindHTTP,
		"\r\nGET / HTTP/1.0\n":     kindHTTP,
		"get / http/1.1\n":         kindHTTP,
		"M-SEARCH * HTTP/1.1\r\n":  kindHTTP,
		"GET key\r\n":              kindTCP,
		"EHLO mail.example\r\n":    kindTCP,
		"PING\r\n":                 kindTCP,
		"*1\r\n":                   kindTCP,
		"\x16\x03\x01":             kindTCP,
		"\x00":                     kindTCP,
		"SSH-2.0-OpenSSH":          kindUnknown,
		"SSH-2.0-OpenSSH\r\n":      kindTCP,
		"AMQP\x00":                 kindTCP,
		strings.Repeat("a", 33):    kindUnknown,
		strings.Repeat("A", 33) + " / HTTP/1.1\r\n":  kindHTTP,
		"GET1 / HTTP/1.1\r\n":                        kindHTTP,
		"X_Y / HTTP/1.1\r\n":                         kindHTTP,
		"1GET / HTTP/1.1\r\n":                        kindHTTP,
		"55 / HTTP/1.1\r\n":                          kindHTTP,
		"GET\x0b/ HTTP/1.1\r\n":                      kindHTTP,
		"GET\x1c/\x1chttp/1.1\n":                     kindHTTP,
		" GET / HTTP/1.1\r\n":                        kindHTTP,
		"$x!|~ / HTTP/1.1\r\n":                       kindHTTP,
		"<?xml version='1.0'?><stream:stream ":       kindTCP,
		"{\"id\":1}":                                 kindTCP,
		"12:hello world!,":                           kindTCP,
		"55 <34>1 2003-10-11T22:14:15.003Z host app": kindTCP,
		"55 ": kindUnknown,
		"GET " + strings.Repeat("a", maxRequestLine): kindHTTP,
	} {
		if got := classify([]byte(said)); got != want {
			t.Errorf("%.40q: got %d, want %d", said, got, want)
		}
	}
}

// FuzzClassify looks for first bytes that are one thing now and another when more come: what was
// taken for TCP must not become HTTP.
func FuzzClassify(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add([]byte("\r\n\nPOST\t/ http/1.1\n"))
	f.Add([]byte("GET key\r\nGET / HTTP/1.1\r\n"))
	f.Add([]byte("1_G+T / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add([]byte("55 <34>1 HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before kind
		for n := range len(data) + 1 {
			now := classify(data[:n])
			if before != kindUnknown && now != before {
				t.Fatalf("%q is %d, and %q is %d", data[:n-1], before, data[:n], now)
			}
			before = now
		}
		// A request that the standard library would take is HTTP, whatever its method.
		if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data))); err == nil && before == kindTCP {
			t.Fatalf("%q is taken for TCP", data)
		}
	})
}
