// SPDX-License-Identifier: Apache-2.0

package http1

import "bytes"

// Request is the head of a request. Its slices are parts of the head that was
// parsed. The zero value is ready for Parse, and may be used again and again.
type Request struct {
	Method, Target []byte
	// Line is the whole request line with its CRLF.
	Line []byte
	// Fields are all header fields in their order.
	Fields []Field
	// Host is the value of Host, which every request of HTTP/1.1 has once.
	Host []byte
	// Framing is NoBody, ByLength or Chunked.
	Framing Framing
	// Length is that of a body ByLength.
	Length int64
	// Minor is 0 or 1, for HTTP/1.0 and HTTP/1.1.
	Minor int
	// KeepAlive says that the client wants to go on with this connection.
	KeepAlive bool
	// Upgrade says that the client offers to go over to another protocol than
	// HTTP/2, with a request that has no body.
	Upgrade bool
	// Expect says that the client waits for 100 Continue.
	Expect bool
	// Plain says that nothing in the head is about the connection or its way:
	// it can be passed on as it is.
	Plain bool

	drop [][]byte // names that Connection lists
}

// Parse parses a whole head, as HeadEnd found it. An error is an *Error.
func (r *Request) Parse(head []byte) error {
	*r = Request{Fields: r.Fields[:0], drop: r.drop[:0], Plain: true}
	end := bytes.IndexByte(head, '\n')
	if end < 1 || head[end-1] != '\r' {
		return errBareLF
	}
	if err := r.parseLine(head[:end+1]); err != nil {
		return err
	}
	var err error
	if r.Fields, err = appendFields(r.Fields, head[end+1:]); err != nil {
		return err
	}
	return r.interpret()
}

func (r *Request) parseLine(line []byte) error {
	r.Line = line
	rest := line[:len(line)-2]
	i := 0
	for i < len(rest) && isToken[rest[i]] {
		i++
	}
	if i == 0 || i > 32 || i == len(rest) || rest[i] != ' ' {
		return bad("the request line has no method")
	}
	r.Method, rest = rest[:i], rest[i+1:]
	i = 0
	for i < len(rest) && rest[i] > ' ' && rest[i] != 0x7f {
		i++
	}
	if i == 0 || i == len(rest) || rest[i] != ' ' {
		return bad("the request line has no target, or no version, or bytes between them")
	}
	r.Target, rest = rest[:i], rest[i+1:]
	switch string(rest) {
	case "HTTP/1.1":
		r.Minor, r.KeepAlive = 1, true
	case "HTTP/1.0":
	default:
		if len(rest) == 8 && string(rest[:5]) == "HTTP/" && rest[6] == '.' {
			return &Error{505, "the version of HTTP is not 1.0 or 1.1"}
		}
		return bad("the request line has no version of HTTP, or more after it")
	}
	switch {
	case string(r.Method) == "CONNECT":
		if r.Target[0] == '/' || !validHost(r.Target) {
			return bad("the target of CONNECT is not host:port")
		}
	case r.Target[0] == '/':
	case string(r.Target) == "*" && string(r.Method) == "OPTIONS":
	default:
		if _, ok := authority(r.Target); !ok {
			return bad("the target is neither a path nor a URL")
		}
	}
	return nil
}

// authority is the host of a target of absolute form.
func authority(target []byte) ([]byte, bool) {
	i := bytes.Index(target, []byte("://"))
	if i < 0 || !equalFold(target[:i], "http") && !equalFold(target[:i], "https") {
		return nil, false
	}
	rest := target[i+3:]
	if j := bytes.IndexAny(rest, "/?#"); j >= 0 {
		rest = rest[:j]
	}
	return rest, len(rest) > 0 && validHost(rest)
}

