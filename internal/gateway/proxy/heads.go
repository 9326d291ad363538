// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/http1"
)

// requestHead appends the head of the request as the target gets it.
func (c *client) requestHead(out []byte, site *Site, b *backend) []byte {
	r := &c.x.req
	out = append(out, r.Line...)
	trusted := b.keep || len(site.trusted) > 0 && site.trusts(c.remote.Addr())
	var forwardedFor []byte
	hasProto, hasHost := false, false
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Known {
		case http1.ForwardedFor:
			if !trusted {
				continue
			}
			if !b.keep {
				if len(forwardedFor) > 0 {
					forwardedFor = append(forwardedFor, ", "...)
				}
				forwardedFor = append(forwardedFor, f.Value...)
				continue
			}
		case http1.ForwardedProto:
			if !trusted {
				continue
			}
			hasProto = true
		case http1.ForwardedHost:
			if !trusted {
				continue
			}
			hasHost = true
		case http1.ForwardedOther:
			if !trusted {
				continue
			}
		default:
			if !r.Passes(f) {
				continue
			}
		}
		out = append(out, f.Line...)
	}
	if !b.keep {
		out = append(out, "X-Forwarded-For: "...)
		if len(forwardedFor) > 0 {
			out = append(append(out, forwardedFor...), ", "...)
		}
		out = c.remote.Addr().AppendTo(out)
		if !hasProto {
			out = append(append(out, "\r\nX-Forwarded-Proto: "...), b.proto...)
		}
		if !hasHost && len(r.Host) > 0 {
			out = append(append(out, "\r\nX-Forwarded-Host: "...), r.Host...)
		}
		out = append(out, '\r', '\n')
	}
	if r.Upgrade {
		out = append(out, "Connection: Upgrade\r\n"...)
		for i := range r.Fields {
			if r.Fields[i].Known == http1.Upgrade {
				out = append(out, r.Fields[i].Line...)
			}
		}
	}
	return append(out, '\r', '\n')
}

// answerLines appends the lines of the answer that go on, without the empty line.
func (c *client) answerLines(out []byte) []byte {
	r := &c.x.resp
	// The version is that of this hop.
	out = append(append(out, "HTTP/1.1"...), r.Line[8:]...)
	for i := range r.Fields {
		if f := &r.Fields[i]; r.Passes(f) {
			out = append(out, f.Line...)
		}
	}
	return out
}

// answerError answers with a status of the gateway's own. It returns false unless the
// connection goes on.
func (c *client) answerError(status int, goOn bool) bool {
	goOn = goOn && c.x != nil && c.x.req.KeepAlive && !c.server.closing.Load()
	text := strconv.Itoa(status) + " " + http.StatusText(status) + "\n"
	out := append(make([]byte, 0, 256), "HTTP/1.1 "...)
	out = append(out, text[:len(text)-1]...)
	out = append(out, "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(text)), 10)
	if status == http.StatusServiceUnavailable {
		out = append(out, "\r\nRetry-After: 1"...)
	}
	if !goOn {
		out = append(out, "\r\nConnection: close"...)
	} else if c.x.req.Minor == 0 {
		out = append(out, "\r\nConnection: keep-alive"...)
	}
	out = append(out, '\r', '\n', '\r', '\n')
	if c.x == nil || string(c.x.req.Method) != http.MethodHead {
		out = append(out, text...)
	}
	c.writes.ahead(time.Now(), 5*time.Second)
	if _, err := c.conn.Write(out); err != nil {
		return false
	}
	if !goOn {
		c.linger()
		return false
	}
	c.in.next(len(c.x.whole))
	return true
}
