// SPDX-License-Identifier: Apache-2.0

package http1

import "bytes"

// Response is the head of an answer. Its slices are parts of the head that was
// parsed. The zero value is ready for Parse, and may be used again and again.
type Response struct {
	// Line is the whole status line with its CRLF.
	Line []byte
	// Fields are all header fields in their order.
	Fields []Field
	// Status has three digits.
	Status int
	// Framing is how the body ends.
	Framing Framing
	// Length is that of a body ByLength.
	Length int64
	// Minor is 0 or 1, for HTTP/1.0 and HTTP/1.1.
	Minor int
	// KeepAlive says that the server goes on with this connection.
	KeepAlive bool
	// Plain says that the head can be passed on as it is.
	Plain bool

	upgrade bool
	drop    [][]byte
}

// Parse parses a whole head of an answer to a request with a method. An error is
// an *Error; the answer must not be passed on.
func (r *Response) Parse(head, method []byte) error {
	*r = Response{Fields: r.Fields[:0], drop: r.drop[:0], Plain: true}
	end := bytes.IndexByte(head, '\n')
	if end < 1 || head[end-1] != '\r' {
		return errBareLF
	}
	line := head[:end+1]
	if len(line) < 14 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return bad("the status line is not one of HTTP/1")
	}
	r.Line = line
	switch line[7] {
	case '1':
		r.Minor, r.KeepAlive = 1, true
	case '0':
	default:
		return bad("the version of HTTP is not 1.0 or 1.1")
	}
	for _, b := range line[9:12] {
		if b < '0' || b > '9' {
			return bad("the status is not a number")
		}
		r.Status = r.Status*10 + int(b-'0')
	}
	if r.Status < 100 || line[12] != ' ' && line[12] != '\r' {
		return bad("the status has not three digits")
	}
	for _, b := range line[12 : len(line)-2] {
		if isForbidden[b] {
			return bad("the status line has control characters")
		}
	}
	var err error
	if r.Fields, err = appendFields(r.Fields, head[end+1:]); err != nil {
		return err
	}
	return r.interpret(method)
}

// Events says that the body is server-sent events, which have no end of their own.
func (r *Response) Events() bool {
	for i := range r.Fields {
		if f := &r.Fields[i]; f.Known == Other && equalFold(f.Name, "content-type") {
			media, _, _ := bytes.Cut(f.Value, []byte(";"))
			return equalFold(bytes.TrimSpace(media), "text/event-stream")
		}
	}
	return false
}

func (r *Response) interpret(method []byte) error {
	hasLength, chunked := false, false
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Known {
		case ContentLength:
			n, ok := length(f.Value)
			if !ok || hasLength && n != r.Length {
				return bad("Content-Length is not one number")
			}
			hasLength, r.Length = true, n
			continue
		case TransferEncoding:
			if chunked || !equalFold(f.Value, "chunked") {
				return bad("Transfer-Encoding is not chunked")
			}
			chunked = true
			continue
		case Connection:
			eachToken(f.Value, func(token []byte) {
				switch {
				case equalFold(token, "close"):
					r.KeepAlive = false
				case equalFold(token, "keep-alive"):
					r.KeepAlive = r.KeepAlive || r.Minor == 0
				case equalFold(token, "upgrade"):
					r.upgrade = true
				default:
					r.drop = append(r.drop, token)
				}
			})
		case HopByHop, Upgrade:
		default:
			continue
		}
		r.Plain = false
	}
	switch {
	case string(method) == "HEAD", r.Status < 200, r.Status == 204, r.Status == 304,
		string(method) == "CONNECT" && r.Status < 300:
		r.Framing = NoBody
		return nil
	case chunked:
		r.Framing = Chunked
		if hasLength { // RFC 9112, 6.3: the coding counts and the length must not be passed on
			r.Plain = false
		}
		if r.Minor == 0 {
			return bad("HTTP/1.0 has no Transfer-Encoding")
		}
	case hasLength && r.Length == 0:
		r.Framing = NoBody
	case hasLength:
		r.Framing = ByLength
	default:
		r.Framing = UntilClose
		r.KeepAlive = false
	}
	return nil
}

// Interim says that another answer follows on this one.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// Passes says whether a field goes on to the next hop. Connection never does; Upgrade
// does in an answer that speaks of it: 101 and 426.
func (r *Response) Passes(f *Field) bool {
	switch f.Known {
	case Connection, HopByHop:
		return false
	case Upgrade:
		return r.Status == 101 || r.Status == 426
	case ContentLength:
		return r.Framing != Chunked
	case Other:
		return !listed(r.drop, f.Name)
	}
	return true
}

// Streams says that the answer has no known end, or says of itself that it is a stream of events.
func (r *Response) Streams() bool {
	return r.Framing == Chunked || r.Framing == UntilClose
}
