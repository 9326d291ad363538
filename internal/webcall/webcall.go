// SPDX-License-Identifier: Apache-2.0

// Package webcall makes the HTTP calls that a user asked for in an object: hooks
// and webhooks. It signs bodies, follows no redirect, reads a bounded part of the
// answer, and keeps URLs, which may hold secrets, out of its errors.
package webcall

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/redact"
)

const (
	// SignatureHeader carries "sha256=" and the HMAC-SHA256 of the body in
	// hexadecimal digits.
	SignatureHeader = "X-Fairlead-Signature-256"
	// DeliveryHeader names what a call is about. It is the same when the call is
	// made again, so that a receiver can leave out what it knows.
	DeliveryHeader = "X-Fairlead-Delivery"
	// minSecret is the length from which a part of a URL is masked.
	minSecret = 6
)

// Call is one request.
type Call struct {
	// Method; with GET no body is sent, and nothing is signed.
	Method string
	// URL is absolute, http or https.
	URL string
	// Body is JSON.
	Body []byte
	// Token is sent as a bearer token; empty: none.
	Token string
	// HMACKey signs the body; empty: no signature.
	HMACKey []byte
	// Headers beside those of the other fields.
	Headers map[string]string
	// MaxAnswer is how many bytes of the answer are read.
	MaxAnswer int64
}

// Answer to a Call.
type Answer struct {
	Status int
	// Body, at most MaxAnswer bytes of it.
	Body []byte
	// RetryAfter is what the server asks to wait; 0: it does not say.
	RetryAfter time.Duration
}

// OK reports whether the status is 200 to 299.
func (a Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

// Client makes calls. The zero Client is ready. Proxies are those of the
// environment; connections are not kept.
type Client struct{}

// Do makes the call and returns the answer, whatever its status: a redirect is an
// answer too, as whom it leads to was not asked for. It ends with ctx. Errors say
// nothing of the URL but its host.
func (Client) Do(ctx context.Context, c Call) (Answer, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Answer{}, errors.New("the URL must be like https://example.com/path")
	}
	var body io.Reader
	if c.Method != http.MethodGet {
		body = bytes.NewReader(c.Body)
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, u.String(), body)
	if err != nil {
		return Answer{}, plain(ctx, u, err)
	}
	for k, v := range c.Headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("User-Agent", "fairlead")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		if len(c.HMACKey) > 0 {
			req.Header.Set(SignatureHeader, Sign(c.HMACKey, c.Body))
		}
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, plain(ctx, u, err)
	}
	defer resp.Body.Close()
	answer := Answer{Status: resp.StatusCode}
	if s, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil && s > 0 {
		answer.RetryAfter = s
	}
	// What came of a body that breaks off is enough: the status has decided.
	answer.Body, _ = io.ReadAll(io.LimitReader(resp.Body, c.MaxAnswer))
	return answer, nil
}

// Sign is the value of SignatureHeader for a body.
func Sign(key, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// NotConnected reports whether an error of Do means that nothing was sent.
func NotConnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// plain leaves the URL out of an error.
func plain(ctx context.Context, u *url.URL, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%s: %w", u.Hostname(), err)
}

// Secrets are the parts of a URL that may be secret, for a redact.Redactor:
// credentials, the query's values, and what is long enough in the path. Chat
// services put tokens into any of them.
func Secrets(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil {
		return []string{raw}
	}
	var out []string
	add := func(parts ...string) {
		for _, p := range parts {
			if len(p) < minSecret {
				continue
			}
			out = append(out, p)
			for _, escaped := range []string{url.QueryEscape(p), url.PathEscape(p)} {
				if escaped != p {
					out = append(out, escaped)
				}
			}
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		add(u.User.Username(), password)
	}
	for _, values := range u.Query() {
		add(values...)
	}
	add(strings.Split(u.Path, "/")...)
	return append(out, redact.URLPassword(raw))
}
