// SPDX-License-Identifier: Apache-2.0

// Package downtime asks an application from outside, over and over, while its
// containers are replaced, and tells for how long it did not answer.
package downtime

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// interval between two probes of a target.
	interval = 100 * time.Millisecond
	// timeout of one probe. It is more than a gateway lets requests wait.
	timeout = 90 * time.Second
	// settle is how long a TCP connection must stay open to count: what stands in
	// front of a container takes connections also when that is gone.
	settle = 20 * time.Millisecond
	// Path is asked for. No application has it, so that asking changes nothing.
	Path = "/.well-known/fairlead-probe"
)

// Result is what was seen.
type Result struct {
	// Probes that were sent, and Failed of them, while the target was known to work.
	Probes, Failed int64
	// LongestGap is the longest time from an answer to the next one with failures
	// in between; 0 without a failure.
	LongestGap time.Duration
	// Slowest answer.
	Slowest time.Duration
	// Target with the longest gap, or that was asked.
	Target string
}

// Merge is what was seen in two times that follow each other.
func (r Result) Merge(o Result) Result {
	if o.LongestGap > r.LongestGap || r.Target == "" {
		r.LongestGap, r.Target = o.LongestGap, o.Target
	}
	r.Probes, r.Failed, r.Slowest = r.Probes+o.Probes, r.Failed+o.Failed, max(r.Slowest, o.Slowest)
	return r
}

// Watch asks targets until it is ended.
type Watch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu  sync.Mutex
	sum Result
}

// Target is what is asked.
type Target struct {
	// Address, as "127.0.0.1:80".
	Address string
	// TCP says that it is only connected to: that it does not speak HTTP is known.
	TCP bool
}

// Start asks each target from now on. What does not answer at first counts from its
// first answer on.
func Start(ctx context.Context, targets []Target) *Watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{cancel: cancel}
	for _, t := range targets {
		w.done.Go(func() {
			one := watch(ctx, t)
			w.mu.Lock()
			defer w.mu.Unlock()
			if one.Probes > 0 {
				w.sum = w.sum.Merge(one)
			}
		})
	}
	return w
}

// End stops asking and tells what was seen.
func (w *Watch) End() Result {
	w.cancel()
	w.done.Wait()
	return w.sum
}

// gauge counts the probes of one target.
type gauge struct {
	Result
	works  bool // it answered once
	last   time.Time
	failed bool // since the last answer
}

func (g *gauge) note(began, ended time.Time, ok bool) {
	if !ok && !g.works {
		return
	}
	g.Probes++
	if !ok {
		g.Failed++
		g.failed = true
		return
	}
	if g.failed {
		g.LongestGap = max(g.LongestGap, ended.Sub(g.last))
	}
	g.Slowest = max(g.Slowest, ended.Sub(began))
	g.works, g.failed, g.last = true, false, ended
}

// finish counts a gap that has not ended.
func (g *gauge) finish(now time.Time) Result {
	if g.failed {
		g.LongestGap = max(g.LongestGap, now.Sub(g.last))
	}
	return g.Result
}

func watch(ctx context.Context, t Target) Result {
	g := gauge{Result: Result{Target: t.Address}}
	p := &prober{address: t.Address, tcp: t.TCP, client: &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	defer p.client.CloseIdleConnections()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		began := time.Now()
		ok := p.probe(ctx)
		if ctx.Err() == nil {
			g.note(began, time.Now(), ok)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return g.finish(time.Now())
		}
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

func (p *prober) probe(ctx context.Context) bool {
	if p.tcp {
		return p.stays(ctx)
	}
	status, err := p.get(ctx)
	if err == nil {
		if !p.http {
			p.http, p.expected = true, status
		}
		return status == p.expected || status != http.StatusBadGateway && status != http.StatusServiceUnavailable && status != http.StatusGatewayTimeout
	}
	if p.http {
		return false
	}
	p.tcp = p.stays(ctx)
	return p.tcp
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
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return false
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(settle)); err != nil {
		return false
	}
	_, err = c.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}
