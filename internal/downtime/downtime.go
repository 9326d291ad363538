// SPDX-License-Identifier: Apache-2.0

// Package downtime asks an application from outside, over and over, while its
// containers are replaced, and tells for how long it did not answer.
package downtime

import (
	"context"
	"slices"
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
	// patience is how long a probe may have waited when a watch ends without being taken for failed.
	patience = time.Second
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
	// Slowest answer, or what one that had not come was waited for.
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
	// asked is a probe that has no answer yet: it is waited for on in the next watch. hung is what was seen if none comes.
	asked *asked
	hung  Result
}

// End gives up the probes that are still without an answer.
func (s Standing) End() {
	for _, stood := range s {
		if stood.asked != nil {
			stood.asked.cancel()
		}
	}
}

// Seen is what a watch saw, with what hangs at its end as failed.
type Seen struct {
	Result
	// Settled is the same without what hangs, of which a next watch knows what becomes.
	Settled  Result
	Standing Standing
	// Silent are the addresses of which nothing is known, as they never answered; Late those of which nothing was known when
	// the watch began, and that did not answer, or only that they are away.
	Silent, Late []string
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
// The end of ctx is none of the watch: what is cancelled still stops containers.
func Start(ctx context.Context, targets []Target, before Standing) *Watch {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Watch{cancel: cancel, seen: Seen{Standing: Standing{}}}
	for address, stood := range before {
		if stood.asked != nil && !slices.ContainsFunc(targets, func(t Target) bool { return t.Address == address }) {
			stood.asked.cancel() // nobody sees any more whether it is answered
			w.seen.Result, w.seen.Settled = w.seen.Merge(stood.hung), w.seen.Settled.Merge(stood.hung)
			w.seen.Standing[address] = Stand{Open: stood.Open, Status: stood.Status}
		}
	}
	for _, t := range targets {
		w.done.Go(func() {
			g := gauge{Result: Result{Target: t.Address}, last: time.Now()}
			stood, known := before[t.Address]
			g.open, g.works, g.known = stood.Open, known, known
			p := &prober{address: t.Address, tcp: t.TCP, http: stood.Status != 0, expected: stood.Status, client: newClient()}
			left := g.watch(ctx, p, stood.asked)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen.add(&g, p.expected, left, time.Now())
		})
	}
	return w
}

// End stops asking and tells what was seen. It may be called again.
func (w *Watch) End() Seen {
	w.cancel()
	w.done.Wait()
	return w.seen
}

// add takes in what was seen of one target until now; hangs is its probe without an answer, if one hangs.
func (s *Seen) add(g *gauge, status int, hangs *asked, now time.Time) {
	seen := g.Result
	if seen.Probes > 0 {
		s.Settled = s.Settled.Merge(seen)
	}
	hung := Result{Target: g.Target}
	if hangs != nil {
		hung.Probes, hung.Failed, hung.LongestGap, hung.Slowest = 1, 1, now.Sub(g.answered()), now.Sub(hangs.sent)
		seen = seen.Merge(hung)
	}
	if seen.Probes > 0 {
		s.Result = s.Merge(seen)
	}
	if !g.known && (g.missed || unavailable(status)) {
		s.Late = append(s.Late, g.Target)
	}
	switch {
	case !g.works && g.missed:
		s.Silent = append(s.Silent, g.Target)
	case !g.works: // there was no time to ask
	case g.failed || hangs != nil:
		s.Standing[g.Target] = Stand{Open: g.answered(), Status: status, asked: hangs, hung: hung}
	default:
		s.Standing[g.Target] = Stand{Open: g.open, Status: status}
	}
}

// gauge counts the probes of one target.
type gauge struct {
	Result
	known  bool // from a watch before
	works  bool // it answered once
	missed bool // it did not when it was asked before that
	last   time.Time
	failed bool // since the last answer
	// open is when it answered last in a watch before, if it did not any more when that ended
	// and was not asked since.
	open time.Time
}

func (g *gauge) note(began, ended time.Time, ok bool) {
	if !ok && !g.works {
		g.missed = true
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

// answered is when it answered last, as far as that is known.
func (g *gauge) answered() time.Time {
	if !g.open.IsZero() {
		return g.open
	}
	return g.last
}

// finish counts a gap that has not ended, and an answer that has not come since began.
func (g *gauge) finish(began, now time.Time) {
	if g.failed {
		g.LongestGap = max(g.LongestGap, now.Sub(g.last))
	} else if g.Probes > 0 {
		g.Slowest = max(g.Slowest, now.Sub(began))
	}
}

// hangs reports whether a probe waited for longer than this target needs for an answer.
func (g *gauge) hangs(a *asked, now time.Time) bool {
	return g.works && a.http && now.Sub(a.sent) >= max(patience, 2*g.Slowest)
}

// watch asks until ctx ends, and returns the probe that hangs then, if one does. It begins with the one that was left by the watch before.
func (g *gauge) watch(ctx context.Context, p *prober, left *asked) (hanging *asked) {
	// To learn what a target speaks takes up to a second, in which it may be gone.
	if !g.works && p.stays(ctx) {
		g.works, g.last = true, time.Now()
	}
	for {
		a := left
		if left = nil; a == nil {
			a = p.ask(context.WithoutCancel(ctx))
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			if now := time.Now(); g.hangs(a, now) {
				g.finish(a.sent, now)
				return a
			}
			a.cancel()
			<-a.done
			g.finish(a.began, a.ended)
			return nil
		}
		g.note(a.began, a.ended, a.ok)
		next := time.NewTimer(pause(a.ended.Sub(a.began), a.ok))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			g.finish(time.Now(), time.Now())
			return nil
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
