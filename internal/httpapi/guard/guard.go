// SPDX-License-Identifier: Apache-2.0

// Package guard keeps an HTTP listener from being flooded and its secrets from
// being guessed. It limits the rate of requests of each client address, and
// makes an address that guesses wait, each time twice as long.
//
// The use of it, for one request:
//
//	addr := guard.Address(r)
//	if wait := g.Allow(addr); wait > 0 { … 429, Retry-After … }
//	if wait := g.Blocked(addr, token); wait > 0 { … 429, Retry-After … }
//	if valid(token) { g.Succeeded(addr, token) } else { g.Failed(addr, token) }
//
// Many clients may share an address (a proxy, a NAT). So a secret that was right
// before is never made to wait because of what others do, and one client that
// sends the same stale secret again and again counts as one guess.
package guard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// Options of a Guard. Zero values mean the defaults.
type Options struct {
	// Rate is how many requests a second an address may make in the long run,
	// and Burst how many at once. Default 100 and 1000.
	Rate  float64
	Burst int
	// Guesses is how many different wrong secrets an address may send before it
	// has to wait. Default 5.
	Guesses int
	// FirstWait is the first time to wait; it doubles with every further guess
	// up to LastWait. Default 1 s and 1 min.
	FirstWait, LastWait time.Duration
	// Forget is how long after its last wrong guess an address has a clean slate
	// again. Default 15 min.
	Forget time.Duration
	// Addresses and Secrets bound how many of them are remembered; the ones that
	// were not seen for the longest time are forgotten first. Default 4096 each.
	Addresses, Secrets int
	// Now is the clock; default time.Now.
	Now func() time.Time
}

func (o *Options) defaults() {
	setDefault(&o.Rate, 100)
	setDefault(&o.Burst, 1000)
	setDefault(&o.Guesses, 5)
	setDefault(&o.FirstWait, time.Second)
	setDefault(&o.LastWait, time.Minute)
	setDefault(&o.Forget, 15*time.Minute)
	setDefault(&o.Addresses, 4096)
	setDefault(&o.Secrets, 4096)
	if o.Now == nil {
		o.Now = time.Now
	}
}

func setDefault[T int | float64 | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// Guard is safe for concurrent use. Its memory is bounded.
type Guard struct {
	o    Options
	salt [16]byte

	mu        sync.Mutex
	addresses *lru.Cache // of *address by netip.Prefix
	good      *lru.Cache // the digests of secrets that were right
}

// address is what is remembered of one.
type address struct {
	limiter *rate.Limiter

	guesses int
	last    time.Time // of the last wrong guess
	until   time.Time // no guess is looked at before
	wrong   []digest  // the latest wrong secrets
}

// remembered is how many wrong secrets of an address are known again.
const remembered = 8

// digest stands for a secret, which is not kept.
type digest [sha256.Size]byte

// New makes a Guard.
func New(o Options) *Guard {
	o.defaults()
	g := &Guard{o: o, addresses: lru.New(o.Addresses), good: lru.New(o.Secrets)}
	_, _ = rand.Read(g.salt[:]) // it never fails
	return g
}

// Allow takes one request off what addr may make. It returns 0, or how long to
// wait before the next try.
func (g *Guard) Allow(addr netip.Prefix) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.o.Now()
	reservation := g.address(addr).limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now) // it is refused, and takes nothing
	}
	return wait
}

// Blocked says whether secret must not even be looked at now, because addr has
// guessed too often: for how long, or 0. Asking again does not make it longer.
func (g *Guard) Blocked(addr netip.Prefix, secret string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.good.Get(g.digest(secret)); ok {
		return 0
	}
	return max(0, g.address(addr).until.Sub(g.o.Now()))
}

// Failed says that addr sent a wrong secret. It returns how long the address has
// to wait before its next guess is looked at, or 0.
func (g *Guard) Failed(addr netip.Prefix, secret string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, d, a := g.o.Now(), g.digest(secret), g.address(addr)
	g.good.Remove(d)
	if now.Sub(a.last) > g.o.Forget {
		a.guesses, a.wrong = 0, nil
	}
	a.last = now
	for _, w := range a.wrong {
		if w == d {
			return max(0, a.until.Sub(now)) // nothing new was tried
		}
	}
	if len(a.wrong) == remembered {
		a.wrong = a.wrong[1:]
	}
	a.wrong = append(a.wrong, d)
	a.guesses++
	if a.guesses < g.o.Guesses {
		return 0
	}
	wait := g.o.LastWait
	// Beyond 30 doublings the shift would overflow.
	if n := a.guesses - g.o.Guesses; n < 30 {
		wait = min(wait, g.o.FirstWait<<n)
	}
	a.until = now.Add(wait)
	return wait
}

// Succeeded says that secret is right: it is let through from now on even while
// its address has to wait.
func (g *Guard) Succeeded(_ netip.Prefix, secret string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.good.Add(g.digest(secret), struct{}{})
}

// address returns what is known of addr. The caller holds mu.
func (g *Guard) address(addr netip.Prefix) *address {
	if known, ok := g.addresses.Get(addr); ok {
		if a, ok := known.(*address); ok {
			return a
		}
	}
	a := &address{limiter: rate.NewLimiter(rate.Limit(g.o.Rate), g.o.Burst)}
	g.addresses.Add(addr, a)
	return a
}

func (g *Guard) digest(secret string) digest {
	return sha256.Sum256(append(g.salt[:len(g.salt):len(g.salt)], secret...))
}

// Address is the client of r as the Guard counts it; see Network.
func Address(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return Network(host)
}

// Network is the client of an address as the Guard counts it: the IP address; of
// IPv6, the network of 64 bits, all of which one client may have for itself.
func Network(address string) netip.Prefix {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{} // no TCP: all of these count as one
	}
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// Equal compares a secret that was sent with the one that is right, in a time
// that tells nothing of either, not even their length. An empty secret is never
// right.
func Equal(sent, right string) bool {
	a, b := sha256.Sum256([]byte(sent)), sha256.Sum256([]byte(right))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && right != ""
}
