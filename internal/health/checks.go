// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/docker"
	"github.com/fairlead-dev/fairlead/internal/measure"
)

const (
	// DefaultCheckTimeout bounds one run of a check.
	DefaultCheckTimeout = 5 * time.Second
	// checkBodyBytes is how much of a body is searched, or quoted from.
	checkBodyBytes = 1 << 20
)

// HTTPOptions describes an HTTP check.
type HTTPOptions struct {
	// URL is absolute, http or https.
	URL string
	// Method defaults to GET.
	Method string
	// Host overrides the Host header, and the server name for TLS.
	Host string
	// Headers are sent as they are; they never appear in answers.
	Headers map[string]string
	// Status are the accepted codes; none means 200 to 399.
	Status []int
	// BodyContains must occur in the first MiB of the body; empty: anything.
	BodyContains string
	// SkipTLSVerify accepts every certificate.
	SkipTLSVerify bool
	// FollowRedirects judges the end of the redirects (at most 10) and not
	// the first answer.
	FollowRedirects bool
	// Timeout of one run; default 5 s.
	Timeout time.Duration
}

type httpCheck struct {
	name string
	o    HTTPOptions
	url  *url.URL
}

// HTTP returns a check that passes when the URL answers as wanted. No proxy is
// used, whatever the environment says. An error says what is wrong with o.
func HTTP(name string, o HTTPOptions) (Check, error) {
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("check %q: the URL must be like http://127.0.0.1:3000/health", name)
	}
	o.Method = cmp.Or(strings.ToUpper(o.Method), http.MethodGet)
	o.Timeout = cmp.Or(max(o.Timeout, 0), DefaultCheckTimeout)
	return &httpCheck{name: name, o: o, url: u}, nil
}

func (c *httpCheck) Name() string { return c.name }

func (c *httpCheck) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errCheckTimeout(c.o.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, c.o.Method, c.url.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "fairlead")
	for k, v := range c.o.Headers {
		req.Header.Set(k, v)
	}
	config := &tls.Config{InsecureSkipVerify: c.o.SkipTLSVerify} //nolint:gosec // only where the user asked for it
	if c.o.Host != "" {
		req.Host = c.o.Host
		config.ServerName = hostname(c.o.Host)
	}
	// A transport of its own per run: a new connection is part of the question.
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if !c.o.FollowRedirects {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := client.Do(req)
	if err != nil {
		return c.answerError(ctx, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, checkBodyBytes))
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	switch {
	case !c.accepts(resp.StatusCode):
		return fmt.Errorf("HTTP %d%s, expected %s", resp.StatusCode, quote(string(body)), c.expected())
	case err != nil:
		return c.answerError(ctx, err)
	case !strings.Contains(string(body), c.o.BodyContains):
		return fmt.Errorf("HTTP %d, but the body does not contain %q%s", resp.StatusCode, c.o.BodyContains, quote(string(body)))
	}
	return nil
}

func (c *httpCheck) accepts(status int) bool {
	if len(c.o.Status) == 0 {
		return status >= 200 && status < 400
	}
	return slices.Contains(c.o.Status, status)
}

func (c *httpCheck) expected() string {
	if len(c.o.Status) == 0 {
		return "200 to 399"
	}
	return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(c.o.Status), "[]")), " or ")
}

// answerError leaves the URL out, whose query or user may be secret.
func (c *httpCheck) answerError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

type tcpCheck struct {
	name, address string
	timeout       time.Duration
}

// TCP returns a check that passes when address ("host:port") accepts a
// connection. timeout 0 means 5 s.
func TCP(name, address string, timeout time.Duration) (Check, error) {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return nil, fmt.Errorf("check %q: the address must be like 127.0.0.1:5432, not %q", name, address)
	}
	return &tcpCheck{name: name, address: address, timeout: cmp.Or(max(timeout, 0), DefaultCheckTimeout)}, nil
}

func (c *tcpCheck) Name() string { return c.name }

func (c *tcpCheck) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errCheckTimeout(c.timeout))
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return conn.Close()
}

type execCheck struct {
	name      string
	engine    Execer
	container func(context.Context) (string, error)
	command   []string
	timeout   time.Duration
}

// Exec returns a check that passes when command exits with 0 in a container.
// container is asked at each run, since containers are replaced. timeout 0
// means 5 s.
func Exec(name string, engine Execer, container func(context.Context) (string, error), command []string, timeout time.Duration) (Check, error) {
	if len(command) == 0 {
		return nil, fmt.Errorf("check %q: no command given", name)
	}
	return &execCheck{name: name, engine: engine, container: container, command: command, timeout: cmp.Or(max(timeout, 0), DefaultCheckTimeout)}, nil
}

func (c *execCheck) Name() string { return c.name }

func (c *execCheck) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errCheckTimeout(c.timeout))
	defer cancel()
	id, err := c.container(ctx)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	out, err := c.engine.ExecOutput(ctx, id, c.command, docker.ExecOptions{}, probeOutputBytes)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	if out.ExitCode != 0 {
		return fmt.Errorf("exit %d%s", out.ExitCode, quote(string(out.Stdout)+"\n"+string(out.Stderr)))
	}
	return nil
}

func errCheckTimeout(d time.Duration) error {
	return fmt.Errorf("no answer within %s", measure.Time(d))
}

// quote appends what was printed or sent, if anything, in one bounded line.
func quote(s string) string {
	line := oneLine(s[:min(len(s), probeOutputBytes)])
	if line == "" {
		return ""
	}
	return ": " + line
}

// hostname strips the port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}
