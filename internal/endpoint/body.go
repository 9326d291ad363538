// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// bodyTime is how long the body of a request may take to come in, and
	// longBodyTime one that says it is larger than shortBody bytes.
	bodyTime     = 15 * time.Second
	longBodyTime = time.Minute
	shortBody    = 64 << 10
)

// withBodyDeadline gives up on bodies that do not come in, whoever sends them: else
// a connection could be held for ever, by anybody. A handler may set another
// deadline. Once the body is read there is none, as answers may be streams.
func withBodyDeadline(next http.Handler, short, long time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		limit := short
		if r.ContentLength > shortBody {
			limit = long
		}
		c := http.NewResponseController(w)
		if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
			http.Error(w, "the body cannot be read: "+err.Error(), http.StatusInternalServerError)
			return
		}
		r.Body = &timedBody{ReadCloser: r.Body, controller: c}
		next.ServeHTTP(w, r)
	})
}

// timedBody takes the deadline back at the end of the body.
type timedBody struct {
	io.ReadCloser
	controller *http.ResponseController
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		// Where there is no connection any more, nothing waits for it.
		_ = b.controller.SetReadDeadline(time.Time{})
	}
	return n, err
}
