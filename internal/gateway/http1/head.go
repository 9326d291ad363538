// SPDX-License-Identifier: Apache-2.0

// Package http1 finds the boundaries of HTTP/1 messages (RFC 9112) and nothing
// more. It is strict: a request that two servers could read in two ways is an
// error, because a proxy that passes it on could be made to take one request
// for two. It neither copies nor allocates, so that a proxy can look at every
// head and leave bodies to the kernel.
package http1

import (
	"bytes"
	"fmt"
)

// Error is a message that must not be passed on, and the status that says so.
type Error struct {
	// Status is what a client is told: 400, 421, 431, 501 or 505. For answers it has no meaning.
	Status int
	reason string
}

func (e *Error) Error() string { return e.reason }

func bad(reason string) *Error { return &Error{400, reason} }

// The errors of HeadEnd.
var (
	errBareLF  = bad("a line ends with LF alone")
	errTooLong = &Error{431, "the head is too large"}
	errTooMany = &Error{431, "too many header fields"}
)

// maxFields bounds the header fields of one message.
const maxFields = 256

// HeadEnd looks for the end of a head in data, of which the first scanned bytes
// have been looked at before. It returns the length of the head with its empty
// line, or 0 and what scanned is from now on. A head of more than limit bytes is
// an error, and so is a line that ends with LF alone, as soon as it is seen.
func HeadEnd(data []byte, scanned, limit int) (end, nowScanned int, err error) {
	for {
		i := bytes.IndexByte(data[scanned:], '\n')
		if i < 0 {
			break
		}
		i += scanned
		if i == 0 || data[i-1] != '\r' {
			return 0, scanned, errBareLF
		}
		if i == 1 || i >= 3 && data[i-2] == '\n' { // an empty line; data[i-3] has been seen to be CR
			if i+1 > limit {
				return 0, scanned, errTooLong
			}
			return i + 1, i + 1, nil
		}
		scanned = i + 1
	}
	if len(data) > limit {
		return 0, scanned, errTooLong
	}
	return 0, scanned, nil
}

// Framing is how the end of a body is known.
type Framing uint8

// The framings.
const (
	// NoBody ends with the head.
	NoBody Framing = iota
	// ByLength has as many bytes as Length says.
	ByLength
	// Chunked ends with the last chunk.
	Chunked
	// UntilClose ends with the connection. Only answers can.
	UntilClose
)

// Field is one header field; both parts are slices of the head.
type Field struct {
	Name, Value []byte
	// Line is the whole line with its CRLF.
	Line []byte
	// Known is what the parser recognised in it.
	Known Known
}

// Known are the fields that a proxy must know.
type Known uint8

// The fields that are not of the kind Other have something to do with the
// connection or with the way of the message.
const (
	// Other is everything that is passed on and not looked at.
	Other Known = iota
	// Host is the Host of a request.
	Host
	// ContentLength is the length of the body.
	ContentLength
	// TransferEncoding is how the body is framed.
	TransferEncoding
	// Connection is about this connection only.
	Connection
	// HopByHop is any other field that ends with this connection: Keep-Alive,
	// Proxy-Connection, TE and HTTP2-Settings.
	HopByHop
	// Upgrade names the protocols to go over to.
	Upgrade
	// Expect is 100-continue.
	Expect
	// ForwardedFor is X-Forwarded-For.
	ForwardedFor
	// ForwardedProto is X-Forwarded-Proto.
	ForwardedProto
	// ForwardedHost is X-Forwarded-Host.
	ForwardedHost
	// ForwardedOther is any other name that begins with X-Forwarded, Forwarded, and all
	// of them with underscores, which many servers take for the same.
	ForwardedOther
)

