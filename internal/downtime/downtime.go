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
	// reach is how long a connection may take, which is to this host. Without it the kernel tries
	// an address that nobody has any more for longer than a container takes to come back.
	reach = time.Second
	// rest is the longest pause after an answer that took long.
	rest = 500 * time.Millisecond
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

// Standing is how the targets stood at the end of a watch, by address. What never answered is not in it.
type Standing map[string]Stand

// Stand is how one of them stood.
type Stand struct {
	// Open is the time of the last answer where it did not answer any more, and zero where it did.
	Open time.Time
	// Status is that of its first answer, if it speaks HTTP.
	Status int
}

// Seen is what a watch saw.
type Seen struct {
	Result
	Standing Standing
	// Silent are the addresses of which nothing is known, as they never answered.
	Silent []string
}

// Watch asks targets until it is ended.
type Watch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu   sync.Mutex
	seen Seen
}

// Target is what is asked.
type Target struct {
	// Address, as "127.0.0.1:80".
	Address string
	// TCP says that it is only connected to: that it does not speak HTTP is known.
	TCP bool
}

// Start asks each target from now on. What does not answer at first counts from its
// first answer on, unless it is known from a watch before: then a gap goes on.
func Start(ctx context.Context, targets []Target, before Standing) *Watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{cancel: cancel, seen: Seen{Standing: Standing{}}}
	for _, t := range targets {
		w.done.Go(func() {
			g := gauge{Result: Result{Target: t.Address}, last: time.Now()}
			stood, known := before[t.Address]
			g.open, g.works = stood.Open, known
			p := &prober{address: t.Address, tcp: t.TCP, http: stood.Status != 0, expected: stood.Status, client: newClient()}
			g.watch(ctx, p)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen.add(&g, p.expected)
		})
	}
	return w
}

// End stops asking and tells what was seen.
func (w *Watch) End() Seen {
	w.cancel()
	w.done.Wait()
	return w.seen
}

func (s *Seen) add(g *gauge, status int) {
	if g.Probes > 0 {
		s.Result = s.Merge(g.Result)
	}
	switch {
	case !g.works:
		s.Silent = append(s.Silent, g.Target)
	case g.failed:
		s.Standing[g.Target] = Stand{Open: g.last, Status: status}
	default:
		s.Standing[g.Target] = Stand{Open: g.open, Status: status}
	}
}

// gauge counts the probes of one target.
type gauge struct {
	Result
	works  bool // it answered once
	last   time.Time
	failed bool // since the last answer
	// open is when it answered last in a watch before, if it did not any more when that ended
	// and was not asked since.
	open time.Time
}

func (g *gauge) note(began, ended time.Time, ok bool) {
	if !ok && !g.works {
		return
	}
	g.Probes++
	open := g.open
	g.open = time.Time{}
	if !ok {
		if !open.IsZero() {
			g.last = open
		}
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

// finish counts a gap that has not ended, and an answer that has not come since began.
func (g *gauge) finish(began, now time.Time) {
	if g.failed {
		g.LongestGap = max(g.LongestGap, now.Sub(g.last))
	} else if g.Probes > 0 {
		g.Slowest = max(g.Slowest, now.Sub(began))
	}
}

func (g *gauge) watch(ctx context.Context, p *prober) {
	// To learn what a target speaks takes up to a second, in which it may be gone.
	if !g.works && p.stays(ctx) {
		g.works, g.last = true, time.Now()
	}
	for {
		began, ok := p.probe(ctx)
		ended := time.Now()
		if ctx.Err() != nil {
			g.finish(began, ended)
			return
		}
		g.note(began, ended, ok)
		next := time.NewTimer(pause(ended.Sub(began), ok))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			g.finish(time.Now(), time.Now())
			return
		}
	}
}

// pause is the time from the end of a probe to the next one. Where answering costs much, at most half of the time is spent with it.
func pause(took time.Duration, answered bool) time.Duration {
	next := max(interval-took, 0)
	if answered {
		next = max(next, min(took, rest))
	}
	return next
}

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
		return began, status == p.expected || status != http.StatusBadGateway && status != http.StatusServiceUnavailable && status != http.StatusGatewayTimeout
	}
	if p.http {
		return began, false
	}
	began = time.Now()
	p.tcp = p.stays(ctx)
	return began, p.tcp
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