// interpret finds out what the fields mean for the message.
func (r *Request) interpret() error {
	hosts, lengths, encodings := 0, 0, 0
	upgrade, wantsUpgrade := false, false
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Known {
		case Other:
			if len(f.Name) == 14 && equalFold(f.Name, "content_length") || len(f.Name) == 17 && equalFold(f.Name, "transfer_encoding") {
				return bad("a header field's name differs from one that frames the body only by an underscore")
			}
			continue
		case Host:
			hosts++
			r.Host = f.Value
			if !validHost(f.Value) {
				return bad("Host is not a host")
			}
			continue
		case ContentLength:
			lengths++
			var ok bool
			if r.Length, ok = length(f.Value); !ok {
				return bad("Content-Length is not a number")
			}
			r.Framing = ByLength
			continue
		case TransferEncoding:
			encodings++
			if !equalFold(f.Value, "chunked") {
				return &Error{501, "Transfer-Encoding is not chunked"}
			}
			r.Framing = Chunked
			continue
		case Connection:
			eachToken(f.Value, func(token []byte) {
				switch {
				case equalFold(token, "close"):
					r.KeepAlive = false
				case equalFold(token, "keep-alive"):
					r.KeepAlive = r.KeepAlive || r.Minor == 0
				case equalFold(token, "upgrade"):
					wantsUpgrade = true
				default:
					r.drop = append(r.drop, token)
				}
			})
		case Upgrade:
			upgrade = true
			eachToken(f.Value, func(token []byte) {
				if equalFold(token, "h2c") { // HTTP/2 would hide requests from whoever looks at this connection
					wantsUpgrade = false
					f.Known = HopByHop
				}
			})
			upgrade = upgrade && f.Known == Upgrade
		case Expect:
			if !equalFold(f.Value, "100-continue") {
				return &Error{417, "Expect is not 100-continue"}
			}
			r.Expect = r.Minor == 1
			continue
		}
		r.Plain = false
	}
	switch {
	case hosts > 1:
		return bad("Host is there more than once")
	case hosts == 0 && r.Minor == 1:
		return bad("Host is missing")
	case lengths > 1:
		return bad("Content-Length is there more than once")
	case encodings > 1:
		return bad("Transfer-Encoding is there more than once")
	case lengths > 0 && encodings > 0:
		return bad("both Content-Length and Transfer-Encoding are there")
	case encodings > 0 && r.Minor == 0:
		return bad("HTTP/1.0 has no Transfer-Encoding")
	}
	if r.Framing == ByLength && r.Length == 0 {
		r.Framing = NoBody
	}
	connect := string(r.Method) == "CONNECT"
	if connect && r.Framing != NoBody {
		return bad("CONNECT has no body")
	}
	if host, ok := authority(r.Target); ok && !connect && hosts > 0 && !bytes.EqualFold(host, r.Host) {
		return bad("the target and Host name different hosts")
	}
	r.Upgrade = upgrade && wantsUpgrade && r.Framing == NoBody && r.Minor == 1 && !connect
	return nil
}

// Idempotent says that the request may be sent again when nobody knows whether
// the first one arrived (RFC 9110, 9.2.2).
func (r *Request) Idempotent() bool { return Idempotent(string(r.Method)) }

// Idempotent says so of all requests with a method.
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// Passes says whether a field goes on to the next hop. Connection and Upgrade
// never do by themselves: they are made anew.
func (r *Request) Passes(f *Field) bool {
	switch f.Known {
	case Connection, HopByHop, Upgrade:
		return false
	case Other:
		return !listed(r.drop, f.Name)
	}
	return true
}

// HostName is Host without a port, as it was written.
func (r *Request) HostName() []byte {
	host := r.Host
	if len(host) > 0 && host[0] == '[' {
		if i := bytes.IndexByte(host, ']'); i > 0 {
			return host[1:i]
		}
		return host
	}
	if i := bytes.IndexByte(host, ':'); i >= 0 {
		return host[:i]
	}
	return host
}

func listed(names [][]byte, name []byte) bool {
	for _, n := range names {
		if len(n) == len(name) && bytes.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// validHost allows what can be part of a host and a port, and nothing with which
// two could be written into one.
func validHost(host []byte) bool {
	for _, b := range host {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case b == '.', b == '-', b == '_', b == ':', b == '[', b == ']', b == '%', b == '~':
		case b >= 0x80:
		default:
			return false
		}
	}
	return true
}
