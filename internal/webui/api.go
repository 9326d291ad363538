// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/httpapi"
)

// Problem is an error of the HTTP API, as RFC 9457 has it.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
	Header http.Header `json:"-"`
}

// Error implements error.
func (p *Problem) Error() string { return fmt.Sprintf("%d: %s", p.Status, p.Text()) }

// Text is what the API said.
func (p *Problem) Text() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// isStatus reports whether err is a problem with this status.
func isStatus(err error, status int) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == status
}

// isProblem reports whether err is what the API answered.
func isProblem(err error) bool {
	var p *Problem
	return errors.As(err, &p)
}

// problemText is what the API said.
func problemText(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Text()
	}
	return err.Error()
}

// transport calls the API's handler in this process. The request keeps the
// address of the person whom it is made for.
type transport struct {
	handler http.Handler
	address string
}

// RoundTrip implements http.RoundTripper. The whole answer is read before it is
// returned: streams are relayed instead.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	// What a server sees has a path, no host, and a body.
	r = r.Clone(r.Context())
	r.RemoteAddr, r.RequestURI = t.address, r.URL.RequestURI()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	answer := &recorder{header: http.Header{}}
	t.handler.ServeHTTP(answer, r)
	if answer.status == 0 {
		answer.status = http.StatusOK
	}
	return &http.Response{
		StatusCode: answer.status, Status: http.StatusText(answer.status), Proto: r.Proto, ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.header, Body: io.NopCloser(&answer.body), ContentLength: int64(answer.body.Len()), Request: r,
	}, nil
}

// recorder keeps an answer in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header { return a.header }

func (a *recorder) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *recorder) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// apiPath joins the parts of a path below /api/v1/, each of which may hold anything.
func apiPath(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// inNamespace is a path below /api/v1/namespaces/NAMESPACE/.
func inNamespace(namespace string, parts ...string) string {
	return apiPath(append([]string{"namespaces", namespace}, parts...)...)
}

// Do calls the API as the person: path is below /api/v1/ and may have a query. body
// is sent as JSON unless it is nil, and the answer is decoded into out unless it is
// nil. Errors of the API are *Problem.
func (c *call) Do(method, path string, body, out any) error {
	return c.do(c.Session.Token, method, path, body, out)
}

// Get is Do without a body.
func (c *call) Get(path string, out any) error { return c.Do(http.MethodGet, path, nil, out) }

// Post is Do with POST.
func (c *call) Post(path string, body, out any) error {
	return c.Do(http.MethodPost, path, body, out)
}

func (c *call) do(token, method, path string, body, out any) error {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(c.Context(), method, httpapi.Prefix+path, content)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := transport{handler: c.s.opts.API, address: c.r.RemoteAddr}.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 400 {
		return problemIn(answer.Body, answer.StatusCode, answer.Header)
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out, err = io.ReadAll(answer.Body)
		return err
	default:
		return json.NewDecoder(answer.Body).Decode(out)
	}
}

// problemIn is the problem that the body of an answer is.
func problemIn(body io.Reader, status int, header http.Header) error {
	p := &Problem{}
	if json.NewDecoder(body).Decode(p) != nil || p.Status == 0 {
		p.Title = http.StatusText(status)
	}
	p.Status, p.Header = status, header
	return p
}

func problemOf(a *recorder) error { return problemIn(&a.body, a.status, a.header) }
