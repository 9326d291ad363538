// SPDX-License-Identifier: Apache-2.0

package downtime

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// newClient keeps no connection: there are servers that do not end before their clients close theirs.
func newClient() *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableCompression: true, DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: reach}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// prober asks one target by the protocol that it was seen to speak.
type prober struct {
	address string
	client  *http.Client
	http    bool
	tcp     bool
	// expected is the status of the first answer, which is no failure later.
	expected int
}

// probe asks once, and tells from when on.
func (p *prober) probe(ctx context.Context) (began time.Time, ok bool) {
	began = time.Now()
	if p.tcp {
		return began, p.stays(ctx)
	}
	status, err := p.get(ctx)
	if err == nil {
		if !p.http {
			p.http, p.expected = true, status
		}
		return began, status == p.expected || !unavailable(status)
	}
	if p.http {
		return began, false
	}
	began = time.Now()
	p.tcp = p.stays(ctx)
	return began, p.tcp
}

// unavailable reports whether a status says that what should have answered is away.
func unavailable(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// asked is a probe that was sent.
type asked struct {
	sent time.Time
	// http says that the target was known to speak it: it may take its time then.
	http   bool
	cancel context.CancelFunc
	// done is closed once it has ended. What follows is not to be read before.
	done         chan struct{}
	began, ended time.Time
	ok           bool
}

// ask sends a probe, which goes on until it has an answer or is cancelled.
func (p *prober) ask(ctx context.Context) *asked {
	ctx, cancel := context.WithCancel(ctx)
	a := &asked{sent: time.Now(), http: p.http, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer cancel()
		a.began, a.ok = p.probe(ctx)
		a.ended = time.Now()
	}()
	return a
}

func (p *prober) get(ctx context.Context) (status int, err error) {
	if !p.http {
		// What does not speak HTTP may not answer at all.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+Path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "fairlead-probe")
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

// stays reports whether a TCP connection is taken and not closed at once.
func (p *prober) stays(ctx context.Context) bool {
	d := net.Dialer{Timeout: reach}
	c, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })() // nobody waits for the end of it
	if err := c.SetReadDeadline(time.Now().Add(settle)); err != nil {
		return false
	}
	_, err = c.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}