// fields parses the lines of a head up to its empty line.
func appendFields(dst []Field, lines []byte) ([]Field, error) {
	for {
		i := bytes.IndexByte(lines, '\n')
		if i < 1 || lines[i-1] != '\r' {
			return dst, errBareLF
		}
		if i == 1 {
			if len(lines) != 2 {
				return dst, bad("the head goes on after its end")
			}
			return dst, nil
		}
		if len(dst) == maxFields {
			return dst, errTooMany
		}
		field, err := parseField(lines[:i+1])
		if err != nil {
			return dst, err
		}
		dst = append(dst, field)
		lines = lines[i+1:]
	}
}

// parseField parses one line that ends with CRLF.
func parseField(line []byte) (Field, error) {
	colon := 0
	for colon < len(line) && isToken[line[colon]] {
		colon++
	}
	if colon == 0 {
		if line[0] == ' ' || line[0] == '\t' {
			return Field{}, bad("a header field is folded over lines")
		}
		return Field{}, bad("a header field has no name")
	}
	if line[colon] != ':' {
		return Field{}, bad(fmt.Sprintf("a header field's name has the byte %#02x", line[colon]))
	}
	value := line[colon+1 : len(line)-2]
	for _, b := range value {
		if isForbidden[b] {
			return Field{}, bad(fmt.Sprintf("a header field's value has the byte %#02x", b))
		}
	}
	name := line[:colon]
	return Field{Name: name, Value: trim(value), Line: line, Known: known(name)}, nil
}

// known classifies a name: first by its length, so that most cost nothing.
func known(name []byte) Known {
	switch len(name) {
	case 2:
		if equalFold(name, "te") {
			return HopByHop
		}
	case 4:
		if equalFold(name, "host") {
			return Host
		}
	case 6:
		if equalFold(name, "expect") {
			return Expect
		}
	case 7:
		if equalFold(name, "upgrade") {
			return Upgrade
		}
	case 9:
		if equalFold(name, "forwarded") {
			return ForwardedOther
		}
	case 10:
		if equalFold(name, "connection") {
			return Connection
		}
		if equalFold(name, "keep-alive") {
			return HopByHop
		}
	case 14:
		if equalFold(name, "content-length") {
			return ContentLength
		}
		if equalFold(name, "http2-settings") {
			return HopByHop
		}
	case 15:
		if equalFold(name, "x-forwarded-for") {
			return ForwardedFor
		}
	case 16:
		if equalFold(name, "proxy-connection") {
			return HopByHop
		}
		if equalFold(name, "x-forwarded-host") {
			return ForwardedHost
		}
	case 17:
		if equalFold(name, "transfer-encoding") {
			return TransferEncoding
		}
		if equalFold(name, "x-forwarded-proto") {
			return ForwardedProto
		}
	}
	if len(name) > 11 && (name[0]|0x20) == 'x' && (name[2]|0x20) == 'f' {
		if head := name[:11]; equalFold(head, "x-forwarded") || equalFold(head, "x_forwarded") {
			return ForwardedOther
		}
	}
	return Other
}

// trim removes spaces and tabs around a value.
func trim(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// equalFold compares a name with one in lower case, of the same length.
func equalFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(lower) {
		b := name[i]
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		if b != lower[i] {
			return false
		}
	}
	return true
}

// length parses the value of Content-Length: digits and nothing else.
func length(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	var n int64
	for _, b := range v {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, true
}

// eachToken calls f with each element of a comma-separated list.
func eachToken(v []byte, f func([]byte)) {
	for len(v) > 0 {
		token := v
		if i := bytes.IndexByte(v, ','); i >= 0 {
			token, v = v[:i], v[i+1:]
		} else {
			v = nil
		}
		if token = trim(token); len(token) > 0 {
			f(token)
		}
	}
}

// The tables of bytes.
var (
	isToken     [256]bool
	isForbidden [256]bool // in the value of a field
)

func init() {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		isToken[b] = true
	}
	for b := range 0x20 {
		isForbidden[b] = b != '\t'
	}
	isForbidden[0x7f] = true
}
